// The least cost of sending UDP packets for one core: by AF_XDP in copy mode, and by sockets. No libraries, so
// that it builds wherever there are a C compiler and the kernel's headers.
//
//	floor xsk     MILLISECONDS BATCH SOURCE DESTINATION DEVICE SOURCE_MAC DESTINATION_MAC
//	floor mmsg    MILLISECONDS BATCH SOURCE DESTINATION
//	floor gso     MILLISECONDS BATCH SOURCE DESTINATION SEGMENTS
//	floor sendto  MILLISECONDS BATCH SOURCE DESTINATION
//
// Packets of 1,200 bytes of payload go from port 5000 to 500 ports in turn, as to 500 viewers. Each is its own
// message; gso puts SEGMENTS into a message. One system call hands over BATCH (sendto: one) between two
// looks at the clock. AF_XDP uses queue 0. It prints {"sent":packets, "cpu_ns":…, "wall_ns":…, "lag":packets}. The
// CPU time is the process's, with the kernel's work in its context. The lag is the mean number of AF_XDP's packets
// that the other end had not taken yet.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_xdp.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

#ifndef AF_XDP
#define AF_XDP 44
#endif
#ifndef SOL_XDP
#define SOL_XDP 283
#endif
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

enum {
	PAYLOAD = 1200,
	FROM_PORT = 5000,
	TO_PORT = 10000,
	VIEWERS = 500,
	MAX_BATCH = 256,
	MAX_SEGMENTS = 50, // 60,000 bytes, below the 65,507 of a UDP datagram
	FRAMES = 4096,
	CHUNK = 2048,
	RING = 2048,
};

// Each wait gets a minute, on a machine that others use too.
static const int64_t PATIENCE_NS = 60000000000;

static _Noreturn void fail(const char *what) {
	perror(what);
	exit(1);
}

static int64_t now(clockid_t clock) {
	struct timespec t;

	if (clock_gettime(clock, &t))
		fail("clock_gettime");
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

// The values at the start of the measurement, after all is set up.
static int64_t cpu_start, start;

// AF_XDP's packets that the other end has not taken yet, after each system call: their sum, and the calls.
static uint64_t in_flight, looks;

static int64_t begin(int64_t milliseconds) {
	cpu_start = now(CLOCK_PROCESS_CPUTIME_ID);
	start = now(CLOCK_MONOTONIC);
	return start + milliseconds * 1000000;
}

static struct sockaddr_in address(const char *ip, int port) {
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};

	if (inet_pton(AF_INET, ip, &a.sin_addr) != 1) {
		fprintf(stderr, "%s is no IPv4 address\n", ip);
		exit(2);
	}
	return a;
}

static int udp_socket(const char *source) {
	struct sockaddr_in from = address(source, FROM_PORT);
	int s = socket(AF_INET, SOCK_DGRAM, 0);

	if (s < 0 || bind(s, (struct sockaddr *)&from, sizeof from))
		fail("UDP socket");
	return s;
}

static void viewers(struct sockaddr_in to[VIEWERS], const char *destination) {
	for (int i = 0; i < VIEWERS; i++)
		to[i] = address(destination, TO_PORT + i);
}

static uint64_t one_by_one(int64_t milliseconds, unsigned batch, char **arg) {
	static char payload[PAYLOAD];
	struct sockaddr_in to[VIEWERS];
	int s = udp_socket(arg[0]);
	uint64_t sent = 0;

	viewers(to, arg[1]);
	int64_t end = begin(milliseconds);
	while (now(CLOCK_MONOTONIC) < end)
		for (unsigned i = 0; i < batch; i++, sent++)
			if (sendto(s, payload, PAYLOAD, 0, (struct sockaddr *)&to[sent % VIEWERS], sizeof *to) != PAYLOAD)
				fail("sendto");
	return sent;
}

