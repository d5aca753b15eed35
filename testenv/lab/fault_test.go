//go:build linux

package lab_test

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ringcast/testenv"
	"ringcast/testenv/lab"
)

// A flow sends numbered packets from the client to a port of the server, one at a time, and records which arrive.
type flow struct {
	t       testing.TB
	out, in *net.UDPConn
	to      netip.AddrPort
}

func newFlow(t testing.TB, client, server *lab.Host, to netip.AddrPort) *flow {
	t.Helper()
	in, err := server.ListenUDP(to)
	must(t, err)
	t.Cleanup(func() { in.Close() })
	source := client.IPv4()
	if to.Addr().Is6() {
		source = client.IPv6()
	}
	out, err := client.ListenUDP(netip.AddrPortFrom(source, 0))
	must(t, err)
	t.Cleanup(func() { out.Close() })
	return &flow{t, out, in, to}
}

func (f *flow) close() {
	f.in.Close()
	f.out.Close()
}

// arrive sends n packets of a size and returns the numbers of those that arrived, from 1, in order. passed returns how
// many packets the faults have let through so far, duplicates included, once they have seen all.
func (f *flow) arrive(n, size int, passed func(sent int) (int, bool)) (got []int) {
	f.t.Helper()
	out, in := make([]byte, size), make([]byte, 2048)
	read := func(patience time.Duration) error {
		must(f.t, f.in.SetReadDeadline(time.Now().Add(patience)))
		_, _, err := f.in.ReadFromUDPAddrPort(in)
		if err == nil {
			got = append(got, int(in[0])<<8|int(in[1]))
		}
		return err
	}
	for i := 1; i <= n; i++ {
		out[0], out[1] = byte(i>>8), byte(i)
		_, err := f.out.WriteToUDPAddrPort(out, f.to)
		must(f.t, err)
		if i%64 != 0 && i < n { // a receive buffer has room for these
			continue
		}
		want := 0
		eventually(f.t, "the faults have seen all packets", func() (all bool) {
			want, all = passed(i)
			return all
		})
		for len(got) < want {
			if err := read(lab.Patience); err != nil {
				f.t.Fatalf("%d of %d packets arrived, want %d: %v", len(got), i, want, err)
			}
		}
	}
	if read(20*time.Millisecond) == nil {
		f.t.Errorf("more packets arrived than the faults let through: %d", got[len(got)-1])
	}
	return got
}

// passed is for arrive.
func passed(t testing.TB, in *lab.Injector, sees bool) func(sent int) (int, bool) {
	return func(sent int) (int, bool) {
		c, err := in.Counts()
		must(t, err)
		return sent - int(c.Dropped) + int(c.Duplicated), !sees || c.Seen == uint64(sent)
	}
}

func numbers(n int, drop func(int) bool) (all []int) {
	for i := range n {
		if !drop(i + 1) {
			all = append(all, i+1)
		}
	}
	return all
}

