//go:build ignore

// The XDP program: which packets go to the media workers, which to the kernel, which nowhere. doc.go
// says why; the reasons below are its contract with the Go side.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

// Why a packet left the program: one reason per exit, each with a counter, and the verdict follows from
// it. The Go names are in reason.go; a test holds them to this list.
enum reason {
	// To the kernel's stack.
	PASS_SHORT,         // ends within its Ethernet, IP or UDP header
	PASS_NOT_IP,        // another EtherType: ARP, a VLAN tag
	PASS_IP_HEADER,     // IPv4 with options, or a version that is not the EtherType's
	PASS_NOT_UDP,       // another protocol, or an IPv6 extension header
	PASS_FRAGMENT,      // first or later, both families
	PASS_OTHER_PORT,    // not the media port
	PASS_OTHER_MAC,     // the media port, in a frame to another interface (a macvlan's on ours) or to a group
	PASS_OTHER_ADDRESS, // the media port of an address that is not ours to serve
	PASS_NO_SOCKET,     // for a worker, but its queue has no socket

	// Nowhere.
	DROP_LENGTH,      // what IP or UDP says about lengths cannot be
	DROP_TOO_LONG,    // no datagram of ours is as long; its frame may lie in several pieces
	DROP_NO_CLASS,    // empty, or a first byte that is no STUN, DTLS, RTP or RTCP
	DROP_DTLS,        // from a tuple that is not allowed
	DROP_MEDIA,       // RTP or RTCP, the same
	DROP_TUPLE_RATE,  // from an allowed tuple, but more than its session can have to send
	DROP_STUN_SOURCE, // its source asks too often
	DROP_STUN_GLOBAL, // all new sources together do

	// To the socket of their queue.
	REDIRECT_STUN_NEW,  // from a tuple that is not allowed yet, within the limits
	REDIRECT_STUN,      // from an allowed tuple, as the next two
	REDIRECT_DTLS,
	REDIRECT_MEDIA,
	REDIRECT_UNGUARDED, // the guard is off

	REASONS,
};

enum {
	FIRST_DROP = DROP_LENGTH,
	FIRST_REDIRECT = REDIRECT_STUN_NEW,
	NSEC_PER_SEC = 1000000000,
};

// Set before loading, constant for the verifier.
volatile const __u16 media_port;
volatile const __u8 any_address;          // serve every destination address, not only those of addresses
volatile const __u8 guarded;
volatile const __u16 longest;             // UDP length of the longest datagram that the workers take
volatile const __u8 recent;               // the kernel has bpf_xdp_get_buff_len, as from 5.18
volatile const __u32 jiffy;                // nanoseconds
volatile const __u32 stun_source_interval; // nanoseconds per STUN message of one source
volatile const __u32 stun_global_interval; // nanoseconds per STUN message of new tuples, per CPU

// Our interface's hardware address, its first byte the lowest; the two highest bytes are 0. User space writes, at once
// whole, also while the program runs.
volatile __u64 hardware_address;

// IPv4 addresses are v4-mapped (RFC 4291, section 2.5.5.2), so one table serves both families. An IPv6
// packet with such a source is a forgery, and no easier to make than one from the IPv4 address itself.
struct address {
	__u8 byte[16];
};

// The 4-tuple less the port that is always ours.
struct tuple {
	struct address remote;
	struct address local;
	__be16 port; // the remote one
	__u16 zero;
};

// Where each queue's socket is. User space writes.
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 1); // Config.Queues
	__type(key, __u32);
	__type(value, __u32);
} xsks SEC(".maps");

// What an allowed tuple may send.
struct allowance {
	__u64 full;     // when its bucket will be full again (take); this program writes
	__u32 interval; // nanoseconds per packet, 0: as many as there are; user space writes
	__u32 zero;
};

// Which tuples may send DTLS and media. User space adds, replaces and deletes whole entries; a bucket is full then.
// This program may still write to the bucket of an entry that was deleted just now, and its memory may be another's
// by then: that one then has to wait for its bucket to fill, for a second at most, and gets its packets through at
// its rate meanwhile. No LRU: that would evict a viewer without anybody noticing.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); // Config.Tuples
	__type(key, struct tuple);
	__type(value, struct allowance);
} allowed SEC(".maps");