static uint64_t by_messages(int64_t milliseconds, unsigned batch, char **arg, unsigned segments) {
	static char payload[MAX_BATCH][PAYLOAD * MAX_SEGMENTS];
	static struct {
		_Alignas(struct cmsghdr) char data[CMSG_SPACE(sizeof(uint16_t))];
	} control[MAX_BATCH];
	struct mmsghdr message[MAX_BATCH] = {0};
	struct iovec piece[MAX_BATCH];
	struct sockaddr_in to[VIEWERS];
	int s = udp_socket(arg[0]);
	uint64_t messages = 0;

	viewers(to, arg[1]);
	for (unsigned i = 0; i < batch; i++) {
		struct msghdr *m = &message[i].msg_hdr;

		piece[i] = (struct iovec){payload[i], (size_t)PAYLOAD * segments};
		m->msg_iov = &piece[i];
		m->msg_iovlen = 1;
		m->msg_namelen = sizeof *to;
		if (segments > 1) {
			struct cmsghdr *c = (struct cmsghdr *)control[i].data;

			c->cmsg_level = IPPROTO_UDP;
			c->cmsg_type = UDP_SEGMENT;
			c->cmsg_len = CMSG_LEN(sizeof(uint16_t));
			*(uint16_t *)CMSG_DATA(c) = PAYLOAD;
			m->msg_control = c;
			m->msg_controllen = sizeof control[i].data;
		}
	}
	int64_t end = begin(milliseconds);
	while (now(CLOCK_MONOTONIC) < end) {
		for (unsigned i = 0; i < batch; i++)
			message[i].msg_hdr.msg_name = &to[(messages + i) % VIEWERS];
		int n = sendmmsg(s, message, batch, 0);
		if (n < 0)
			fail("sendmmsg");
		messages += n;
	}
	return messages * segments;
}

// A ring that is shared with the kernel. Of TX we write the producer and the kernel the consumer; of Completion
// the other way around.
struct ring {
	uint32_t *producer, *consumer;
	void *entries;
};

static struct ring ring(int fd, off_t at, const struct xdp_ring_offset *o, size_t entry) {
	size_t size = o->desc + RING * entry;
	char *m = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, at);

	if (m == MAP_FAILED)
		fail("map a ring");
	return (struct ring){(uint32_t *)(m + o->producer), (uint32_t *)(m + o->consumer), m + o->desc};
}

static void mac(unsigned char *to, const char *text) {
	if (sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", to, to + 1, to + 2, to + 3, to + 4, to + 5) != 6) {
		fprintf(stderr, "%s is no MAC address\n", text);
		exit(2);
	}
}

static unsigned frame(char *at, unsigned viewer, char **arg) {
	struct ethhdr *eth = (struct ethhdr *)at;
	struct iphdr *ip = (struct iphdr *)(eth + 1);
	struct udphdr *udp = (struct udphdr *)(ip + 1);
	unsigned length = sizeof *ip + sizeof *udp + PAYLOAD;
	uint32_t sum = 0;

	mac(eth->h_source, arg[3]);
	mac(eth->h_dest, arg[4]);
	eth->h_proto = htons(ETH_P_IP);
	*ip = (struct iphdr){
		.version = 4,
		.ihl = 5,
		.tot_len = htons(length),
		.frag_off = htons(0x4000),
		.ttl = 64,
		.protocol = IPPROTO_UDP,
		.saddr = address(arg[0], 0).sin_addr.s_addr,
		.daddr = address(arg[1], 0).sin_addr.s_addr,
	};
	for (unsigned i = 0; i < sizeof *ip; i += 2) {
		uint16_t word;

		memcpy(&word, (char *)ip + i, sizeof word);
		sum += word;
	}
	sum = (sum & 0xffff) + (sum >> 16);
	ip->check = ~(sum + (sum >> 16));
	// A UDP checksum of 0 is none: RFC 768.
	*udp = (struct udphdr){.source = htons(FROM_PORT), .dest = htons(TO_PORT + viewer),
				.len = htons(sizeof *udp + PAYLOAD)};
	return sizeof *eth + length;
}

