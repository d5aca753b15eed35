//go:build ignore

// The XDP program: which packets go to the media workers, which to the kernel, which nowhere. doc.go
// explains why; the reasons below are its contract with the Go side.

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
	DROP_LENGTH,      // a length of IP or UDP that cannot be
	DROP_TOO_LONG,    // no datagram of ours is as long; its frame may lie in several pieces
	DROP_NO_CLASS,    // empty, or a first byte that is no STUN, DTLS, RTP or RTCP
	DROP_DTLS,        // from a tuple that is not allowed
	DROP_MEDIA,       // RTP or RTCP, the same
	DROP_TUPLE_RATE,   // from an allowed tuple, but more of its kind than its session can have to send
	DROP_STUN_UNNAMED, // from a tuple that is not allowed, and no check with a user name like ours
	DROP_STUN_FORGED,  // the user name was not made here, or long ago and for no session that has a path
	DROP_STUN_UFRAG,   // the user name is used too often
	DROP_STUN_SOURCE,  // from a tuple that is not allowed, and its source asks too often
	DROP_STUN_GLOBAL,  // from a tuple that is not allowed, and all new sources together ask too often

	// To the socket of their queue.
	REDIRECT_STUN_NEW,  // from a tuple that is not allowed yet, within the limits
	REDIRECT_STUN,      // from an allowed tuple, as the next two
	REDIRECT_DTLS,
	REDIRECT_MEDIA,
	REDIRECT_UNGUARDED, // the guard is off
	REDIRECT_REPORT,    // from an allowed tuple, and in no hurry: to the second socket

	REASONS,
};

enum {
	FIRST_DROP = DROP_LENGTH,
	FIRST_REDIRECT = REDIRECT_STUN_NEW,
	NSEC_PER_SEC = 1000000000,

	// STUN (RFC 8489, sections 5 and 18.3).
	BINDING_REQUEST = 0x0001,
	MAGIC_COOKIE = 0x2112A442,
	USERNAME = 0x0006,
	// RTCP (RFC 3550, section 12.1; RFC 4585, section 6.1). Of both kinds of feedback 15 is in no hurry: transport-wide
	// feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01) and estimates (draft-alvestrand-rmcat-remb-03).
	RR = 201,
	RTPFB = 205,
	PSFB = 206,
	UNHURRIED = 15,
	// An allowed tuple needs little DTLS: a handshake, and a goodbye.
	OTHERS_SHARE = 16,
	// How many bytes of attributes there may be before USERNAME: more than all that ICE knows, and 60 of SOFTWARE.
	BEFORE_USERNAME = 96,
};

// Set before loading, constant for the verifier.
volatile const __u16 media_port;
volatile const __u8 any_address;          // serve every destination address, not only those of addresses
volatile const __u8 guarded;
volatile const __u16 longest;             // UDP length of the longest datagram that the workers take
volatile const __u8 recent;               // the kernel has bpf_xdp_get_buff_len, as from 5.18
volatile const __u32 jiffy;                // nanoseconds
volatile const __u32 ufrag_fresh_interval; // nanoseconds per check of new tuples by a ufrag without a path
volatile const __u32 ufrag_kept_interval;  // the same by a ufrag of a session that has one
volatile const __u32 ufrag_known_interval; // nanoseconds per check of allowed tuples by either
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

// Where each queue's two sockets are: the one for reports at 2 * queue + 1. User space writes.
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 2); // twice Config.Queues
	__type(key, __u32);
	__type(value, __u32);
} xsks SEC(".maps");

// The traffic of an allowed tuple beside checks. Each kind has a bucket, so a forger that sends one kind in the
// tuple's name takes none of the others. This program writes when the buckets will be full again, user space the rest.
struct allowance {
	__u64 media;    // RTP
	__u64 reports;  // RTCP
	__u64 others;   // DTLS, and STUN that is no check: one for OTHERS_SHARE of the above
	__u32 interval; // nanoseconds per packet, 0: as many as there are
	__u32 zero;
};

// Which tuples may send DTLS and media. User space adds, replaces and deletes whole entries; buckets are full then.
// This program may still write to a bucket of an entry that was deleted just now. Its memory may be another entry's by
// then. That entry has to wait for its bucket to fill, for a second at most, and gets its packets through at its rate
// meanwhile. No LRU: that would evict a viewer without anybody noticing.
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

// The keys of package ufrag, each in its place for as long as it is valid. User space writes, before it makes the first
// ufrag with the key. An update is not one step, but the key that it replaces is not in use.
struct key {
	__u64 term; // four letters, the first the lowest; 0: no key
	__u64 low;
	__u64 high;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct key);
} ufrag_keys SEC(".maps");

// A ufrag of ours with the colon after it, as numbers of eight letters, the first the lowest. Package ufrag has
// the layout: 4 letters of term and 11 of session, restart and role, then 16 of tag.
struct ufrag {
	__u64 word[4];
};

// When the buckets of a ufrag will be full again (take).
struct uses {
	__u64 new;   // of checks of tuples that are not allowed
	__u64 known; // of those that are. Not the tuple's: one whose own ufrag is genuine may forge the tuple
};

