/* crowd stay N          N processes that sleep until this one ends or reads end-of-file
   crowd orphans N WORD  N processes with two children each, all with WORD among their
                         arguments; this one ends as soon as all are there

   "ready" on standard output says that all of them are what they are to be. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LIFETIME = 600 }; /* seconds; only for orphans that nothing ends */

static const char *word = "some_package.adapters.Example";
static int orphans;

/* Arguments of the usual length; the environment is this program's own. */
static void become_member(int number)
{
	char text[16];
	snprintf(text, sizeof text, "%d", number);
	char *argv[] = {"/usr/local/bin/python3", "-m", "some_package.grpc_server", "--port", "50051",
	                "--adapter", (char *)word, "--number", text, NULL};
	if (orphans)
		alarm(LIFETIME);
	/* The reader of our standard output waits for this one, not for the crowd. */
	int null = open("/dev/null", O_RDWR);
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	close(null);
	execv("/proc/self/exe", argv);
	_exit(127);
}

static pid_t fork_or_fail(void)
{
	pid_t pid = fork();
	if (pid < 0)
		perror("fork");
	return pid;
}

static void member(int number, pid_t leader)
{
	if (!orphans) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != leader)
			_exit(1);
	}
	for (int child = 0; orphans && child < 2; child++) {
		pid_t pid = fork_or_fail();
		if (pid < 0)
			_exit(1);
		if (pid == 0)
			break;
	}
	become_member(number);
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "-m"))
		for (;;)
			pause();
	if (argc < 3)
		return 2;
	orphans = !strcmp(argv[1], "orphans");
	if (orphans && argc == 4)
		word = argv[3];
	int count = atoi(argv[2]);
	pid_t *members = calloc(count, sizeof *members);
	pid_t leader = getpid();
	int pipe_ends[2];
	/* Exec closes the writing end: end-of-file means that all have come so far. */
	if (members == NULL || pipe2(pipe_ends, O_CLOEXEC) != 0)
		return 1;
	if (orphans)
		setsid();
	int forked = 0;
	while (forked < count && (members[forked] = fork_or_fail()) > 0)
		forked++;
	if (forked < count && members[forked] == 0)
		member(forked, leader);
	close(pipe_ends[1]);
	char byte;
	while (read(pipe_ends[0], &byte, 1) > 0)
		;
	if (forked == count) {
		printf("ready\n");
		fflush(stdout);
	}
	if (orphans)
		return forked != count;
	while (forked == count && read(0, &byte, 1) > 0)
		;
	for (int i = 0; i < forked; i++)
		kill(members[i], SIGKILL);
	for (int i = 0; i < forked; i++)
		waitpid(members[i], NULL, 0);
	return forked != count;
}