static uint64_t by_xdp(int64_t milliseconds, unsigned batch, char **arg) {
	struct sockaddr_xdp here = {.sxdp_family = AF_XDP, .sxdp_flags = XDP_COPY | XDP_USE_NEED_WAKEUP,
				    .sxdp_ifindex = if_nametoindex(arg[2])};
	struct xdp_umem_reg umem = {.len = FRAMES * CHUNK, .chunk_size = CHUNK};
	struct xdp_mmap_offsets offsets;
	socklen_t length = sizeof offsets;
	int size = RING, fd = socket(AF_XDP, SOCK_RAW, 0);
	char *memory = mmap(NULL, umem.len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	uint64_t refused = 0;
	unsigned frame_length = 0;

	umem.addr = (uintptr_t)memory;
	if (fd < 0 || memory == MAP_FAILED || setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &umem, sizeof umem) ||
	    setsockopt(fd, SOL_XDP, XDP_UMEM_FILL_RING, &size, sizeof size) ||
	    setsockopt(fd, SOL_XDP, XDP_UMEM_COMPLETION_RING, &size, sizeof size) ||
	    setsockopt(fd, SOL_XDP, XDP_TX_RING, &size, sizeof size) ||
	    getsockopt(fd, SOL_XDP, XDP_MMAP_OFFSETS, &offsets, &length))
		fail("AF_XDP socket");
	struct ring tx = ring(fd, XDP_PGOFF_TX_RING, &offsets.tx, sizeof(struct xdp_desc));
	struct ring completion = ring(fd, XDP_UMEM_PGOFF_COMPLETION_RING, &offsets.cr, sizeof(uint64_t));
	// The kernel releases the queue of a process that has just ended some milliseconds later.
	for (int64_t give_up = now(CLOCK_MONOTONIC) + PATIENCE_NS; bind(fd, (struct sockaddr *)&here, sizeof here);) {
		if (errno != EBUSY || now(CLOCK_MONOTONIC) > give_up)
			fail("bind the AF_XDP socket");
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	// Every frame is written once, and sent again and again: this is the floor of sending.
	for (unsigned i = 0; i < FRAMES; i++)
		frame_length = frame(memory + i * CHUNK, i % VIEWERS, arg);

	// Counts since the start; the rings' own are their low 32 bits.
	uint64_t produced = 0, completed = 0;
	int64_t drained = 0, end = begin(milliseconds);
	for (;;) {
		int sending = now(CLOCK_MONOTONIC) < end;
		uint32_t queued = (uint32_t)produced - __atomic_load_n(tx.consumer, __ATOMIC_ACQUIRE);

		// Half of the frames may be in flight, so that the order of completions does not matter.
		if (sending && queued + batch <= RING && produced - completed + batch <= FRAMES / 2) {
			for (unsigned i = 0; i < batch; i++, produced++)
				((struct xdp_desc *)tx.entries)[produced % RING] = (struct xdp_desc){
					.addr = produced % FRAMES * CHUNK, .len = frame_length};
			__atomic_store_n(tx.producer, (uint32_t)produced, __ATOMIC_RELEASE);
		}
		if (sendto(fd, NULL, 0, MSG_DONTWAIT, NULL, 0) < 0) {
			if (errno == EBUSY) // one frame was dropped, and completes as if it were sent
				refused++;
			else if (errno != EAGAIN && errno != ENOBUFS)
				fail("kick");
		}
		uint32_t done = __atomic_load_n(completion.producer, __ATOMIC_ACQUIRE) - (uint32_t)completed;
		completed += done;
		__atomic_store_n(completion.consumer, (uint32_t)completed, __ATOMIC_RELEASE);
		in_flight += produced - completed;
		looks++;
		if (!sending) {
			if (completed == produced)
				return completed - refused;
			if (!drained)
				drained = now(CLOCK_MONOTONIC) + PATIENCE_NS;
			if (now(CLOCK_MONOTONIC) > drained) {
				fprintf(stderr, "%llu frames were not completed\n", (unsigned long long)(produced - completed));
				exit(1);
			}
		}
	}
}

int main(int argc, char **argv) {
	const char *mode = argc > 1 ? argv[1] : "";
	int xdp = !strcmp(mode, "xsk"), gso = !strcmp(mode, "gso"), single = !strcmp(mode, "sendto");

	if (argc != (xdp ? 9 : gso ? 7 : 6) || (!xdp && !gso && !single && strcmp(mode, "mmsg"))) {
		fprintf(stderr, "usage: see the head of floor.c\n");
		return 2;
	}
	int batch = atoi(argv[3]), segments = gso ? atoi(argv[6]) : 1;
	if (batch < 1 || batch > MAX_BATCH || segments < 1 || segments > MAX_SEGMENTS) {
		fprintf(stderr, "batch 1 to %d, segments 1 to %d\n", MAX_BATCH, MAX_SEGMENTS);
		return 2;
	}
	int64_t time = atoll(argv[2]);
	uint64_t sent = xdp ? by_xdp(time, batch, argv + 4)
		: single    ? one_by_one(time, batch, argv + 4)
			    : by_messages(time, batch, argv + 4, segments);
	printf("{\"sent\":%llu,\"cpu_ns\":%lld,\"wall_ns\":%lld,\"lag\":%.1f}\n", (unsigned long long)sent,
	       (long long)(now(CLOCK_PROCESS_CPUTIME_ID) - cpu_start), (long long)(now(CLOCK_MONOTONIC) - start),
	       looks ? (double)in_flight / looks : 0);
	return 0;
}