func TestFaults(t *testing.T) {
	testenv.Need(t, testenv.XDP)
	server, router, client := testenv.Routed(t, lab.Link{Queues: 2})
	never := func(int) bool { return false }
	const n = 1000
	for _, c := range []struct {
		name   string
		fault  lab.Fault
		want   []int
		counts lab.Counts
	}{
		{"none", lab.Fault{}, numbers(n, never), lab.Counts{Seen: n}},
		{
			"every 7th",
			lab.Fault{DropEvery: 7},
			numbers(n, func(i int) bool { return i%7 == 0 }),
			lab.Counts{Seen: n, Dropped: n / 7},
		},
		{"too long for IPv4", lab.Fault{Longest: 127}, nil, lab.Counts{Seen: n, Dropped: n}},
		{"just short enough for IPv4", lab.Fault{Longest: 128}, numbers(n, never), lab.Counts{Seen: n}},
		{"all by chance", lab.Fault{Drop: 1}, nil, lab.Counts{Seen: n, Dropped: n}},
		{"another port", lab.Fault{Drop: 1, Port: 6999}, numbers(n, never), lab.Counts{}},
		{
			"its port",
			lab.Fault{DropEvery: 2, Port: 7000},
			numbers(n, func(i int) bool { return i%2 == 0 }),
			lab.Counts{Seen: n, Dropped: n / 2},
		},
	} {
		for _, where := range []struct {
			name   string
			attach func(lab.Fault) (*lab.Injector, error)
		}{
			{"egress", router.Device("south").Egress},
			{"ingress", server.Device("eth0").Ingress},
		} {
			for _, ip := range []netip.Addr{server.IPv4(), server.IPv6()} {
				t.Run(fmt.Sprint(c.name, " ", where.name, " ", ip), func(t *testing.T) {
					fault := c.fault
					if ip.Is6() && fault.Longest > 0 {
						fault.Longest += 20 // its header is longer
					}
					f := newFlow(t, client, server, netip.AddrPortFrom(ip, 7000))
					in, err := where.attach(fault)
					must(t, err)
					defer func() { must(t, in.Remove()) }()
					got := f.arrive(n, 100, passed(t, in, c.counts.Seen > 0))
					if !slices.Equal(got, c.want) {
						t.Errorf("%d arrived, want %d: %v", len(got), len(c.want), got)
					}
					if counts, err := in.Counts(); err != nil || counts != c.counts {
						t.Errorf("counted %+v, want %+v, %v", counts, c.counts, err)
					}
				})
			}
		}
	}
}

