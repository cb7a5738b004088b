// spawn COUNT PROGRAM: starts that many by posix_spawn, prints how many microseconds that took,
// and ends them.
#define _GNU_SOURCE
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

int main(int argc, char **argv) {
	int count = argc > 2 ? atoi(argv[1]) : 0;
	pid_t *pids = calloc(count ? count : 1, sizeof *pids);
	char *args[] = {argv[2], "1000000", NULL};
	struct timespec a, b;
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (int i = 0; i < count; i++)
		if (posix_spawn(&pids[i], argv[2], NULL, NULL, args, environ) != 0)
			return 1;
	clock_gettime(CLOCK_MONOTONIC, &b);
	for (int i = 0; i < count; i++)
		kill(pids[i], SIGKILL);
	while (wait(NULL) > 0)
		;
	printf("%ld\n", (b.tv_sec - a.tv_sec) * 1000000 + (b.tv_nsec - a.tv_nsec) / 1000);
	return 0;
}
