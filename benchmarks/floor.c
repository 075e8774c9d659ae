/*
 * The floor of bringing machines up and down: raw system calls and hand-packed rtnetlink messages,
 * nothing looked up, one acknowledgement for each batch.
 *
 *   floor up N [links] [noipv6]   one router, N namespaces, a veth each, addresses and routes, all named
 *   floor down N                  take the names away again
 *   floor gone                    a sentinel: see below
 *
 * links: the names are hard links of one file. Where /run is on a disk, making a file costs far more.
 * noipv6: IPv6 is switched off in each namespace before an interface is up.
 *
 * The kernel takes namespaces down in the background, one batch after the other in the order in which
 * their last reference went. `gone` makes one more namespace, joined by a veth to an observer, prints
 * "ready", waits for a line, drops that namespace and prints "gone" when its veth has left the observer:
 * by then the devices of every namespace dropped before it have been unlisted too.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define PREFIX "/run/netns/bench-floor-"
#define FIRST_LINK 10 /* number of the router's first interface */
#define VM_ADDRESS(i) (0x0a000100u + (unsigned)(i))
#define GATEWAY 0x0a000001u

static void fail(const char *what)
{
	fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* --- messages: a buffer that grows, a header that is completed when the next one begins --- */

static char out[65536];
static size_t used;
static struct nlmsghdr *open_message;

static void *grow(size_t size)
{
	void *at = out + used;
	size = NLMSG_ALIGN(size);
	if (used + size > sizeof out) {
		errno = ENOBUFS;
		fail("message buffer");
	}
	memset(at, 0, size);
	used += size;
	return at;
}

static void finish(void)
{
	if (open_message)
		open_message->nlmsg_len = out + used - (char *)open_message;
}

static void *begin(int type, int flags, size_t body)
{
	finish();
	open_message = grow(NLMSG_HDRLEN);
	open_message->nlmsg_type = type;
	open_message->nlmsg_flags = NLM_F_REQUEST | flags;
	return grow(body);
}

static struct rtattr *put(int type, const void *data, size_t size)
{
	struct rtattr *attribute = grow(RTA_LENGTH(size));
	attribute->rta_type = type;
	attribute->rta_len = RTA_LENGTH(size);
	if (size)
		memcpy(RTA_DATA(attribute), data, size);
	return attribute;
}

static void put_word(int type, unsigned word) { put(type, &word, sizeof word); }
static void put_text(int type, const char *text) { put(type, text, strlen(text) + 1); }
static void close_nest(struct rtattr *nest) { nest->rta_len = out + used - (char *)nest; }

static int talker(void)
{
	int yes = 1, fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (fd < 0)
		fail("netlink socket");
	setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &yes, sizeof yes);
	return fd;
}

/* Send what is there; the last message is acknowledged, and any may be refused. */
static void say(int fd)
{
	char in[8192];
	finish();
	open_message->nlmsg_flags |= NLM_F_ACK;
	open_message->nlmsg_seq = 1;
	if (send(fd, out, used, 0) != (ssize_t)used)
		fail("netlink send");
	used = 0;
	open_message = NULL;
	for (;;) {
		int size = recv(fd, in, sizeof in, 0);
		if (size < 0)
			fail("netlink receive");
		for (struct nlmsghdr *m = (void *)in; NLMSG_OK(m, size); m = NLMSG_NEXT(m, size)) {
			struct nlmsgerr *answer = NLMSG_DATA(m);
			if (m->nlmsg_type != NLMSG_ERROR)
				continue;
			errno = -answer->error;
			if (errno)
				fail("the kernel refused a message");
			if (m->nlmsg_seq == 1)
				return;
		}
	}
}

static void raise_link(int number)
{
	struct ifinfomsg *link = begin(RTM_NEWLINK, 0, sizeof *link);
	link->ifi_index = number;
	link->ifi_flags = link->ifi_change = IFF_UP;
}

/* A veth whose near end is here, up, and whose far end is eth0 of another namespace. */
static void veth(int number, const char *name, int there)
{
	struct rtattr *info, *data, *peer;
	struct ifinfomsg *far, *near = begin(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof *near);
	near->ifi_index = number;
	near->ifi_flags = near->ifi_change = IFF_UP;
	put_text(IFLA_IFNAME, name);
	info = put(IFLA_LINKINFO, NULL, 0);
	put(IFLA_INFO_KIND, "veth", 4);
	data = put(IFLA_INFO_DATA, NULL, 0);
	peer = put(VETH_INFO_PEER, NULL, 0);
	far = grow(sizeof *far);
	far->ifi_index = 2;
	put_text(IFLA_IFNAME, "eth0");
	put_word(IFLA_NET_NS_FD, there);
	close_nest(peer);
	close_nest(data);
	close_nest(info);
}

