//go:build ignore

// Counts the media of viewers where it arrives, and drops it there. doc.go explains the purpose.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

enum { RTP_HEADER = 12 };

// The counters of a viewer. Only the queue of its flow writes them, but for diverted and ssrc.
struct viewer {
	__u32 diverted;  // its media is counted here and dropped; else it passes
	__u32 ssrc;      // the source whose numbering is followed
	__u32 first;     // its first sequence number,
	__u32 highest;   // and its highest, extended by the wraps
	__u32 numbered;  // packets of any source that carried a transport-wide number
	__u32 unused;
	__u64 packets, bytes; // of all sources; UDP payload
	__u64 media;          // packets of ssrc
};

// The last packets of a viewer that carried a transport-wide number, by their place among these, modulo the room.
// An entry has the number in its low 16 bits. Above are the 48 low bits of the arrival, monotonic in ns / 256.
enum { ARRIVALS = 64 };
struct arrivals {
	__u64 last[ARRIVALS];
};

struct totals {
	__u64 diverted_packets, diverted_bytes; // media that was counted for a viewer
	__u64 passed_packets, passed_bytes;     // media that went on to a socket
	__u64 lost;                             // media dropped on purpose, in none of the above
	__u64 other;                            // all that is no media
};

volatile const __u8 transport_id; // of the header extension; 0: not negotiated
volatile const __u32 lose_every; // 0: nothing is lost on purpose
volatile const __u64 spared[2];  // a bit for each payload type that is never lost on purpose

__u64 seen; // media packets that are not spared, on any CPU; counted only to lose some

// By UDP port, which is a viewer's name here.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct viewer);
} viewers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct arrivals);
} arrivals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct totals);
} totals SEC(".maps");

static __always_inline void note(struct viewer *v, __u32 port, __u16 number)
{
	struct arrivals *a = bpf_map_lookup_elem(&arrivals, &port);

	if (!a)
		return;
	a->last[v->numbered % ARRIVALS] = bpf_ktime_get_ns() >> 8 << 16 | number;
	v->numbered++; // last: a reader takes all entries below it
}

static __always_inline void count(struct viewer *v, __u32 port, __u8 *rtp, void *end)
{
	__u32 ssrc = (__u32)rtp[8] << 24 | (__u32)rtp[9] << 16 | (__u32)rtp[10] << 8 | rtp[11];
	__u16 sequence = (__u16)rtp[2] << 8 | rtp[3];

	if (ssrc == v->ssrc) {
		if (v->media == 0) {
			v->first = v->highest = sequence;
		} else {
			__s16 ahead = (__s16)(sequence - (__u16)v->highest); // RFC 1982
			if (ahead > 0)
				v->highest += ahead;
		}
		v->media++;
	}
	// One-byte header extensions (RFC 8285); servers put this one first or second.
	if (!transport_id || (rtp[0] & 0x1f) != 0x10)
		return;
	__u8 *x = rtp + RTP_HEADER;
	if ((void *)(x + 4) > end || x[0] != 0xbe || x[1] != 0xde)
		return;
	__u8 *last = x + 4 + 4 * x[3]; // longer ones do not matter
	x += 4;
	for (int i = 0; i < 6; i++) {
		if ((void *)(x + 3) > end || x + 3 > last)
			return;
		if (x[0] == 0) { // padding
			x++;
			continue;
		}
		if (x[0] >> 4 == transport_id) {
			note(v, port, (__u16)x[1] << 8 | x[2]);
			return;
		}
		x += 2 + (x[0] & 15);
	}
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
			goto other;
		udp = (void *)(ip + 1);
	} else if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = (void *)(eth + 1);
		if ((void *)(ip + 1) > end || ip->nexthdr != IPPROTO_UDP)
			goto other;
		udp = (void *)(ip + 1);
	} else {
		goto other;
	}
	__u8 *rtp = (void *)(udp + 1);
	if ((void *)(rtp + RTP_HEADER) > end)
		goto other;
	if (rtp[0] >> 6 != 2 || (rtp[1] >= 192 && rtp[1] <= 223)) // RFC 7983, RFC 5761 section 4
		goto other;

	__u8 type = rtp[1] & 0x7f;
	if (lose_every && !(spared[type >> 6] >> (type & 63) & 1) &&
	    __sync_fetch_and_add(&seen, 1) % lose_every == lose_every - 1) {
		t->lost++;
		return XDP_DROP;
	}
	__u64 bytes = bpf_ntohs(udp->len) - sizeof(*udp);
	__u32 port = bpf_ntohs(udp->dest);
	struct viewer *v = bpf_map_lookup_elem(&viewers, &port);
	if (!v || !v->diverted) {
		t->passed_packets++;
		t->passed_bytes += bytes;
		return XDP_PASS;
	}
	v->packets++;
	v->bytes += bytes;
	count(v, port, rtp, end);
	t->diverted_packets++;
	t->diverted_bytes += bytes;
	return XDP_DROP;
other:
	t->other++;
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
