package udp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"ringcast/engine/port"
	"ringcast/engine/port/porttest"
)

// What every implementation owes its worker.

func TestEcho(t *testing.T) {
	forAll(t, func(t *testing.T, open func(Config) (subject, error)) {
		for _, c := range []struct {
			bind  netip.AddrPort
			asked netip.Addr
		}{
			{wildcard6, loopback4},
			{wildcard6, other4},
			{wildcard6, loopback6},
			{wildcard4, loopback4},
			{wildcard4, other4},
			{netip.AddrPort{}, loopback4},
			{netip.AddrPortFrom(loopback4, 0), loopback4},
			{netip.AddrPortFrom(other4, 0), other4},
			{netip.AddrPortFrom(loopback6, 0), loopback6},
		} {
			t.Run(fmt.Sprintf("%s/%s", c.bind, c.asked), func(t *testing.T) {
				need(t, c.asked)
				r := openRig(t, open, Config{Address: c.bind})
				from := loopback4
				if c.asked.Is6() {
					from = c.asked
				}
				peer := newClient(t, from)

				before := Now()
				peer.send(r.at(c.asked), payload(7, 100))
				got := r.collect(1)[0]
				if want := (port.Path{Remote: peer.addr, Local: c.asked}); got.path != want {
					t.Fatalf("path %v, want %v", got.path, want)
				}
				// The wall clock that the kernel stamps with is read once more, so allow for
				// the moment between the two readings.
				if got.arrival < before-port.Millisecond || got.arrival > Now() {
					t.Errorf("sent at %d, arrived at %d, now %d", before, got.arrival, Now())
				}

				r.route(3, got.path.Remote, got.path.Local)
				r.add(3, Now(), got.data)
				r.add(3, Now(), payload(8, 100))
				r.transmit(Now(), defaultFrames)
				for i := 7; i <= 8; i++ {
					data, source := peer.read()
					if source != r.at(c.asked) {
						t.Errorf("answered from %s, asked was %s", source, r.at(c.asked))
					}
					if !slices.Equal(data, payload(i, 100)) {
						t.Errorf("echo %d: %s", i, brief(data))
					}
				}
				r.expect(port.Stats{port.Received: 1, port.Sent: 2, port.SentBytes: 200})
			})
		}
	})
}

// sizesOf is n times size, then the others.
func sizesOf(n, size int, others ...int) []int {
	return append(slices.Repeat([]int{size}, n), others...)
}

func TestRunsArriveIntactAndInOrder(t *testing.T) {
	forAll(t, func(t *testing.T, open func(Config) (subject, error)) {
		for name, sizes := range map[string][]int{
			"one":                         {1200},
			"equal":                       sizesOf(7, 1200),
			"shorter last":                sizesOf(6, 1200, 700),
			"much shorter last":           sizesOf(6, 1200, 1),
			"longer last":                 sizesOf(6, 1200, 1201),
			"two runs":                    sizesOf(4, 1000, sizesOf(4, 1200, 5)...),
			"ever shorter":                {1200, 1100, 1000, 900, 3, 2, 1},
			"ever longer":                 {1, 2, 3, 900, 1000, 1100, 1200},
			"empty ones":                  {0, 0, 1200, 1200, 0, 1200, 0},
			"more than segments":          sizesOf(maxDatagramsInTest, 100, 99),
			"more than fits an IP packet": sizesOf(2*65_535/port.MaxDatagram, port.MaxDatagram, 100),
			"all frames":                  sizesOf(defaultFrames, 300),
			"tiny":                        sizesOf(130, 1),
		} {
			t.Run(name, func(t *testing.T) {
				for _, local := range []netip.Addr{loopback4, loopback6} {
					t.Run(local.String(), func(t *testing.T) {
						need(t, local)
						r := openRig(t, open, Config{Address: wildcard6})
						peer := newClient(t, local)
						r.route(1, peer.addr, local)
						var want [][]byte
						for i, size := range sizes {
							want = append(want, payload(i, size))
							r.add(1, Now(), want[i])
						}
						r.transmit(Now(), defaultFrames)
						peer.expect(want...)
					})
				}
			})
		}
	})
}

const maxDatagramsInTest = 150