// The destination addresses that are ours, unless any_address. User space writes.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); // Config.Addresses
	__type(key, struct address);
	__type(value, __u8);
} addresses SEC(".maps");

// Per source of STUN from tuples not allowed, when its bucket will be full again (take). This program
// writes. Here LRU is right: a forgotten source starts with a full bucket, and the global limit holds.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct address);
	__type(value, __u64);
} stun_sources SEC(".maps");

// The same for all of them together. This program writes, each CPU its own.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} stun_global SEC(".maps");

// The counters, by reason. This program writes, each CPU its own.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REASONS);
	__type(key, __u32);
	__type(value, __u64);
} exits SEC(".maps");

// now is the buckets' clock, in nanoseconds since some time before the kernel's start. It stands still between the
// kernel's ticks: ten milliseconds at most, which are little beside a bucket's second. Reading it is one load, where
// a clock without steps costs as much as a look-up.
static __always_inline __u64 now(void)
{
	return bpf_jiffies64() * jiffy;
}

// take takes one token from a bucket that holds a second's worth of them, if there is one. All it stores
// is the time when it will be full again. Two CPUs that meet in one bucket may take one token for
// both: that costs precision, not safety.
static __always_inline int take(volatile __u64 *full, __u32 interval)
{
	__u64 at = *full, time = now();

	if (at < time)
		at = time;
	at += interval;
	if (at - time > NSEC_PER_SEC)
		return 0;
	*full = at;
	return 1;
}

// admit decides about STUN from a tuple that is not allowed: everybody's first packet, and all that a
// forger needs no state to send.
static __always_inline enum reason admit(struct address *source, int ipv6)
{
	__u32 zero = 0;
	__u64 *one, *all;

	// Whoever has an IPv6 address has its /64.
	if (ipv6)
		__builtin_memset(&source->byte[8], 0, 8);

	one = bpf_map_lookup_elem(&stun_sources, source);
	if (one && !take(one, stun_source_interval))
		return DROP_STUN_SOURCE;

	// Refused here, a new source is not recorded: a flood of forged ones evicts no others and
	// costs no update.
	all = bpf_map_lookup_elem(&stun_global, &zero);
	if (all && !take(all, stun_global_interval))
		return DROP_STUN_GLOBAL;

	if (!one) {
		__u64 full = now() + stun_source_interval;

		bpf_map_update_elem(&stun_sources, source, &full, BPF_ANY);
	}
	return REDIRECT_STUN_NEW;
}

static __always_inline void map_ipv4(struct address *to, const __be32 *from)
{
	__builtin_memset(to, 0, sizeof(*to));
	to->byte[10] = 0xff;
	to->byte[11] = 0xff;
	__builtin_memcpy(&to->byte[12], from, sizeof(*from));
}

// ours reports whether a frame is for our interface. Others' come by where it has guests (macvlan), where a switch
// floods, and with addresses of groups, from which nobody is answered.
static __always_inline int ours(const struct ethhdr *eth)
{
	__u64 to = *(const __u32 *)eth->h_dest | (__u64)*(const __u16 *)(eth->h_dest + 4) << 32;

	return to == hardware_address;
}

// spend takes a packet from what a tuple is allowed, if there is some left.
static __always_inline int spend(struct allowance *allowance)
{
	__u32 interval = allowance->interval;

	return !interval || take(&allowance->full, interval);
}

