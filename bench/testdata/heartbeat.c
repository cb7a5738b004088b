/* Both ends of a notify socket, with as little as either needs.

   send [SOCKET]       a worker: obeys the orders on its standard input, one a line:
                       COUNT GAP_NS LIMIT_MS TEXT BARRIER
                       (so many messages, so far apart, for so long at most; then wait, if
                       BARRIER is 1, until all of them have been handled)
   receive COMMAND...  the least that any listener does: takes messages with the sender's
                       credentials, closes descriptors, and throws everything away */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static int fail(const char *what)
{
	perror(what);
	return 1;
}

static long long now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void sleep_until(long long moment)
{
	struct timespec t = {moment / 1000000000, moment % 1000000000};
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) != 0)
		;
}

static int to_address(const char *name, struct sockaddr_un *address, socklen_t *length)
{
	size_t size = strlen(name);
	if (size == 0 || size >= sizeof address->sun_path)
		return -1;
	memset(address, 0, sizeof *address);
	address->sun_family = AF_UNIX;
	memcpy(address->sun_path, name, size);
	*length = offsetof(struct sockaddr_un, sun_path) + size + (name[0] != '@');
	if (name[0] == '@')
		address->sun_path[0] = 0;
	return 0;
}

/* Sends one end of a pipe along; the other hangs up when it has been closed. */
static int barrier(int fd)
{
	int ends[2];
	char text[] = "BARRIER=1";
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec part = {text, sizeof text - 1};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	if (pipe(ends) != 0)
		return 0;
	memset(&control, 0, sizeof control);
	message.msg_control = &control;
	message.msg_controllen = sizeof control.bytes;
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.header), &ends[1], sizeof(int));
	int sent = sendmsg(fd, &message, 0) >= 0;
	close(ends[1]);
	struct pollfd hangup = {ends[0], 0, 0};
	int heard = sent && poll(&hangup, 1, 60000) == 1;
	close(ends[0]);
	return heard;
}

static void obey(int fd, long count, long long gap, long long limit, const char *text, int wait)
{
	long long start = now(), next = start;
	long sent = 0;
	size_t size = strlen(text);
	while (sent < count && (limit == 0 || (gap ? next : now()) - start < limit)) {
		if (gap) {
			next += gap;
			sleep_until(next);
		}
		if (send(fd, text, size, 0) < 0) {
			perror("send");
			break;
		}
		sent++;
	}
	long long spent = now() - start;
	printf("sent %ld %lld %d\n", sent, spent, wait && !barrier(fd));
	fflush(stdout);
}

static int run_sender(const char *name)
{
	struct sockaddr_un address;
	socklen_t length;
	char line[300], text[200];
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), wait;
	long count;
	long long gap, limit;
	if (fd < 0)
		return fail("socket");
	if (name != NULL && to_address(name, &address, &length) != 0)
		return fail("address");
	printf("worker %d %s\n", getpid(), name ? name : "-");
	fflush(stdout);
	/* The process that started us may bind the socket only now: the first order comes after that. */
	for (int connected = 0; fgets(line, sizeof line, stdin) != NULL;) {
		if (sscanf(line, "%ld %lld %lld %199s %d", &count, &gap, &limit, text, &wait) != 5)
			return fail("order");
		if (!connected && connect(fd, (struct sockaddr *)&address, length) != 0)
			return fail("connect");
		connected = 1;
		obey(fd, count, gap, limit * 1000000, text, wait);
	}
	return 0;
}

static void close_descriptors(struct msghdr *message)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t at = 0; at + CMSG_LEN(sizeof(int)) <= c->cmsg_len; at += sizeof(int)) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + at, sizeof fd);
			close(fd);
		}
	}
}

static int run_receiver(char **command)
{
	struct sockaddr_un address;
	socklen_t length;
	char name[60], text[4096], control[512];
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), on = 1;
	snprintf(name, sizeof name, "@bench-receiver-%d", getpid());
	if (fd < 0 || to_address(name, &address, &length) != 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0 ||
	    bind(fd, (struct sockaddr *)&address, length) != 0 || setenv("NOTIFY_SOCKET", name, 1) != 0)
		return fail("socket");
	pid_t self = getpid(), child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == self)
			execvp(command[0], command);
		_exit(127);
	}
	if (child < 0)
		return fail("fork");
	close(0);
	close(1); /* the worker's alone */
	for (;;) {
		struct iovec part = {text, sizeof text};
		struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control,
					 .msg_controllen = sizeof control};
		if (recvmsg(fd, &message, MSG_CMSG_CLOEXEC) >= 0)
			close_descriptors(&message);
	}
}

int main(int argc, char **argv)
{
	if (argc >= 2 && strcmp(argv[1], "send") == 0)
		return run_sender(argc > 2 ? argv[2] : getenv("NOTIFY_SOCKET"));
	if (argc >= 3 && strcmp(argv[1], "receive") == 0)
		return run_receiver(argv + 2);
	fprintf(stderr, "heartbeat: send [SOCKET] | receive COMMAND...\n");
	return 2;
}
