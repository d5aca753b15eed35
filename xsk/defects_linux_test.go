package xsk

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/asavie/xdp"
	"golang.org/x/sys/unix"

	"ringcast/engine/port"
	"ringcast/engine/port/porttest"
	"ringcast/testenv"
	"ringcast/testenv/lab"
	"ringcast/xsk/frame"
)

// github.com/asavie/xdp would be the library to use instead of this package. Each test here is a defect of its version
// 0.3.3. Ours must pass the test, which logs the library's behaviour beside.

// asavie is a socket of that library, and a way to send frames with it.
type asavie struct {
	*xdp.Socket
	template frame.Template
}

func (s *site) openAsavie(options *xdp.SocketOptions) (*asavie, error) {
	if options == nil {
		options = &xdp.SocketOptions{
			NumFrames: 1024, FrameSize: 2048,
			FillRingNumDescs: 512, CompletionRingNumDescs: 1024, RxRingNumDescs: 512, TxRingNumDescs: 1024,
		}
	}
	var socket *xdp.Socket
	if err := s.server.Enter(func() (err error) {
		socket, err = xdp.NewSocket(s.cable.A.Index, 0, options)
		return err
	}); err != nil {
		return nil, err
	}
	hop := s.hop()
	path := port.Path{Remote: netip.MustParseAddrPort("198.18.0.2:9"), Local: local4}
	return &asavie{socket, frame.Make(hop.Source, hop.Destination, path, testPort, frame.Options{})}, nil
}

// fill takes n descriptors with a frame of 1,200 bytes each.
func (a *asavie) fill(n int) []xdp.Desc {
	descs := a.GetDescs(n)
	for i := range descs {
		start := a.template.Put(a.GetFrame(descs[i]), 1200, uint32(i))
		descs[i].Addr += uint64(start)
		descs[i].Len = uint32(frame.Headroom - start + 1200)
	}
	return descs
}

// Copy mode sends 32 frames a call. Without another call the rest stays on the ring until the next batch.
func TestDefectTailStall(t *testing.T) {
	s := newSite(t, 1)
	p := s.newPeer(netip.MustParseAddr("198.18.0.2"))
	b := s.mustOpen(bundleConfig(Auto))
	// Without the larger budget too, as on kernels before 6.18.
	if err := unix.SetsockoptInt(b.Entries()[0].FD, unix.SOL_XDP, unix.XDP_MAX_TX_SKB_BUDGET, 32); err != nil {
		t.Logf("no budget to be set: %v", err)
	}
	l := s.newPort(b, DefaultConfig())
	l.Route(0, port.Path{Remote: p.Addr, Local: local4})
	for i := range 64 {
		l.add(0, payload(i))
	}
	l.Transmit(now(), &l.Out)
	if st := l.Stats(); st[port.Sent] != 64 {
		t.Errorf("ours: of 64 frames, %d left with the one Transmit", st[port.Sent])
	}
	for range 64 {
		p.Next()
	}
	l.Close()

	s.retry(func() error {
		a, err := s.openAsavie(nil)
		if err != nil {
			return err
		}
		defer a.Close()
		n := a.Transmit(a.fill(64))
		stats, err := a.Stats()
		t.Logf("ours: all 64 arrived; asavie/xdp: Transmit returned %d, the kernel consumed %d (%v)",
			n, stats.Transmitted, err)
		return nil
	})
}

// retry repeats what the kernel may refuse for some milliseconds after a close.
func (s *site) retry(f func() error) {
	s.t.Helper()
	err := f()
	for give := time.Now().Add(porttest.Patience); err != nil && time.Now().Before(give); {
		time.Sleep(busyRetry)
		err = f()
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// A mapping of a ring holds the socket, and the socket its queue.
func TestDefectCloseLeavesTheQueueBusy(t *testing.T) {
	s := newSite(t, 1)
	for range 3 {
		if err := s.mustOpen(small).Close(); err != nil {
			t.Fatal(err)
		}
	}
	var a *asavie
	s.retry(func() (err error) {
		a, err = s.openAsavie(nil)
		return err
	})
	_, during := held(t)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	_, after := held(t)
	cfg := small
	cfg.BusyFor = 300 * time.Millisecond
	b, err := s.open(cfg)
	if err == nil {
		b.Close()
	}
	t.Logf("ours: opened and closed three times; asavie/xdp: %d of 4 rings are mapped after Close, "+
		"and 300 ms later the queue is: %v", after-(during-4), err)
}

func TestDefectPanicOnLinkDown(t *testing.T) {
	s := newSite(t, 1)
	l := s.newPort(s.mustOpen(bundleConfig(Auto)), DefaultConfig())
	l.Route(0, to(0))
	l.Transmit(now(), &l.Out)
	if err := s.cable.A.Down(); err != nil {
		t.Fatal(err)
	}
	l.add(0, payload(1))
	l.flush()
	if d := l.port.Details(); d.Queues[0].Counts[QueueDown] != 1 {
		t.Errorf("ours: %+v", d)
	}
	l.Close()
	if err := s.cable.A.Up(); err != nil {
		t.Fatal(err)
	}

	s.retry(func() error {
		a, err := s.openAsavie(nil)
		if err != nil {
			return err
		}
		defer a.Close()
		if err := s.cable.A.Down(); err != nil {
			return err
		}
		defer func() { t.Logf("ours: counted and sent by the companion; asavie/xdp panics: %v", recover()) }()
		a.Transmit(a.fill(1))
		return nil
	})
}

// Receiving and sending from two threads. In ours one thread does both, and Wait and Wake make a second one
// unnecessary. In the library, Poll completes sent frames while another thread sends.
func TestDefectPollRacesWithTransmit(t *testing.T) {
	if !testenv.RaceEnabled {
		t.Log("asavie/xdp: shown by the race detector only (go test -race)")
	}
	s := newSite(t, 1)
	l := s.newPort(s.mustOpen(bundleConfig(Auto)), DefaultConfig())
	l.Route(0, to(0))
	var others sync.WaitGroup
	stop := make(chan struct{})
	others.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				l.Wake()
				_, _ = l.Stats(), l.port.Details()
			}
		}
	})
	for range 200 {
		l.add(0, payload(1))
		l.Transmit(now(), &l.Out)
		l.Wait(now() + port.Millisecond)
		l.Receive(now(), &l.In)
	}
	close(stop)
	others.Wait()
	l.Close()
	if testenv.RaceEnabled {
		_, err := raceAsavie.Run(t.Context(), s.server, s.cable.A.Index)
		t.Logf("ours: nothing found; asavie/xdp: %v (66 is the exit status of the race detector)", err)
	}
}