// judge finds the reason. A function of its own so that BTF describes enum reason.
static __noinline enum reason judge(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct tuple tuple = {};
	struct udphdr *udp;
	__u32 before; // bytes in front of UDP
	__u32 room;   // bytes that IP has for UDP
	__u32 length;
	__u8 first;
	struct allowance *allowance;
	int ipv6;

	if ((void *)(eth + 1) > end)
		return PASS_SHORT;

	ipv6 = eth->h_proto == bpf_htons(ETH_P_IPV6);
	if (ipv6) {
		struct ipv6hdr *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) > end)
			return PASS_SHORT;
		if (ip->version != 6)
			return PASS_IP_HEADER;
		if (ip->nexthdr == IPPROTO_FRAGMENT)
			return PASS_FRAGMENT;
		if (ip->nexthdr != IPPROTO_UDP)
			return PASS_NOT_UDP;
		__builtin_memcpy(&tuple.remote, &ip->saddr, sizeof(tuple.remote));
		__builtin_memcpy(&tuple.local, &ip->daddr, sizeof(tuple.local));
		before = sizeof(*eth) + sizeof(*ip);
		room = bpf_ntohs(ip->payload_len);
		udp = (void *)(ip + 1);
	} else if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) > end)
			return PASS_SHORT;
		if (ip->version != 4 || ip->ihl != 5)
			return PASS_IP_HEADER;
		if (ip->protocol != IPPROTO_UDP)
			return PASS_NOT_UDP;
		if (ip->frag_off & bpf_htons(0x3fff)) // more fragments, or an offset (RFC 791, section 3.1)
			return PASS_FRAGMENT;
		map_ipv4(&tuple.remote, &ip->saddr);
		map_ipv4(&tuple.local, &ip->daddr);
		before = sizeof(*eth) + sizeof(*ip);
		room = bpf_ntohs(ip->tot_len);
		room = room < sizeof(*ip) ? 0 : room - sizeof(*ip);
		udp = (void *)(ip + 1);
	} else {
		return PASS_NOT_IP;
	}

	if ((void *)(udp + 1) > end)
		return PASS_SHORT;
	if (udp->dest != bpf_htons(media_port))
		return PASS_OTHER_PORT;
	if (!ours(eth))
		return PASS_OTHER_MAC;
	if (!any_address && !bpf_map_lookup_elem(&addresses, &tuple.local))
		return PASS_OTHER_ADDRESS;

	// The kernel would drop these too. A frame may be longer than its packet (Ethernet pads), a packet
	// longer than its datagram (udp_rcv trims), but not the other way round. The helper says how long
	// the frame is, because neither adding a variable to a packet pointer nor subtracting two of them
	// is for programs loaded without CAP_PERFMON, and we do not ask for that. Without the helper, what
	// is cut off reaches the workers, who know their frames' lengths.
	length = bpf_ntohs(udp->len);
	if (length < sizeof(*udp) || length > room)
		return DROP_LENGTH;
	if (recent && before + room > bpf_xdp_get_buff_len(ctx))
		return DROP_LENGTH;

	// An AF_XDP socket takes no frame in several pieces, and all that is not too long lies in one.
	if (length > longest)
		return DROP_TOO_LONG;

	if (!guarded)
		return REDIRECT_UNGUARDED;
	if (length == sizeof(*udp) || (void *)(udp + 1) + 1 > end)
		return DROP_NO_CLASS;
	first = *(__u8 *)(udp + 1);

	// RFC 7983, section 7: STUN, DTLS, RTP and RTCP. Nothing else is spoken here.
	if (!(first <= 3 || (first >= 20 && first <= 63) || (first >= 128 && first <= 191)))
		return DROP_NO_CLASS;
	tuple.port = udp->source;
	allowance = bpf_map_lookup_elem(&allowed, &tuple);
	if (allowance && !spend(allowance))
		return DROP_TUPLE_RATE;
	if (first >= 128)
		return allowance ? REDIRECT_MEDIA : DROP_MEDIA;
	if (first >= 20)
		return allowance ? REDIRECT_DTLS : DROP_DTLS;
	return allowance ? REDIRECT_STUN : admit(&tuple.remote, ipv6);
}

SEC("xdp")
int steer(struct xdp_md *ctx)
{
	__u32 reason = judge(ctx);
	int verdict = XDP_PASS;
	__u64 *count;

	if (reason >= FIRST_REDIRECT) {
		verdict = bpf_redirect_map(&xsks, ctx->rx_queue_index, XDP_PASS);
		if (verdict != XDP_REDIRECT)
			reason = PASS_NO_SOCKET;
	} else if (reason >= FIRST_DROP) {
		verdict = XDP_DROP;
	}

	count = bpf_map_lookup_elem(&exits, &reason);
	if (count)
		++*count;
	return verdict;
}

// Some helpers want a license that the GPL gets along with, on older kernels.
char _license[] SEC("license") = "Dual MIT/GPL";