static void address(unsigned ip, int number)
{
	struct ifaddrmsg *a = begin(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, sizeof *a);
	a->ifa_family = AF_INET;
	a->ifa_prefixlen = 32;
	a->ifa_index = number;
	put_word(IFA_LOCAL, htonl(ip));
}

static void route(unsigned ip, int length, unsigned via, int number)
{
	struct rtmsg *r = begin(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, sizeof *r);
	r->rtm_family = AF_INET;
	r->rtm_dst_len = length;
	r->rtm_table = RT_TABLE_MAIN;
	r->rtm_protocol = RTPROT_STATIC;
	r->rtm_type = RTN_UNICAST;
	r->rtm_scope = via ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
	r->rtm_flags = via ? RTNH_F_ONLINK : 0;
	if (length)
		put_word(RTA_DST, htonl(ip));
	if (via)
		put_word(RTA_GATEWAY, htonl(via));
	put_word(RTA_OIF, number);
}

/* --- namespaces --- */

static void sysctl(const char *file, const char *value)
{
	int fd = open(file, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		fail(file);
	close(fd);
}

static int here(void)
{
	int fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fail("/proc/self/ns/net");
	return fd;
}

static void name_of(char *path, int i)
{
	if (i < 0)
		strcpy(path, PREFIX "router");
	else
		sprintf(path, PREFIX "%d", i);
}

static void new_namespace(int i, int links, int noipv6)
{
	char path[64];
	name_of(path, i);
	if (unshare(CLONE_NEWNET))
		fail("unshare");
	if (links && link(PREFIX "seed", path))
		fail(path);
	if (!links) {
		int fd = open(path, O_CREAT | O_EXCL | O_CLOEXEC, 0);
		if (fd < 0)
			fail(path);
		close(fd);
	}
	if (mount("/proc/self/ns/net", path, "none", MS_BIND, NULL))
		fail("mount");
	if (noipv6)
		sysctl("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
}

static void up(int n, int links, int noipv6)
{
	char name[16];
	int router;
	if (links)
		close(open(PREFIX "seed", O_CREAT | O_CLOEXEC, 0));
	new_namespace(-1, links, noipv6);
	router = talker();
	sysctl("/proc/sys/net/ipv4/ip_forward", "1");
	raise_link(1);
	address(GATEWAY, 1);
	say(router);
	for (int i = 0; i < n; i++) {
		int vm, there;
		new_namespace(i, links, noipv6);
		there = here();
		vm = talker();
		sprintf(name, "vm%d", i);
		veth(FIRST_LINK + i, name, there);
		route(VM_ADDRESS(i), 32, 0, FIRST_LINK + i);
		say(router);
		raise_link(1);
		raise_link(2);
		address(VM_ADDRESS(i), 2);
		route(0, 0, GATEWAY, 2);
		say(vm);
		close(vm);
		close(there);
	}
}

static void down(int n)
{
	char path[64];
	for (int i = 0; i <= n; i++) {
		name_of(path, i < n ? i : -1);
		umount2(path, MNT_DETACH);
		unlink(path);
	}
	unlink(PREFIX "seed");
}

static void gone(void)
{
	struct ifreq request = {.ifr_ifindex = FIRST_LINK};
	int sentinel, look;
	if (unshare(CLONE_NEWNET))
		fail("unshare");
	sentinel = here();
	if (unshare(CLONE_NEWNET))
		fail("unshare");
	look = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	veth(FIRST_LINK, "sentinel", sentinel);
	say(talker());
	puts("ready");
	fflush(stdout);
	if (getchar() == EOF)
		return;
	close(sentinel);
	while (!ioctl(look, SIOCGIFNAME, &request)) /* takes no lock that the clean-up holds */
		usleep(300);
	puts("gone");
}

static int has(int count, char **words, const char *word)
{
	for (int i = 3; i < count; i++)
		if (!strcmp(words[i], word))
			return 1;
	return 0;
}

int main(int count, char **words)
{
	struct rlimit files = {16384, 16384};
	setrlimit(RLIMIT_NOFILE, &files);
	if (count >= 3 && !strcmp(words[1], "up"))
		up(atoi(words[2]), has(count, words, "links"), has(count, words, "noipv6"));
	else if (count == 3 && !strcmp(words[1], "down"))
		down(atoi(words[2]));
	else if (count == 2 && !strcmp(words[1], "gone"))
		gone();
	else
		return 2;
	return 0;
}