// raceAsavie polls in one goroutine and sends in another. The race detector ends its process with 66.
var raceAsavie = lab.Register("asavie", func(ctx context.Context, index int, ready func()) (sent int, err error) {
	var a *xdp.Socket
	for range 1000 {
		if a, err = xdp.NewSocket(index, 0, nil); err == nil {
			break
		}
		time.Sleep(busyRetry)
	}
	if err != nil {
		return 0, err
	}
	var both sync.WaitGroup
	both.Go(func() {
		for range 200 {
			_, _, _ = a.Poll(1)
		}
	})
	both.Go(func() {
		for range 200 {
			descs := a.GetDescs(1)
			for i := range descs {
				descs[i].Len = 60
			}
			sent += a.Transmit(descs)
		}
	})
	both.Wait()
	return sent, nil
})

// Getting a free frame takes there as long as there are frames in use, and does not here.
func TestDefectFreeFramesAreSearched(t *testing.T) {
	s := newSite(t, 1)
	const few, many = 256, 1 << 15
	ours := func(chunks int) time.Duration {
		l := newLender(1)
		l.use(make([]byte, chunks*2048), 2048, chunks)
		var out port.Outgoing
		l.settle(&out, nil)
		return fastest(func() {
			for range 1000 {
				l.drop(&l.frames[0])
				l.settle(&out, l.frames[:1])
			}
		}) / 1000
	}
	theirs := func(frames int) (least time.Duration) {
		s.retry(func() error {
			a, err := s.openAsavie(&xdp.SocketOptions{
				NumFrames: frames, FrameSize: 2048,
				FillRingNumDescs: frames, CompletionRingNumDescs: frames, RxRingNumDescs: 64, TxRingNumDescs: 64,
			})
			if err != nil {
				return err
			}
			defer a.Close()
			descs := a.GetDescs(frames)
			a.Fill(descs[:frames-1]) // all but the last are in use
			least = fastest(func() { a.GetDescs(1) })
			return nil
		})
		return least
	}
	oursFew, oursMany := ours(few), ours(many)
	if oursMany > 8*oursFew+time.Microsecond {
		t.Errorf("ours: %v to lend one of %d, %v of %d", oursFew, few, oursMany, many)
	}
	theirsMany := theirs(many)
	// Its Close frees no queue, so the second one needs another site.
	s = newSite(t, 1)
	t.Logf("to get the last free frame of %d and of %d: ours %v and %v, asavie/xdp %v and %v",
		few, many, oursFew, oursMany, theirs(few), theirsMany)
}

// fastest is the least time of many runs, which has the least of the machine's noise.
func fastest(f func()) time.Duration {
	least := time.Hour
	for range 50 {
		begin := time.Now()
		f()
		least = min(least, time.Since(begin))
	}
	return least
}

// Features that the library lacks, and the tests that show them in ours.
func TestDefectsWithoutTest(t *testing.T) {
	for _, d := range []struct{ lacks, ours string }{
		{
			"atomic ring indices (plain loads and stores: wrong on arm64)",
			"ring_linux.go; TestEverythingLeavesInOrderAcrossTheWrap, TestReceiveAcrossTheWrap",
		},
		{"headroom, chunks of 4096, several queues on one UMEM", "TestSharedUMEM"},
		{"huge pages, need_wakeup, the zerocopy confirmation, busy polling", "TestInfo"},
	} {
		t.Logf("asavie/xdp has no %s; ours: %s", d.lacks, d.ours)
	}
}
