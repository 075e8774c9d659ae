/*
 * Load for a path, and its far end.
 *
 *   traffic serve ADDRESS PORT PORTS         PORT .. PORT+PORTS-1: answer one byte with one byte, until killed;
 *                                            PORT-1: swallow all that comes
 *   traffic open ADDRESS PORT PORTS SECONDS TOGETHER
 *                                            connections, one after the other, TOGETHER at a time: connect, a byte
 *                                            there, a byte back, and a reset, which leaves nothing waiting behind
 *   traffic push ADDRESS PORT SECONDS        one connection, as many bytes as it takes
 *
 * `open` and `push` print one line of JSON.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 512, CHUNK = 256 * 1024 };
enum { LISTEN_ECHO, LISTEN_SINK, ECHO, SINK, CONNECTING, ASKED };

static char chunk[CHUNK];
static int poll_fd;
static struct epoll_event events[EVENTS];

static void fail(const char *what)
{
	fprintf(stderr, "traffic: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double clock_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static struct sockaddr_in where(const char *address, int port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
	if (inet_pton(AF_INET, address, &at.sin_addr) != 1)
		fail(address);
	return at;
}

static void watch(int operation, int fd, int role, unsigned what)
{
	struct epoll_event event = {.events = what, .data.u64 = (uint64_t)role << 32 | (unsigned)fd};
	if (epoll_ctl(poll_fd, operation, fd, &event))
		fail("epoll_ctl");
}

static void listen_at(struct sockaddr_in at, int role)
{
	int yes = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
	if (bind(fd, (void *)&at, sizeof at) || listen(fd, 4096))
		fail("listen");
	watch(EPOLL_CTL_ADD, fd, role, EPOLLIN);
}

static void serve(const char *address, int port, int ports)
{
	listen_at(where(address, port - 1), LISTEN_SINK);
	for (int i = 0; i < ports; i++)
		listen_at(where(address, port + i), LISTEN_ECHO);
	puts("ready");
	fflush(stdout);
	for (;;) {
		int count = epoll_wait(poll_fd, events, EVENTS, -1);
		for (int i = 0; i < count; i++) {
			int fd = (int)events[i].data.u64, role = events[i].data.u64 >> 32, next;
			ssize_t size;
			if (role == LISTEN_ECHO || role == LISTEN_SINK) {
				while ((next = accept4(fd, NULL, NULL, SOCK_NONBLOCK)) >= 0)
					watch(EPOLL_CTL_ADD, next, role == LISTEN_ECHO ? ECHO : SINK, EPOLLIN);
				continue;
			}
			size = read(fd, chunk, role == ECHO ? 1 : CHUNK);
			if (size > 0 && role == ECHO)
				size = write(fd, chunk, 1);
			if (size == 0 || (size < 0 && errno != EAGAIN))
				close(fd);
		}
	}
}

static int start(struct sockaddr_in at)
{
	struct linger reset = {1, 0};
	int yes = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (fd < 0)
		fail("socket");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
	if (connect(fd, (void *)&at, sizeof at) && errno != EINPROGRESS) {
		close(fd);
		return -1;
	}
	watch(EPOLL_CTL_ADD, fd, CONNECTING, EPOLLOUT);
	return fd;
}

static void open_many(const char *address, int port, int ports, double seconds, int together)
{
	struct rusage used;
	long done = 0, failed = 0, turn = 0;
	int live = 0;
	double began = clock_s(), now;
	while ((now = clock_s() - began) < seconds) {
		while (live < together) {
			if (start(where(address, port + turn++ % ports)) >= 0)
				live++;
			else if (++failed > 1000000)
				fail("connect");
		}
		int count = epoll_wait(poll_fd, events, EVENTS, 50);
		for (int i = 0; i < count; i++) {
			int fd = (int)events[i].data.u64, role = events[i].data.u64 >> 32;
			char byte = 'x';
			if (role == CONNECTING && !(events[i].events & (EPOLLERR | EPOLLHUP)) && write(fd, &byte, 1) == 1) {
				watch(EPOLL_CTL_MOD, fd, ASKED, EPOLLIN);
				continue;
			}
			if (role == ASKED && read(fd, &byte, 1) == 1)
				done++;
			else
				failed++;
			close(fd);
			live--;
		}
	}
	getrusage(RUSAGE_SELF, &used);
	printf("{\"rate\": %.1f, \"done\": %ld, \"failed\": %ld, \"cpu_s\": %.3f}\n", done / now, done, failed,
	       used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
}

static void push(const char *address, int port, double seconds)
{
	struct sockaddr_in at = where(address, port);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	double began, now, bytes = 0;
	if (connect(fd, (void *)&at, sizeof at))
		fail("connect");
	began = clock_s();
	while ((now = clock_s() - began) < seconds) {
		ssize_t size = write(fd, chunk, CHUNK);
		if (size < 0)
			fail("write");
		bytes += size;
	}
	printf("{\"rate\": %.4f}\n", bytes * 8 / now / 1e9);
}

int main(int count, char **words)
{
	struct rlimit files = {65536, 65536};
	setrlimit(RLIMIT_NOFILE, &files);
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* whoever started us is gone: so are we */
	poll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (count == 5 && !strcmp(words[1], "serve"))
		serve(words[2], atoi(words[3]), atoi(words[4]));
	else if (count == 7 && !strcmp(words[1], "open"))
		open_many(words[2], atoi(words[3]), atoi(words[4]), atof(words[5]), atoi(words[6]));
	else if (count == 5 && !strcmp(words[1], "push"))
		push(words[2], atoi(words[3]), atof(words[4]));
	else
		return 2;
	return 0;
}
