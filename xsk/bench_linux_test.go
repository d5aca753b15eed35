package xsk

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/asavie/xdp"
	"golang.org/x/sys/unix"

	"ringcast/engine/port"
	"ringcast/testenv"
	"ringcast/testenv/lab"
	"ringcast/xsk/frame"
	"ringcast/xsk/nexthop"
)

// errand is the task of a sender in the benchmark: packets of 1,200 bytes to 500 viewers in turn.
type errand struct {
	Index  int // of the interface
	Hop    nexthop.Hop
	Source netip.Addr
	To     netip.Addr
	Time   time.Duration
	Batch  int
	Budget int // of one kick; 0: that of the bundle
}

const (
	benchViewers = 500
	benchPayload = 1200
)

func (e errand) path(viewer int) port.Path {
	return port.Path{Remote: netip.AddrPortFrom(e.To, uint16(10000+viewer)), Local: e.Source}
}

// processTime is the CPU time of this process, including that of the kernel in its context.
func processTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
		panic(err)
	}
	return time.Duration(ts.Nano())
}

// Resolve and Generation make an errand a NextHops, Send and so on a Companion that has nothing to do.
func (e errand) Generation() uint32                      { return 1 }
func (e errand) Follow(port.Path) nexthop.Way            { return e }
func (e errand) Own(netip.Addr) bool                     { return false }
func (e errand) Resolve() (nexthop.Hop, nexthop.Verdict) { return e.Hop, nexthop.Usable }
func (e errand) Forget()                                 {}

// sendOurs sends through a Port like a worker that is never out of packets. It seals nothing: the payload is the old
// content of the frame.
var sendOurs = lab.Register("ours", func(ctx context.Context, e errand, ready func()) (s lab.Sample, err error) {
	b, err := Open(bundleConfig(Copy, func(c *BundleConfig) { c.Interface, c.Queues = e.Index, []int{0} }))
	if err != nil {
		return s, err
	}
	if e.Budget > 0 {
		fd := b.Entries()[0].FD
		if err := unix.SetsockoptInt(fd, unix.SOL_XDP, unix.XDP_MAX_TX_SKB_BUDGET, e.Budget); err != nil {
			return s, err
		}
	}
	// The C program computes no UDP checksums either.
	p, err := New(with(func(c *Config) {
		c.Bundle, c.NextHops, c.Companion, c.Now = b, e, new(notes), now
		c.LocalPort, c.Checksum4 = 5000, false
	}))
	if err != nil {
		return s, err
	}
	defer p.Close()
	var out port.Outgoing
	for v := range benchViewers {
		out.Routes = append(out.Routes, port.RouteChange{Route: port.Route(v), Path: e.path(v)})
	}
	p.Transmit(now(), &out)

	cpu, begin := processTime(), now()
	end := begin + port.Time(e.Time)
	viewer := 0
	for at := begin; at < end; at = now() {
		for range min(e.Batch, out.Free()) {
			f := out.Reserve()
			f.Data = f.Data[:benchPayload]
			f.Route, f.Born = port.Route(viewer), at
			out.Submit()
			if viewer++; viewer == benchViewers {
				viewer = 0
			}
		}
		filled := out.Filled
		p.Transmit(at, &out)
		if filled == 0 && out.Free() == 0 {
			p.Wait(at + port.Millisecond)
		}
	}
	for p.out.lender.kept > 0 || len(p.out.lender.free)+p.out.lender.lent < len(p.out.lender.chunks) {
		p.Transmit(now(), &out)
		if now() > end+port.Second {
			return s, fmt.Errorf("frames were not completed: %+v %+v", p.Stats(), p.Details())
		}
	}
	s.CPU, s.Wall = processTime()-cpu, time.Duration(now()-begin)
	st := p.Stats()
	s.Sent = st[port.Sent]
	if st[port.Rejected]+st[port.Stale]+st[port.Unroutable] > 0 {
		return s, fmt.Errorf("%+v %+v", st, p.Details())
	}
	return s, nil
})

// sendAsavie does the same with asavie/xdp. Its Transmit kicks once and leaves the other frames on the ring, so it is
// called again. The library counts no drops.
var sendAsavie = lab.Register("asavie-bench", func(_ context.Context, e errand, _ func()) (s lab.Sample, err error) {
	xdp.DefaultSocketFlags = unix.XDP_COPY
	var a *xdp.Socket
	for range 1000 { // it does not wait for the queue itself
		a, err = xdp.NewSocket(e.Index, 0, &xdp.SocketOptions{
			NumFrames: 1024, FrameSize: 2048,
			FillRingNumDescs: 64, CompletionRingNumDescs: 1024, RxRingNumDescs: 64, TxRingNumDescs: 1024,
		})
		if err == nil {
			break
		}
		time.Sleep(busyRetry)
	}
	if err != nil {
		return s, err
	}
	var templates []frame.Template
	for v := range benchViewers {
		templates = append(templates, frame.Make(e.Hop.Source, e.Hop.Destination, e.path(v), 5000, frame.Options{}))
	}
	cpu, begin := processTime(), time.Now()
	viewer, id := 0, uint32(0)
	for time.Since(begin) < e.Time {
		descs := a.GetDescs(min(e.Batch, a.NumFreeTxSlots()))
		for i := range descs {
			start := templates[viewer].Put(a.GetFrame(descs[i]), benchPayload, id)
			descs[i].Addr += uint64(start)
			descs[i].Len = uint32(frame.Headroom - start + benchPayload)
			id++
			if viewer++; viewer == benchViewers {
				viewer = 0
			}
		}
		a.Transmit(descs)
		n := a.NumCompleted()
		a.Complete(n)
		s.Sent += uint64(n)
	}
	for a.NumTransmitted() > 0 && time.Since(begin) < e.Time+time.Second {
		a.Transmit(nil)
		n := a.NumCompleted()
		a.Complete(n)
		s.Sent += uint64(n)
	}
	s.CPU, s.Wall = processTime()-cpu, time.Since(begin)
	return s, nil
})