func TestAlternatingViewers(t *testing.T) {
	forAll(t, func(t *testing.T, open func(Config) (subject, error)) {
		r := openRig(t, open, Config{Address: wildcard6})
		const viewers = 20
		var peers []*client
		var want [][][]byte
		for v := range viewers {
			peers = append(peers, newClient(t, loopback4))
			want = append(want, nil)
			r.route(port.Route(v), peers[v].addr, loopback4)
		}
		number := 0
		add := func(v, size int) {
			data := payload(number, size)
			number++
			want[v] = append(want[v], data)
			r.add(port.Route(v), Now(), data)
		}
		for v := range viewers { // runs of 1 to 7
			for range 1 + v%7 {
				add(v, 1000)
			}
		}
		for i := range 60 { // one each
			add(i%viewers, 500+i%3)
		}
		r.transmit(Now(), defaultFrames)
		for v, peer := range peers {
			peer.expect(want[v]...)
		}
	})
}

// gate lets a number of datagrams through, then answers with an error.
type gate struct {
	open int
	err  error
}

func (g *gate) verdict(segments int) error {
	if g.open < segments {
		return g.err
	}
	g.open -= segments
	return nil
}

func TestFullSocketKeepsOrder(t *testing.T) {
	forAll(t, func(t *testing.T, open func(Config) (subject, error)) {
		for _, full := range []error{syscall.EAGAIN, syscall.ENOBUFS} {
			t.Run(full.Error(), func(t *testing.T) {
				const frames = 32
				r := openRig(t, open, Config{Address: wildcard6, Frames: frames})
				a, b := newClient(t, loopback4), newClient(t, loopback4)
				peers := []*client{a, b}
				r.route(0, a.addr, loopback4)
				r.route(1, b.addr, loopback4)
				want := make([][][]byte, len(peers))
				number := 0
				add := func(v, n int) {
					for range n {
						data := payload(number, 900)
						number++
						want[v] = append(want[v], data)
						r.add(port.Route(v), Now(), data)
					}
				}

				g := &gate{open: 10, err: full}
				r.interpose(g.verdict)
				now := Now()
				add(0, 5)
				add(1, 5)
				add(0, 3)
				add(1, 4)
				r.transmit(now, frames-7)
				r.expect(port.Stats{port.Sent: 10, port.SentBytes: 9000})

				// Nothing goes, more comes.
				add(0, frames-7)
				r.transmit(now, 0)
				if r.out.Reserve() != nil {
					t.Fatal("a frame is lent while all are kept")
				}

				// Some go: the order and the memory of the rest survive being moved. A run that
				// does not fit the gate stays whole.
				g.open = 7
				r.transmit(now, 7)
				add(1, 2)
				r.transmit(now, 5)

				// The socket is writable (it was all along), so this must return.
				g.open = 1000
				r.Wait(port.Never)
				r.transmit(now, frames)
				for v, peer := range peers {
					peer.expect(want[v]...)
				}
				r.expect(port.Stats{port.Sent: uint64(number), port.SentBytes: uint64(number) * 900})

				// With nothing kept, being writable wakes nobody.
				until := Now() + 5*port.Millisecond
				r.Wait(until)
				if Now() < until {
					t.Error("Wait returned early with nothing kept")
				}
			})
		}
	})
}

// Many frames through a small send buffer, a window of them on their way. Plain loopback frees what it
// delivers, so nothing is ever kept there; with a slow queue in front of it, the kernel is really full:
//
//	unshare -n sh -c 'ip link set lo up; tc qdisc add dev lo root tbf rate 100mbit burst 64k latency 9s; go test -v -run Flood'
func TestFloodArrivesInOrder(t *testing.T) {
	forAll(t, func(t *testing.T, open func(Config) (subject, error)) {
		const total, window, size = 2000, 64, 1200
		r := openRig(t, open, Config{Address: wildcard6, Frames: window})
		r.shrink()
		peer := newClient(t, loopback4)
		r.route(0, peer.addr, loopback4)
		credit := make(chan struct{}, total)
		go func() {
			defer close(credit)
			buf := make([]byte, 2*size)
			for i := range total {
				n, err := peer.Read(buf)
				if err != nil || !slices.Equal(buf[:n], payload(i, size)) {
					t.Errorf("datagram %d: %s, %v", i, brief(buf[:n]), err)
					return
				}
				credit <- struct{}{}
			}
		}()
		now := Now() // stands still, so nothing gets stale
		added, arrived, kept := 0, 0, 0
		for arrived < total {
			for ; added < total && added-arrived < window; added++ {
				r.add(0, now, payload(added, size))
			}
			r.Transmit(now, &r.out)
			if r.out.Free() < window {
				kept++
				r.Wait(Now() + port.Time(patience))
				continue
			}
			if _, ok := <-credit; !ok {
				t.Fatalf("%d of %d datagrams arrived: %+v", arrived, total, r.Stats())
			}
			for arrived++; len(credit) > 0; arrived++ {
				<-credit
			}
		}
		t.Logf("frames were kept %d times, %d calls", kept, r.Stats()[port.Calls])
		r.expect(port.Stats{port.Sent: total, port.SentBytes: total * size})
	})
}