func TestDuplicates(t *testing.T) {
	testenv.Need(t, testenv.XDP)
	server, client := testenv.Pair(t, lab.Link{})
	f := newFlow(t, client, server, netip.AddrPortFrom(server.IPv4(), 7000))
	in, err := client.Device("eth0").Egress(lab.Fault{DuplicateEvery: 10, DropEvery: 25})
	must(t, err)
	got := f.arrive(100, 50, passed(t, in, true))
	// Dropped packets are not duplicated: the 50th and the 100th.
	if c, err := in.Counts(); err != nil || c != (lab.Counts{Seen: 100, Dropped: 4, Duplicated: 8}) {
		t.Errorf("counted %+v, %v", c, err)
	}
	var want []int
	for i := 1; i <= 100; i++ {
		switch {
		case i%25 == 0:
		case i%10 == 0:
			want = append(want, i, i)
		default:
			want = append(want, i)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("arrived: %v", got)
	}
	must(t, in.Remove())
	if _, err := server.Device("eth0").Ingress(lab.Fault{Duplicate: 1}); err == nil {
		t.Errorf("an ingress fault duplicates")
	}
}

// Losses by chance are within five standard deviations of their share, and the same again with the same seed.
func TestChance(t *testing.T) {
	testenv.Need(t, testenv.XDP)
	server, client := testenv.Pair(t, lab.Link{})
	const n = 20_000
	run := func(f lab.Fault) (lab.Counts, []int) {
		t.Helper()
		in, err := client.Device("eth0").Egress(f)
		must(t, err)
		defer func() { must(t, in.Remove()) }()
		fl := newFlow(t, client, server, netip.AddrPortFrom(server.IPv4(), 7000))
		defer fl.close()
		got := fl.arrive(n, 10, passed(t, in, true))
		c, err := in.Counts()
		must(t, err)
		return c, got
	}
	near := func(what string, got, want, deviation float64) {
		t.Helper()
		if math.Abs(got-want) > 5*deviation {
			t.Errorf("%s: %g, want %g", what, got, want)
		}
		t.Logf("%s: %g, want %g", what, got, want)
	}
	c, first := run(lab.Fault{Drop: 0.05, Seed: 1})
	near("dropped", float64(c.Dropped), 0.05*n, math.Sqrt(n*0.05*0.95))
	if _, again := run(lab.Fault{Drop: 0.05, Seed: 1}); !slices.Equal(first, again) {
		t.Errorf("the same seed dropped others")
	}
	if _, other := run(lab.Fault{Drop: 0.05, Seed: 2}); slices.Equal(first, other) {
		t.Errorf("another seed dropped the same")
	}

	// A tenth of the time in bursts of 8 packets, which lose every one.
	c, got := run(lab.Fault{Burst: lab.Burst{Enter: 1. / 72, Leave: 1. / 8, Drop: 1}, Seed: 3})
	bursts, last := 0, 0
	for _, i := range append(got, n+1) {
		if i != last+1 {
			bursts++
		}
		last = i
	}
	near("bursts", float64(bursts), n/80., math.Sqrt(n/80.))
	near("packets a burst", float64(c.Dropped)/float64(bursts), 8, 8/math.Sqrt(n/80.))
}

func TestSink(t *testing.T) {
	testenv.Need(t, testenv.XDP)
	server, client := testenv.Pair(t, lab.Link{Queues: 2})
	sink, err := server.Device("eth0").Sink(7000)
	must(t, err)
	threads, err := server.Device("eth0").Threaded(1)
	must(t, err)
	if len(threads) != 2 {
		t.Errorf("threads %v of two queues", threads)
	}
	for _, tid := range threads {
		var set unix.CPUSet
		must(t, unix.SchedGetaffinity(tid, &set))
		attr, err := unix.SchedGetAttr(tid, 0)
		must(t, err)
		if set.Count() != 1 || !set.IsSet(1) || attr.Policy != unix.SCHED_FIFO || attr.Priority != 50 {
			t.Errorf("thread %d: %d CPUs, %+v", tid, set.Count(), attr)
		}
	}
	for _, ip := range []netip.Addr{server.IPv4(), server.IPv6()} {
		f := newFlow(t, client, server, netip.AddrPortFrom(ip, 7000))
		before, err := sink.Sunk()
		must(t, err)
		count := func() lab.Sunk {
			s, err := sink.Sunk()
			must(t, err)
			return lab.Sunk{s.Packets - before.Packets, s.Bytes - before.Bytes}
		}
		header := uint64(28)
		if ip.Is6() {
			header = 48
		}
		f.arrive(500, 1000, func(sent int) (int, bool) { return 0, count().Packets == uint64(sent) })
		if got := count(); got != (lab.Sunk{500, 500 * (1000 + header)}) {
			t.Errorf("counted %+v", got)
		}
		f.close()
	}
	udp(t, client, server, client.IPv4(), server.IPv4()) // another port
	must(t, sink.Remove())
	f := newFlow(t, client, server, netip.AddrPortFrom(server.IPv4(), 7000))
	f.arrive(10, 100, func(sent int) (int, bool) { return sent, true })
}

// With checksums left to a veth, receivers see the pseudo-header's; with the offload off, whole ones.
func TestOffload(t *testing.T) {
	server, client := testenv.Pair(t, lab.Link{})
	eth0 := client.Device("eth0")
	err := eth0.Offload("no-such-feature", lab.On)
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EOPNOTSUPP) {
		t.Errorf("an unknown feature: %v", err)
	}
	var wire int
	must(t, server.Enter(func() (err error) {
		ip := uint16(unix.ETH_P_IP)
		wire, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM, int(ip>>8|ip<<8))
		return err
	}))
	defer unix.Close(wire)
	must(t, unix.SetsockoptTimeval(wire, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}))
	for _, offload := range []lab.Switch{lab.Off, lab.On} {
		must(t, eth0.Offload("tx-checksum-ip-generic", offload))
		udp(t, client, server, client.IPv4(), server.IPv4())
		b := make([]byte, 2048)
		for { // past other datagrams
			n, err := unix.Read(wire, b)
			must(t, err)
			if n >= 28 && b[9] == unix.IPPROTO_UDP {
				b = b[:n]
				break
			}
		}
		// The checksum of a whole packet with its pseudo-header is all ones (RFC 768, RFC 1071).
		sum := uint32(unix.IPPROTO_UDP) + uint32(len(b)-20)
		for i := 12; i < len(b); i += 2 {
			sum += uint32(b[i]) << 8
			if i+1 < len(b) {
				sum += uint32(b[i+1])
			}
		}
		for sum > 0xffff {
			sum = sum>>16 + sum&0xffff
		}
		if whole := sum == 0xffff; whole == bool(offload) {
			t.Errorf("offload %v: whole checksum %v", offload, whole)
		}
	}
}
