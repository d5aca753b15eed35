package bpf

import (
	"encoding/binary"
	"testing"
	"time"

	"ringcast/testenv"
)

// The cost of one packet in the program, with 10,000 paths allowed. The kernel measures.
func BenchmarkSteer(b *testing.B) {
	testenv.Need(b, testenv.XDP)
	p := loaded(b,
		configured(func(c *Config) { c.STUNRate = maxRate; c.GlobalSTUNRate = maxRate; c.knownRate = testRate }), path4,
		path6)
	flooded := loaded(b, DefaultConfig())
	drainUfrags(b, flooded)
	for i := range 10000 {
		if err := p.Allow(pathOf(i), testRate); err != nil {
			b.Fatal(err)
		}
	}
	drained := loaded(b, configured(func(c *Config) { c.freshRate = testRate }))
	drainSource(b, drained, stranger4.Addr())
	drainedGlobal := loaded(b, configured(func(c *Config) { c.freshRate = testRate }))
	drainGlobal(b, drainedGlobal)
	spent := loaded(b, DefaultConfig(), path4)
	drainTuple(b, spent, path4)
	unguarded := loaded(b, configured(func(c *Config) { c.Guard = false }))
	payload := func(b byte) []byte { return append(first(b), make([]byte, 1172)...) }
	for _, c := range []struct {
		name    string
		program *Program
		frame   []byte
		reason  Reason
	}{
		{"RTP allowed, IPv4", p, datagram(peer4, server4, payload(media)...), RedirectMedia},
		{"RTP allowed, IPv6", p, datagram(peer6, server6, payload(media)...), RedirectMedia},
		{"RTP over its tuple's rate", spent, datagram(peer4, server4, payload(media)...), DropTupleRate},
		{"RTP refused, IPv4", p, datagram(stranger4, server4, payload(media)...), DropMedia},
		{"RTP refused, IPv6", p, datagram(stranger6, server6, payload(media)...), DropMedia},
		{"RTP unguarded", unguarded, datagram(peer4, server4, payload(media)...), RedirectUnguarded},
		{"RTCP allowed", p, datagram(peer4, server4, rtcp()...), RedirectMedia},
		{"check allowed", p, datagram(peer4, server4, checkBy(keptName)...), RedirectSTUN},
		{"check allowed, no path", p, datagram(peer4, server4, newcomer()...), RedirectSTUN},
		{"check forged, allowed tuple", p, datagram(peer4, server4, checkBy(forgedName)...), DropSTUNForged},
		{"other STUN allowed", p, datagram(peer4, server4, first(stun)...), RedirectSTUN},
		{"STUN without a name", p, datagram(stranger4, server4, first(stun)...), DropSTUNUnnamed},
		{"STUN forged", p, stranger(checkBy(forgedName)), DropSTUNForged},
		{"STUN forged, libnice's order", p, stranger(checkBy(forgedName, attribute(0x24, "prio"))), DropSTUNForged},
		{"STUN of a term that is over", p, stranger(checkBy(goneName)), DropSTUNForged},
		{"STUN over its ufrag's limit", flooded, stranger(newcomer()), DropSTUNUfrag},
		{"STUN over its source's limit", drained, datagram(stranger4, server4, newcomer()...), DropSTUNSource},
		{"STUN over the global limit", drainedGlobal, datagram(stranger4, server4, newcomer()...), DropSTUNGlobal},
		{"other port", p, datagram(peer4, peer4, payload(media)...), PassOtherPort},
		{"TCP", p, with(datagram(peer4, server4, payload(media)...), atIP+9, 6), PassNotUDP},
		{"ARP", p, with(datagram(peer4, server4, first(0)...), 12, 0x08, 0x06), PassNotIP},
	} {
		b.Run(c.name, func(b *testing.B) {
			expect(b, c.program, c.frame, verdictOf(c.reason), c.reason)
			_, each, err := c.program.objects.Steer.Benchmark(c.frame, b.N, b.ResetTimer)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(each.Nanoseconds()), "ns/run")
		})
	}
}

// STUN of tuples that are not allowed, within the limits. These packets differ, or come no faster than the limits, so
// each is a run of its own. The first line reports how much of that is measuring.
func BenchmarkSteerOneByOne(b *testing.B) {
	testenv.Need(b, testenv.XDP)
	p := loaded(b,
		configured(func(c *Config) { c.freshRate = testRate; c.STUNRate = maxRate; c.GlobalSTUNRate = maxRate }), path4)
	for _, c := range []struct {
		name   string
		frame  []byte
		spread bool
		reason Reason
	}{
		{"other port", datagram(peer4, peer4, first(stun)...), false, PassOtherPort},
		{"STUN of a known source", datagram(stranger4, server4, newcomer()...), false, RedirectSTUNNew},
		{"STUN of new sources", datagram(stranger4, server4, newcomer()...), true, RedirectSTUNNew},
	} {
		b.Run(c.name, func(b *testing.B) {
			expect(b, p, c.frame, verdictOf(c.reason), c.reason)
			var total time.Duration
			for i := range b.N {
				if c.spread {
					binary.BigEndian.PutUint32(c.frame[atIP+12:], uint32(i)*2654435761)
				}
				_, each, err := p.objects.Steer.Benchmark(c.frame, 1, nil)
				if err != nil {
					b.Fatal(err)
				}
				total += each
			}
			b.ReportMetric(float64(total.Nanoseconds())/float64(b.N), "ns/run")
		})
	}
}

// A worker's cost of allowing a path and of revoking it.
func BenchmarkAllowRevoke(b *testing.B) {
	testenv.Need(b, testenv.XDP)
	p := loaded(b, DefaultConfig())
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Allow(path4, testRate); err != nil {
			b.Fatal(err)
		}
		if err := p.Revoke(path4); err != nil {
			b.Fatal(err)
		}
	}
}