// Of sessions that have no path yet. This program writes, and only ufrags with a tag of ours get here. An LRU:
// a ufrag that is forgotten starts with full buckets.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct ufrag);
	__type(value, struct uses);
} ufrags_fresh SEC(".maps");

// The same of sessions that have a path. They may outlive the key that made their ufrag, and still move to new tuples.
// User space adds and deletes; this program writes to buckets, with the race that is described at allowed.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); // Config.Sessions
	__type(key, struct ufrag);
	__type(value, struct uses);
} ufrags_kept SEC(".maps");

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
static __always_inline int take(volatile __u64 *full, __u64 interval)
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

struct stunhdr {
	__be16 type;
	__be16 length;
	__be32 cookie;
	__u8 transaction[12];
};

struct attribute {
	__be16 type;
	__be16 length;
};

// find looks for a ufrag that may be ours in a Binding request. It is at the start of USERNAME, before a colon (RFC
// 8445, section 7.2.2). length is the datagram's. Attributes come in any order: pion and aioice begin with USERNAME,
// libnice sends it after PRIORITY, libjuice after ICE-CONTROLLING. Each place where one may start is tried in turn,
// because to packet pointers only constants can be added here (see judge).
static __noinline int find(const void *stun, const void *end, __u32 length, struct ufrag *ufrag)
{
	const struct stunhdr *header = stun;
	__u32 at = sizeof(*header); // where the next attribute starts
	__u32 here;

	if ((void *)(header + 1) > end)
		return 0;
	if (header->type != bpf_htons(BINDING_REQUEST) || header->cookie != bpf_htonl(MAGIC_COOKIE))
		return 0;
#pragma clang loop unroll(full)
	for (here = sizeof(*header); here <= sizeof(*header) + BEFORE_USERNAME; here += 4) {
		const struct attribute *attribute = stun + here;
		const __u64 *word = (void *)(attribute + 1);

		if (here != at)
			continue;
		// A message that ends before has no room for the integrity that comes after USERNAME.
		if (here + sizeof(*attribute) + sizeof(*ufrag) > length || (void *)(word + 4) > end)
			return 0;
		if (attribute->type == bpf_htons(USERNAME)) {
			ufrag->word[0] = word[0];
			ufrag->word[1] = word[1];
			ufrag->word[2] = word[2];
			ufrag->word[3] = word[3];
			return bpf_ntohs(attribute->length) >= sizeof(*ufrag) && word[3] >> 56 == ':';
		}
		at += sizeof(*attribute) + ((bpf_ntohs(attribute->length) + 3) & ~3);
	}
	return 0;
}

#define ROTATE(x, bits) ((x) << (bits) | (x) >> (64 - (bits)))

#define SIP_ROUND                                                    \
	do {                                                             \
		v0 += v1, v1 = ROTATE(v1, 13), v1 ^= v0, v0 = ROTATE(v0, 32); \
		v2 += v3, v3 = ROTATE(v3, 16), v3 ^= v2;                      \
		v0 += v3, v3 = ROTATE(v3, 21), v3 ^= v0;                      \
		v2 += v1, v1 = ROTATE(v1, 17), v1 ^= v2, v2 = ROTATE(v2, 32); \
	} while (0)

// tagged reports whether a ufrag's tag is its first 15 letters' SipHash-2-4, written as package ufrag does.
static __noinline int tagged(const struct ufrag *ufrag, const struct key *key)
{
	const __u64 *word = ufrag->word, nibbles = 0x0f0f0f0f0f0f0f0f, letter_a = 0x4141414141414141;
	__u64 v0 = key->low ^ 0x736f6d6570736575, v1 = key->high ^ 0x646f72616e646f6d;
	__u64 v2 = key->low ^ 0x6c7967656e657261, v3 = key->high ^ 0x7465646279746573;
	__u64 last = (word[1] & 0x00ffffffffffffff) | 15ULL << 56; // the seven other letters, and how many there are
	__u64 sum;

	v3 ^= word[0];
	SIP_ROUND;
	SIP_ROUND;
	v0 ^= word[0];
	v3 ^= last;
	SIP_ROUND;
	SIP_ROUND;
	v0 ^= last;
	v2 ^= 0xff;
	SIP_ROUND;
	SIP_ROUND;
	SIP_ROUND;
	SIP_ROUND;
	sum = v0 ^ v1 ^ v2 ^ v3;
	return (word[1] >> 56 | word[2] << 8) == (sum & nibbles) + letter_a &&
	       (word[2] >> 56 | word[3] << 8) == (sum >> 4 & nibbles) + letter_a;
}

// use takes one use of a ufrag, if there is one left.
static __always_inline enum reason use(struct uses *uses, int known, __u32 new_interval)
{
	if (known)
		return take(&uses->known, ufrag_known_interval) ? REDIRECT_STUN : DROP_STUN_UFRAG;
	return take(&uses->new, new_interval) ? REDIRECT_STUN_NEW : DROP_STUN_UFRAG;
}

