/*
 * Load for a path, and its far end.
 *
 *   traffic serve ADDRESS PORT PORTS         PORT .. PORT+PORTS-1: answer one byte with one byte, by TCP and UDP, until
 *                                            killed; PORT-1: swallow all that comes
 *   traffic open ADDRESS PORT PORTS SECONDS TOGETHER
 *                                            connections, one after the other, TOGETHER at a time: connect, a byte
 *                                            there, a byte back, and a reset, which leaves nothing waiting behind
 *   traffic push ADDRESS PORT SECONDS        one connection, as many bytes as it takes
 *   traffic ask ADDRESS PORT COUNT           UDP flows, one after the other: a datagram there, one back
 *   traffic hold ADDRESS PORT PORTS FIRST COUNT
 *                                            UDP flows from each of COUNT sockets to each of PORTS ports, some under way
 *                                            at a time, all kept open; each line of input has all asked again
 *
 * All but `serve` print one line of JSON; `hold` prints one each time.
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

enum { EVENTS = 512, CHUNK = 256 * 1024, FLOWS = 65536, TIMES = 1 << 20, UNDER_WAY = 256 };
enum { LISTEN_ECHO, LISTEN_SINK, ECHO, SINK, CONNECTING, ASKED, DATAGRAMS };

static char chunk[CHUNK];
static int poll_fd;
static struct epoll_event events[EVENTS];
static double begun[FLOWS], times[TIMES]; /* when each socket or flow began; how long beginnings took */
static long timed;

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

static void took(double seconds)
{
	if (timed < TIMES)
		times[timed++] = seconds;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

/* Milliseconds within which this part of all beginnings was over. */
static double within_ms(double part)
{
	qsort(times, timed, sizeof *times, by_size);
	return timed ? times[(long)(part * (timed - 1))] * 1e3 : 0;
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

static void answer_at(struct sockaddr_in at)
{
	int room = 16 << 20, fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
	if (bind(fd, (void *)&at, sizeof at))
		fail("bind");
	watch(EPOLL_CTL_ADD, fd, DATAGRAMS, EPOLLIN);
}

static void serve(const char *address, int port, int ports)
{
	listen_at(where(address, port - 1), LISTEN_SINK);
	for (int i = 0; i < ports; i++) {
		listen_at(where(address, port + i), LISTEN_ECHO);
		answer_at(where(address, port + i));
	}
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
			if (role == DATAGRAMS) {
				struct sockaddr_in from;
				socklen_t length = sizeof from;
				while ((size = recvfrom(fd, chunk, CHUNK, 0, (void *)&from, &length)) >= 0)
					sendto(fd, chunk, size, 0, (void *)&from, length);
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
	double began = clock_s();
	if (connect(fd, (void *)&at, sizeof at) && errno != EINPROGRESS) {
		close(fd);
		return -1;
	}
	begun[fd] = began;
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
				took(clock_s() - begun[fd]);
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
	printf("{\"rate\": %.1f, \"done\": %ld, \"failed\": %ld, \"connect_ms\": %.4f, \"cpu_s\": %.3f}\n", done / now, done,
	       failed, within_ms(0.5),
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

static int datagrams(int from)
{
	struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(from)};
	int room = 16 << 20, fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
	if (fd < 0 || bind(fd, (void *)&own, sizeof own))
		fail("datagram socket");
	watch(EPOLL_CTL_ADD, fd, ASKED, EPOLLIN);
	return fd;
}

/* Ask over flows, so many at a time: each socket to each port; return how many were answered before all was quiet. */
static long ask_all(const char *address, int port, int ports, const int *sockets, long count, long together)
{
	struct sockaddr_in at = where(address, port);
	long sent = 0, answered = 0, all = count * ports;
	char number[16];
	for (;;) {
		for (; sent < all && sent - answered < together; sent++) {
			at.sin_port = htons(port + sent % ports);
			begun[sent] = clock_s();
			memcpy(number, &sent, sizeof sent);
			if (sendto(sockets[sent / ports], number, sizeof sent, 0, (void *)&at, sizeof at) != sizeof sent)
				fail("sendto");
		}
		int ready = answered < all ? epoll_wait(poll_fd, events, EVENTS, 1500) : 0;
		if (ready <= 0 && sent == all)
			return answered;
		if (ready <= 0)
			together += UNDER_WAY; /* those before are lost */
		for (int i = 0; i < ready; i++) {
			long which;
			while (read((int)events[i].data.u64, number, sizeof number) == sizeof which) {
				memcpy(&which, number, sizeof which);
				took(clock_s() - begun[which]);
				answered++;
			}
		}
	}
}

static void ask(const char *address, int port, int count)
{
	long answered = 0;
	for (int i = 0; i < count; i++) {
		int fd = datagrams(0);
		answered += ask_all(address, port, 1, &fd, 1, 1);
		close(fd);
	}
	printf("{\"first_ms\": %.4f, \"answered\": %ld}\n", within_ms(0.5), answered);
}

static void hold(const char *address, int port, int ports, int first, int count)
{
	static int sockets[FLOWS];
	char line[16];
	if ((long)count * ports > FLOWS)
		fail("too many flows");
	for (int i = 0; i < count; i++)
		sockets[i] = datagrams(first + i);
	do {
		double began = clock_s();
		timed = 0;
		long answered = ask_all(address, port, ports, sockets, count, UNDER_WAY);
		double seconds = clock_s() - began;
		printf("{\"answered\": %ld, \"seconds\": %.3f, \"rate\": %.1f, \"p50_ms\": %.3f, \"p99_ms\": %.3f}\n", answered,
		       seconds, answered / seconds, within_ms(0.5), within_ms(0.99));
		fflush(stdout);
	} while (fgets(line, sizeof line, stdin));
}

int main(int count, char **words)
{
	struct rlimit files;
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* whoever started us is gone: so are we */
	poll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (count == 5 && !strcmp(words[1], "serve"))
		serve(words[2], atoi(words[3]), atoi(words[4]));
	else if (count == 7 && !strcmp(words[1], "open"))
		open_many(words[2], atoi(words[3]), atoi(words[4]), atof(words[5]), atoi(words[6]));
	else if (count == 5 && !strcmp(words[1], "push"))
		push(words[2], atoi(words[3]), atof(words[4]));
	else if (count == 5 && !strcmp(words[1], "ask"))
		ask(words[2], atoi(words[3]), atoi(words[4]));
	else if (count == 7 && !strcmp(words[1], "hold"))
		hold(words[2], atoi(words[3]), atoi(words[4]), atoi(words[5]), atoi(words[6]));
	else
		return 2;
	return 0;
}
