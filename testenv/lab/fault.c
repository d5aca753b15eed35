//go:build ignore

// Faults for UDP over IPv4 and IPv6, on the way out of a device (tcx) or into it (XDP). A sink counts
// arriving packets. fault_linux.go explains each setting. Everything else passes.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

// Set before loading, constant for the verifier. 0 turns each off; chances are of 2^32.
volatile const __u16 port;       // source or destination
volatile const __u32 longest;    // bytes from the IP header on
volatile const __u32 drop_every; // n: the n-th, the 2n-th and so on
volatile const __u32 drop_chance;
volatile const __u32 burst_enter, burst_leave, burst_chance; // Gilbert and Elliott's two states
volatile const __u32 duplicate_every, duplicate_chance;
volatile const __u64 seed; // not 0

// The counts, and the state for the next decision. The lock keeps counts and order exact however many
// CPUs send.
struct state {
	struct bpf_spin_lock lock;
	__u32 burst; // whether it is one
	__u64 random;
	__u64 seen, dropped, duplicated;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct state);
} states SEC(".maps");

struct sunk {
	__u64 packets, bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sunk);
} sunks SEC(".maps");

enum decision { KEEP, DROP, DUPLICATE };

static __always_inline int chance(struct state *s, __u32 of) {
	if (!of)
		return 0;
	// Marsaglia's xorshift64: the helper for random numbers takes no seed.
	if (!s->random)
		s->random = seed;
	s->random ^= s->random << 13;
	s->random ^= s->random >> 7;
	s->random ^= s->random << 17;
	return (__u32)(s->random >> 32) < of;
}

static __always_inline int every(struct state *s, __u32 n) { return n && s->seen % n == 0; }

static __always_inline enum decision decide(__u32 length) {
	__u32 zero = 0;
	struct state *s = bpf_map_lookup_elem(&states, &zero);
	enum decision d = KEEP;

	if (!s)
		return KEEP;
	bpf_spin_lock(&s->lock);
	s->seen++;
	if (chance(s, s->burst ? burst_leave : burst_enter))
		s->burst = !s->burst;
	if ((longest && length > longest) || every(s, drop_every) || chance(s, drop_chance) ||
	    (s->burst && chance(s, burst_chance))) {
		s->dropped++;
		d = DROP;
	} else if (every(s, duplicate_every) || chance(s, duplicate_chance)) {
		s->duplicated++;
		d = DUPLICATE;
	}
	bpf_spin_unlock(&s->lock);
	return d;
}

// The headers may lie outside of the memory that can be addressed, so they are copied.
typedef long copy(void *ctx, __u32 offset, void *to, __u32 length);

static __always_inline long copy_skb(void *ctx, __u32 offset, void *to, __u32 length) {
	return bpf_skb_load_bytes(ctx, offset, to, length);
}

static __always_inline long copy_xdp(void *ctx, __u32 offset, void *to, __u32 length) {
	return bpf_xdp_load_bytes(ctx, offset, to, length);
}

static __always_inline int ours(void *ctx, copy *from) {
	__u8 h[ETH_HLEN + 20]; // as much of IPv6 as of IPv4
	__u16 ports[2];
	__u32 offset;

	if (from(ctx, 0, h, sizeof h))
		return 0;
	switch (h[12] << 8 | h[13]) {
	case ETH_P_IP:
		if (h[ETH_HLEN + 9] != IPPROTO_UDP)
			return 0;
		offset = ETH_HLEN + (h[ETH_HLEN] & 15) * 4;
		break;
	case ETH_P_IPV6:
		if (h[ETH_HLEN + 6] != IPPROTO_UDP)
			return 0;
		offset = ETH_HLEN + 40;
		break;
	default:
		return 0;
	}
	if (!port)
		return 1;
	return !from(ctx, offset, ports, sizeof ports) && (ports[0] == bpf_htons(port) || ports[1] == bpf_htons(port));
}

enum { COPY = 0x72696e67 }; // marks a duplicate, which comes by here too

SEC("tcx/egress") int egress(struct __sk_buff *skb) {
	__u32 mark = skb->mark;

	if (mark == COPY || !ours(skb, copy_skb))
		return TC_ACT_UNSPEC;
	switch (decide(skb->len - ETH_HLEN)) {
	case DROP:
		return TC_ACT_SHOT;
	case DUPLICATE:
		skb->mark = COPY;
		bpf_clone_redirect(skb, skb->ifindex, 0);
		skb->mark = mark;
		return TC_ACT_UNSPEC;
	default:
		return TC_ACT_UNSPEC;
	}
}

SEC("xdp") int ingress(struct xdp_md *ctx) {
	if (ours(ctx, copy_xdp) && decide(bpf_xdp_get_buff_len(ctx) - ETH_HLEN) == DROP)
		return XDP_DROP;
	return XDP_PASS;
}

SEC("xdp") int sink(struct xdp_md *ctx) {
	__u32 zero = 0;
	struct sunk *s;

	if (!ours(ctx, copy_xdp))
		return XDP_PASS;
	s = bpf_map_lookup_elem(&sunks, &zero);
	if (s) {
		s->packets++;
		s->bytes += bpf_xdp_get_buff_len(ctx) - ETH_HLEN;
	}
	return XDP_DROP;
}

char _license[] SEC("license") = "Dual MIT/GPL"; // helpers ask for one like this