// vouch judges a check by its ufrag; known: its tuple is allowed. A forged one costs the tag and nothing more:
// no clock, no bucket. It returns REDIRECT_STUN or REDIRECT_STUN_NEW if there is nothing against the check.
static __noinline enum reason vouch(const struct ufrag *ufrag, int known)
{
	__u32 i, genuine = 0;
	struct uses first = {}, *uses;
	enum reason reason;

#pragma clang loop unroll(full)
	for (i = 0; i < 2; i++) {
		__u32 place = i;
		const struct key *key = bpf_map_lookup_elem(&ufrag_keys, &place);

		if (!key || !key->term || key->term != (__u32)ufrag->word[0])
			continue;
		if (!tagged(ufrag, key))
			return DROP_STUN_FORGED;
		genuine = 1;
	}

	// With any key: the session knows its ufrag, and nobody else can guess the tag.
	uses = bpf_map_lookup_elem(&ufrags_kept, ufrag);
	if (uses)
		return use(uses, known, ufrag_kept_interval);
	if (!genuine)
		return DROP_STUN_FORGED;

	uses = bpf_map_lookup_elem(&ufrags_fresh, ufrag);
	if (uses)
		return use(uses, known, ufrag_fresh_interval);
	reason = use(&first, known, ufrag_fresh_interval);
	bpf_map_update_elem(&ufrags_fresh, ufrag, &first, BPF_ANY);
	return reason;
}

// admit decides about a check that its ufrag vouches for, from a tuple that is not allowed.
static __always_inline enum reason admit(struct address *source, int ipv6)
{
	__u64 *one, *all;
	__u32 zero = 0;

	// The owner of an IPv6 address has its /64.
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

// spend takes a packet from one of a tuple's buckets, if there is some left. The reason is for then.
static __always_inline enum reason spend(__u64 *full, __u64 interval, enum reason reason)
{
	// Here the pointer is made, before paths of several buckets meet: see judge about adding to pointers.
	asm volatile("" : "+r"(full));
	return !interval || take(full, interval) ? reason : DROP_TUPLE_RATE;
}

// hear decides about STUN. Checks are all that a session has to send from a new tuple, and they keep it on an old
// one. A forger of an allowed tuple does not know its session's ufrag. Answers to checks never come, because we send
// none; indications prove nothing.
static __always_inline enum reason hear(const void *stun, const void *end, __u32 length, struct tuple *tuple,
					struct allowance *allowance, int ipv6)
{
	struct ufrag ufrag = {};
	enum reason reason;

	if (!find(stun, end, length, &ufrag)) {
		if (!allowance)
			return DROP_STUN_UNNAMED;
		return spend(&allowance->others, (__u64)allowance->interval * OTHERS_SHARE, REDIRECT_STUN);
	}
	reason = vouch(&ufrag, allowance != 0);
	return reason == REDIRECT_STUN_NEW ? admit(&tuple->remote, ipv6) : reason;
}

// reports picks RTCP from RTP (RFC 5761, section 4). After a datagram of one byte it reads the frame's padding: such a
// datagram is junk in either bucket.
static __always_inline int reports(const __u8 *payload, const void *end)
{
	return (void *)(payload + 2) <= end && payload[1] >= 192 && payload[1] <= 223;
}

// patient picks the RTCP that begins with a receiver report, transport-wide feedback or an estimate. NACKs and requests
// for keyframes are in a hurry: browsers send them in datagrams of their own. RTCP's first eight bytes are never
// encrypted (RFC 3711, section 3.4).
static __always_inline int patient(const __u8 *payload, const void *end)
{
	__u8 type;

	if ((void *)(payload + 2) > end)
		return 0;
	type = payload[1];
	return type == RR || ((type == RTPFB || type == PSFB) && (payload[0] & 31) == UNHURRIED);
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
	// longer than its datagram (udp_rcv trims), but not the other way round. The helper gives the length
	// of the frame. Programs without CAP_PERFMON may neither add a variable to a packet pointer
	// nor subtract two of them, and we do not ask for that capability. Without the helper, a packet
	// that is cut off reaches the workers, which know their frames' lengths.
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
	if (first <= 3)
		return hear(udp + 1, end, length - sizeof(*udp), &tuple, allowance, ipv6);
	if (!allowance)
		return first >= 128 ? DROP_MEDIA : DROP_DTLS;
	if (first < 128)
		return spend(&allowance->others, (__u64)allowance->interval * OTHERS_SHARE, REDIRECT_DTLS);
	if (reports((void *)(udp + 1), end))
		return spend(&allowance->reports, allowance->interval,
			     patient((void *)(udp + 1), end) ? REDIRECT_REPORT : REDIRECT_MEDIA);
	return spend(&allowance->media, allowance->interval, REDIRECT_MEDIA);
}

SEC("xdp")
int steer(struct xdp_md *ctx)
{
	__u32 reason = judge(ctx);
	int verdict = XDP_PASS;
	__u64 *count;

	if (reason >= FIRST_REDIRECT) {
		verdict = bpf_redirect_map(&xsks, 2 * ctx->rx_queue_index + (reason == REDIRECT_REPORT), XDP_PASS);
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