func TestStaleFramesAreDropped(t *testing.T) {
	forAll(t, func(t *testing.T, open func(Config) (subject, error)) {
		r := openRig(t, open, Config{Address: wildcard6})
		peer := newClient(t, loopback4)
		r.route(0, peer.addr, loopback4)
		g := &gate{err: syscall.EAGAIN}
		r.interpose(g.verdict)
		born := 5 * port.Second // the core's time is what it is told
		old, young, fresh := payload(1, 100), payload(2, 100), payload(3, 100)
		r.add(0, born, old)
		r.add(0, born+port.Millisecond, young)
		r.transmit(born, defaultFrames-2)
		r.transmit(born+port.StaleAfter, defaultFrames-2)
		r.expect(port.Stats{})

		g.open = 1000
		r.add(0, born, fresh) // as old, but never tried
		r.transmit(born+port.StaleAfter+1, defaultFrames)
		peer.expect(young, fresh)
		r.expect(port.Stats{port.Stale: 1, port.Sent: 2, port.SentBytes: 200})
	})
}

func TestRevokedRoutes(t *testing.T) {
	forAll(t, func(t *testing.T, open func(Config) (subject, error)) {
		r := openRig(t, open, Config{Address: wildcard6})
		first, second := newClient(t, loopback4), newClient(t, loopback4)
		g := &gate{err: syscall.EAGAIN}
		r.interpose(g.verdict)
		now := Now()

		r.route(0, first.addr, loopback4)
		r.route(1, first.addr, loopback4)
		r.add(0, now, payload(1, 50))
		r.add(1, now, payload(2, 50))
		r.transmit(now, defaultFrames-2)

		// Route 0 goes to another session in one step: its kept frame must not follow.
		g.open = 1000
		r.revoke(0)
		r.route(0, second.addr, loopback4)
		r.add(0, now, payload(3, 50))
		r.add(77, now, payload(4, 50)) // never heard of
		r.transmit(now, defaultFrames)
		first.expect(payload(2, 50))
		second.expect(payload(3, 50))
		r.expect(port.Stats{port.Unroutable: 2, port.Sent: 2, port.SentBytes: 100})

		r.revoke(1)
		r.add(1, now, payload(5, 50))
		r.add(0, now, payload(6, 50))
		r.transmit(now, defaultFrames)
		second.expect(payload(6, 50))
		r.expect(port.Stats{port.Unroutable: 3, port.Sent: 3, port.SentBytes: 150})
	})
}

func TestMovedRouteTakesKeptFramesAlong(t *testing.T) {
	forAll(t, func(t *testing.T, open func(Config) (subject, error)) {
		r := openRig(t, open, Config{Address: wildcard6})
		before, after := newClient(t, loopback4), newClient(t, loopback4)
		g := &gate{err: syscall.EAGAIN}
		r.interpose(g.verdict)
		r.route(0, before.addr, loopback4)
		r.add(0, Now(), payload(1, 50))
		r.transmit(Now(), defaultFrames-1)
		g.open = 1
		r.route(0, after.addr, loopback4)
		r.transmit(Now(), defaultFrames)
		after.expect(payload(1, 50))
	})
}

func TestRefusedMessageDoesNotStopTheOthers(t *testing.T) {
	forAll(t, func(t *testing.T, open func(Config) (subject, error)) {
		for _, refusal := range []error{
			syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.EPERM, syscall.EACCES,
			syscall.ECONNREFUSED, syscall.EMSGSIZE, syscall.EINVAL, syscall.EIO,
		} {
			t.Run(refusal.Error(), func(t *testing.T) {
				r := openRig(t, open, Config{Address: wildcard6})
				peer := newClient(t, loopback4)
				r.route(0, peer.addr, loopback4)
				r.route(1, peer.addr, loopback4)
				attempts := 0
				r.interpose(func(int) error {
					if attempts++; attempts == 2 {
						return refusal
					}
					return nil
				})
				for i := range 5 { // alternating: no runs
					r.add(port.Route(i%2), Now(), payload(i, 50))
				}
				r.transmit(Now(), defaultFrames)
				peer.expect(payload(0, 50), payload(2, 50), payload(3, 50), payload(4, 50))
				r.expect(port.Stats{port.Rejected: 1, port.Sent: 4, port.SentBytes: 200})
			})
		}
	})
}

