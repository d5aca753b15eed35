//go:build ignore

// Counts the media of viewers where it arrives, and drops it there. doc.go says what for.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

enum mode {
	MODE_PASS,  // everything goes to the socket, uncounted
	MODE_COUNT, // media is counted and passes
	MODE_DROP,  // media is counted and dropped
};

enum { SOURCES = 3, RTP_HEADER = 12 };

// One SSRC that a viewer is sent. Only the queue that its flow is on writes it.
struct source {
	__u32 ssrc;
	__u32 first;   // sequence number of the first packet
	__u32 highest; // extended: cycles and 16 bits
	__u32 unused;
	__u64 packets;
	__u64 bytes; // UDP payload
};

struct viewer {
	__u32 mode;
	__u32 unused;
	struct source sources[SOURCES];
};

struct totals {
	__u64 packets, bytes; // media of viewers whose mode is not MODE_PASS
	__u64 lost;           // media dropped on purpose, uncounted above
	__u64 unplaced;       // media of a fourth SSRC
	__u64 passed;         // all else
};

volatile const __u32 lose_every; // 0: nothing is lost on purpose

// By UDP port, which is a viewer's name here.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct viewer);
} viewers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct totals);
} totals SEC(".maps");

static __always_inline void count(struct source *s, __u16 sequence, __u64 bytes)
{
	if (s->packets == 0) {
		s->first = s->highest = sequence;
	} else {
		__s16 ahead = (__s16)(sequence - (__u16)s->highest); // RFC 1982
		if (ahead > 0)
			s->highest += ahead;
	}
	s->packets++;
	s->bytes += bytes;
}

SEC("xdp")
int sink(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct udphdr *udp;
	__u32 zero = 0;
	struct totals *t = bpf_map_lookup_elem(&totals, &zero);

	if (!t || (void *)(eth + 1) > end)
		return XDP_PASS;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(eth + 1);
		if ((void *)(ip + 1) > end || ip->ihl != 5 || ip->protocol != IPPROTO_UDP)
			goto pass;
		udp = (void *)(ip + 1);
	} else if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = (void *)(eth + 1);
		if ((void *)(ip + 1) > end || ip->nexthdr != IPPROTO_UDP)
			goto pass;
		udp = (void *)(ip + 1);
	} else {
		goto pass;
	}
	__u8 *rtp = (void *)(udp + 1);
	if ((void *)(rtp + RTP_HEADER) > end)
		goto pass;
	if (rtp[0] >> 6 != 2 || (rtp[1] >= 192 && rtp[1] <= 223)) // RFC 7983, RFC 5761 section 4
		goto pass;

	__u32 port = bpf_ntohs(udp->dest);
	struct viewer *v = bpf_map_lookup_elem(&viewers, &port);
	if (!v || v->mode == MODE_PASS)
		goto pass;
	if (lose_every && (t->packets + t->lost) % lose_every == lose_every - 1) {
		t->lost++;
		return XDP_DROP;
	}
	__u64 bytes = bpf_ntohs(udp->len) - sizeof(*udp);
	__u32 ssrc = (__u32)rtp[8] << 24 | (__u32)rtp[9] << 16 | (__u32)rtp[10] << 8 | rtp[11];
	int placed = 0;
	for (int i = 0; i < SOURCES && !placed; i++) {
		struct source *s = &v->sources[i];
		if (s->packets == 0)
			s->ssrc = ssrc;
		if (s->ssrc == ssrc) {
			count(s, (__u16)rtp[2] << 8 | rtp[3], bytes);
			placed = 1;
		}
	}
	if (!placed)
		t->unplaced++;
	t->packets++;
	t->bytes += bytes;
	return v->mode == MODE_DROP ? XDP_DROP : XDP_PASS;
pass:
	t->passed++;
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