func openBench(t testing.TB) (*lab.Bench, errand) {
	t.Helper()
	testenv.Need(t, testenv.NetworkNamespaces, testenv.XDP, testenv.GCC)
	b, err := testenv.NewLab(t).OpenBench(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	sender, receiver := b.Sender.Device("eth0"), b.Receiver.Device("eth0")
	return b, errand{
		Index:  sender.Index,
		Hop:    nexthop.Hop{Source: [6]byte(sender.MAC), Destination: [6]byte(receiver.MAC), MTU: 1500},
		Source: b.Sender.IPv4(), To: b.Receiver.IPv4(),
		Time: time.Second / 2, Batch: 32,
	}
}

// Run by itself, on a quiet machine:
//
//	go test -run '^$' -bench Transmit -benchtime 1x ./xsk
//
// It prints what a packet costs in C, with this port, and with asavie/xdp, and fails if ours costs more than
// 1.15 times C's.
func BenchmarkTransmit(b *testing.B) {
	bench, e := openBench(b)
	floor, err := bench.Floor(lab.Floor{Mode: "xsk", Batch: e.Batch, Time: e.Time})
	if err != nil {
		b.Fatal(err)
	}
	large := e
	large.Batch = 128
	for b.Loop() {
		r, err := bench.Compare(b.Context(), 7, floor,
			lab.CallContender(bench, "ours", sendOurs, e),
			lab.CallContender(bench, "ours, 128 a batch", sendOurs, large),
			lab.CallContender(bench, "asavie/xdp", sendAsavie, e))
		if err != nil {
			b.Fatal(err)
		}
		b.Logf("\n%s", r)
		b.ReportMetric(r.PerPacket(1), "ns/packet")
		b.ReportMetric(r.Ratio(1, 0), "to-C")
		b.ReportMetric(r.Ratio(3, 1), "asavie-to-ours")
		if ratio := r.Ratio(1, 0); ratio > 1.15 {
			b.Errorf("ours costs %.2f times what C does", ratio)
		}
	}
}

// BenchmarkPrepare is a Transmit with a kernel that consumes everything and costs nothing. It measures this package's
// own work, without UDP checksums (BenchmarkChecksum4 of package frame). The frames' memory is 1,024 chunks, of which
// 64 are used in turns.
func BenchmarkPrepare(b *testing.B) {
	for _, batch := range []int{1, 8, 32, 128} {
		b.Run(fmt.Sprint(batch), func(b *testing.B) {
			k := newKernel(1, 1024, 0)
			r := newRig(b, k, rigConfig(func(c *Config) { c.Frames, c.Checksum4 = defaultFrames, false }))
			q := k.sockets[0]
			r.Port.out.kick = func(int) unix.Errno {
				tx, completion := &q.socket.tx, &q.socket.completion
				for ; q.cachedCons != tx.next; q.cachedCons++ {
					at := int(q.completionProd) & (len(completion.entries) - 1)
					completion.entries[at] = tx.reserve(q.cachedCons).Addr
					q.completionProd++
				}
				*completion.shared.producer = q.completionProd
				*tx.shared.consumer = q.cachedCons
				return 0
			}
			for v := range benchViewers {
				r.route(port.Route(v), to(v))
			}
			r.Transmit(r.clock, &r.out)
			viewer := 0
			b.ReportAllocs()
			for b.Loop() {
				for range batch {
					f := r.out.Reserve()
					f.Data = f.Data[:benchPayload]
					f.Route, f.Born = port.Route(viewer), r.clock
					r.out.Submit()
					if viewer++; viewer == benchViewers {
						viewer = 0
					}
				}
				r.Transmit(r.clock, &r.out)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/packet")
		})
	}
}

// BenchmarkReceive is a Receive of full RX rings: parsing, and giving the chunks back.
func BenchmarkReceive(b *testing.B) {
	for _, batch := range []int{1, 32} {
		b.Run(fmt.Sprint(batch), func(b *testing.B) {
			k := newKernel(1, testRing, 0)
			r := newRig(b, k, rigConfig())
			tpl := frame.Make([6]byte{2}, [6]byte{3}, to(1), testPort, frame.Options{})
			chunk := make([]byte, frame.Headroom+benchPayload)
			data := chunk[tpl.Put(chunk, benchPayload, 0):]
			q := k.sockets[0]
			for range testRing { // every chunk has a frame in it
				q.receive(data)
			}
			for q.socket.rx.peek() > 0 {
				r.Receive(r.clock, &r.in)
			}
			b.ReportAllocs()
			for b.Loop() {
				for range batch {
					address := q.socket.fill.entries[int(q.fillCons)&(testRing-1)] + unix.XDP_PACKET_HEADROOM
					q.fillCons++
					rx := &q.socket.rx.entries[int(q.rxProd)&(testRing-1)]
					*rx = unix.XDPDesc{Addr: address, Len: uint32(len(data))}
					q.rxProd++
				}
				*q.socket.rx.shared.producer = q.rxProd
				if n := r.Receive(r.clock, &r.in); n != batch {
					b.Fatal(n)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/packet")
		})
	}
}