func TestUnsendable(t *testing.T) {
	forAll(t, func(t *testing.T, open func(Config) (subject, error)) {
		r := openRig(t, open, Config{Address: wildcard4})
		peer := newClient(t, loopback4)
		r.route(0, peer.addr, loopback4)
		r.route(1, netip.AddrPortFrom(loopback4, 0), loopback4)                     // port 0
		r.route(2, netip.AddrPortFrom(loopback6, 9), loopback6)                     // IPv6 from an IPv4 socket
		r.route(3, peer.addr, netip.MustParseAddr("203.0.113.77"))                  // not our address
		for _, to := range []port.Route{0, 1, 1, 1, 0, 2, 2, 2, 0, 3, 3, 3, 0, 0} { // runs of 3
			r.add(to, Now(), payload(int(to), 60))
		}
		r.add(0, Now(), payload(0, port.MaxDatagram+1))
		r.add(0, Now(), payload(0, port.MaxDatagram))
		segmentation := r.Segmentation()
		r.transmit(Now(), defaultFrames)
		for range 5 {
			peer.expect(payload(0, 60))
		}
		peer.expect(payload(0, port.MaxDatagram))
		r.expect(port.Stats{port.Rejected: 10, port.Sent: 6, port.SentBytes: 5*60 + port.MaxDatagram})
		if r.Segmentation() != segmentation {
			t.Errorf("a path that does not exist cost the port its segmentation: %v", r.Segmentation())
		}
	})
}

func TestReslicedFramesAreRestored(t *testing.T) {
	forAll(t, func(t *testing.T, open func(Config) (subject, error)) {
		r := openRig(t, open, Config{Address: wildcard6, Frames: 1})
		peer := newClient(t, loopback4)
		r.route(0, peer.addr, loopback4)
		f := r.out.Reserve()
		f.Data = append(f.Data, payload(1, 100)...)[10:]
		r.out.Submit()
		r.transmit(Now(), 1)
		peer.expect(payload(1, 100)[10:])
		r.add(0, Now(), payload(2, 100)) // checks the capacity
		r.transmit(Now(), 1)
		peer.expect(payload(2, 100))
	})
}

func TestForeignFramesPanic(t *testing.T) {
	forAll(t, func(t *testing.T, open func(Config) (subject, error)) {
		r := openRig(t, open, Config{Address: wildcard6})
		defer func() {
			if recover() == nil {
				t.Error("frames that the port did not lend were taken")
			}
		}()
		r.Transmit(Now(), &port.Outgoing{Frames: make([]port.Frame, 3), Filled: 1})
	})
}

func TestReceiveBatches(t *testing.T) {
	forAll(t, func(t *testing.T, open func(Config) (subject, error)) {
		r := openRig(t, open, Config{Address: wildcard6, Batch: 5})
		if n := r.Receive(Now(), &r.in); n != 0 {
			t.Fatalf("%d datagrams from nobody", n)
		}
		peer := newClient(t, loopback4)
		const n = 23
		for i := range n {
			peer.send(r.at(loopback4), payload(i, i)) // the first one is empty
		}
		for got := 0; got < n; {
			r.Wait(Now() + port.Time(patience))
			count := r.Receive(Now(), &r.in)
			if count > 5 || len(r.in.Packets) < count {
				t.Fatalf("%d datagrams in a batch of 5", count)
			}
			if count == 0 {
				t.Fatalf("Wait returned after %d datagrams without another", got)
			}
			for _, in := range r.in.Packets[:count] {
				if !slices.Equal(in.Data, payload(got, got)) || cap(in.Data) != len(in.Data) {
					t.Errorf("datagram %d: %s, capacity %d", got, brief(in.Data), cap(in.Data))
				}
				clear(in.Data) // readers may write
				got++
			}
		}
		r.expect(port.Stats{port.Received: n})
		if got, want := r.Stats()[port.ReceivedBytes], uint64(n*(n-1)/2); got != want {
			t.Errorf("%d bytes counted, want %d", got, want)
		}
	})
}

func TestTooLongIsMalformed(t *testing.T) {
	forAll(t, func(t *testing.T, open func(Config) (subject, error)) {
		r := openRig(t, open, Config{Address: wildcard6})
		peer := newClient(t, loopback4)
		for _, size := range []int{port.MaxDatagram + 1, 9000, port.MaxDatagram} {
			peer.send(r.at(loopback4), payload(1, size))
		}
		if got := r.collect(1)[0]; len(got.data) != port.MaxDatagram {
			t.Errorf("got %s", brief(got.data))
		}
		r.expect(port.Stats{port.Received: 1, port.Malformed: 2})
	})
}

func TestWait(t *testing.T) {
	forAll(t, func(t *testing.T, open func(Config) (subject, error)) {
		r := openRig(t, open, Config{Address: wildcard6})
		peer := newClient(t, loopback4)
		porttest.Waits(t, r, Now, func() { peer.send(r.at(loopback4), payload(1, 10)) }, func() { r.collect(1) })
	})
}

func TestStatsFromAnotherThread(t *testing.T) {
	forAll(t, func(t *testing.T, open func(Config) (subject, error)) {
		r := openRig(t, open, Config{Address: wildcard6})
		r.route(0, r.at(loopback4), loopback4) // to itself
		stop := make(chan struct{})
		var others sync.WaitGroup
		others.Go(func() {
			var last port.Stats
			for {
				s := r.Stats()
				if s[port.Sent] < last[port.Sent] || s[port.Received] < last[port.Received] || s[port.Calls] < last[port.Calls] {
					t.Errorf("from %+v to %+v", last, s)
				}
				last = s
				_ = r.Segmentation()
				r.Wake()
				select {
				case <-stop:
					return
				default:
				}
			}
		})
		const rounds, each = 50, 14
		for range rounds {
			for i := range each {
				r.add(0, Now(), payload(i, 200))
			}
			r.transmit(Now(), defaultFrames)
			r.collect(each)
		}
		close(stop)
		others.Wait()
		r.expect(port.Stats{port.Received: rounds * each, port.Sent: rounds * each, port.SentBytes: rounds * each * 200})
	})
}

func TestAddressInUse(t *testing.T) {
	forAll(t, func(t *testing.T, open func(Config) (subject, error)) {
		for _, bind := range []netip.AddrPort{wildcard6, wildcard4, netip.AddrPortFrom(loopback4, 0)} {
			r := openRig(t, open, Config{Address: bind})
			taken := netip.AddrPortFrom(bind.Addr(), r.LocalPort())
			second, err := open(Config{Address: taken})
			if err == nil {
				second.Close()
				t.Fatalf("%s was bound twice", taken)
			}
			if want := fmt.Sprintf("bind UDP %s: address already in use", taken); !errors.Is(err, syscall.EADDRINUSE) || err.Error() != want {
				t.Errorf("got %q, want %q", err, want)
			}
		}
	})
}

func TestCloseEndsEverything(t *testing.T) {
	forAll(t, func(t *testing.T, open func(Config) (subject, error)) {
		r := openRig(t, open, Config{Address: wildcard6})
		r.route(0, r.at(loopback4), loopback4)
		r.add(0, Now(), payload(1, 10))
		r.transmit(Now(), defaultFrames)
		for range 2 {
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		}
		r.Wake()
		if s := r.Stats(); s[port.Sent] != 1 {
			t.Errorf("%+v", s)
		}
		again := openRig(t, open, Config{Address: r.at(netip.IPv6Unspecified())}) // the port is free
		if again.LocalPort() != r.LocalPort() {
			t.Errorf("bound port %d instead of %d", again.LocalPort(), r.LocalPort())
		}
	})
}

func TestConfig(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{Frames: -1}, "Frames"},
		{Config{Batch: -1}, "Batch"},
		{Config{Batch: maxBatch + 1}, "Batch"},
		{Config{Workers: -1}, "Workers"},
		{Config{Address: netip.MustParseAddrPort("203.0.113.77:0")}, "bind UDP 203.0.113.77:0"},
	} {
		ports, err := Open(c.cfg)
		if err == nil {
			for _, p := range ports {
				p.Close()
			}
			t.Fatalf("%+v was opened", c.cfg)
		}
		if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q does not mention %q", err, c.want)
		}
	}
}
