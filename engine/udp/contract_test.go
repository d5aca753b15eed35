package udp

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	"ringcast/engine/port"
	"ringcast/engine/port/porttest"
)

// All that every implementation owes its worker beside the contract of ports.

func TestContract(t *testing.T) {
	forAll(t, func(t *testing.T, open func(Config) (subject, error)) {
		for _, local := range []netip.Addr{loopback4, loopback6} {
			for _, full := range []error{syscall.EAGAIN, syscall.ENOBUFS} {
				t.Run(fmt.Sprintf("%s/%s", local, full), func(t *testing.T) {
					need(t, local)
					porttest.Run(t, func(t *testing.T) porttest.Subject {
						s, err := open(Config{Address: wildcard6})
						if err != nil {
							t.Fatal(err)
						}
						g := &gate{open: math.MaxInt, err: full}
						s.interpose(g.verdict)
						return porttest.Subject{
							Port: s, Now: Now, Frames: defaultFrames,
							Address: netip.AddrPortFrom(local, s.LocalPort()),
							Listen: func() (*net.UDPConn, error) {
								return net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0)))
							},
							Block:    func() { g.open = 0 },
							Unblock:  func() { g.open = math.MaxInt },
							Anywhere: func() { _ = s.Segmentation() },
						}
					})
				})
			}
		}
	})
}

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
				peer := newPeer(t, from)

				before := Now()
				peer.Send(r.at(c.asked), porttest.Payload(7, 100))
				got := r.Collect(1)[0]
				if want := (port.Path{Remote: peer.Addr, Local: c.asked}); got.Path != want {
					t.Fatalf("path %v, want %v", got.Path, want)
				}
				// The wall clock that the kernel stamps with is read once more, so allow for
				// the moment between the two readings.
				if got.Arrival < before-port.Millisecond || got.Arrival > Now() {
					t.Errorf("sent at %d, arrived at %d, now %d", before, got.Arrival, Now())
				}

				r.route(3, got.Path.Remote, got.Path.Local)
				r.Add(3, Now(), got.Data)
				r.Add(3, Now(), porttest.Payload(8, 100))
				r.Send(Now(), defaultFrames)
				for i := 7; i <= 8; i++ {
					data, source := peer.Next()
					if source != r.at(c.asked) {
						t.Errorf("answered from %s, asked was %s", source, r.at(c.asked))
					}
					if !slices.Equal(data, porttest.Payload(i, 100)) {
						t.Errorf("echo %d: %s", i, porttest.Brief(data))
					}
				}
				r.Expect(port.Stats{port.Received: 1, port.Sent: 2, port.SentBytes: 200})
			})
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
			t.Run(full.Error(), func(t *testing.T) { keepOrder(t, open, full) })
		}
	})
}

func keepOrder(t *testing.T, open func(Config) (subject, error), full error) {
	const frames = 32
	r := openRig(t, open, Config{Address: wildcard6, Frames: frames})
	a, b := newPeer(t, loopback4), newPeer(t, loopback4)
	peers := []*porttest.Peer{a, b}
	r.route(0, a.Addr, loopback4)
	r.route(1, b.Addr, loopback4)
	want := make([][][]byte, len(peers))
	number := 0
	add := func(v, n int) {
		for range n {
			data := porttest.Payload(number, 900)
			number++
			want[v] = append(want[v], data)
			r.Add(port.Route(v), Now(), data)
		}
	}

	g := &gate{open: 10, err: full}
	r.interpose(g.verdict)
	now := Now()
	add(0, 5)
	add(1, 5)
	add(0, 3)
	add(1, 4)
	r.Send(now, frames-7)
	r.Expect(port.Stats{port.Sent: 10, port.SentBytes: 9000})

	// Nothing goes, more comes.
	add(0, frames-7)
	r.Send(now, 0)
	if r.Out.Reserve() != nil {
		t.Fatal("a frame is lent while all are kept")
	}

	// Some go: the order and the memory of the rest survive being moved. A run that
	// does not fit the gate stays whole.
	g.open = 7
	r.Send(now, 7)
	add(1, 2)
	r.Send(now, 5)

	// The socket is writable (it was all along), so this must return.
	g.open = 1000
	r.Wait(port.Never)
	r.Send(now, frames)
	for v, peer := range peers {
		peer.Expect(want[v]...)
	}
	r.Expect(port.Stats{port.Sent: uint64(number), port.SentBytes: uint64(number) * 900})

	// With nothing kept, being writable wakes nobody.
	until := Now() + 5*port.Millisecond
	r.Wait(until)
	if Now() < until {
		t.Error("Wait returned early with nothing kept")
	}
}

// Many frames through a small send buffer, a window of them on their way. Plain loopback frees what it
// delivers, so nothing is ever kept there; with a slow queue in front of it, the kernel is really full:
//
//	unshare -n sh -c 'ip link set lo up
//	tc qdisc add dev lo root tbf rate 100mbit burst 64k latency 9s; go test -v -run Flood'
func TestFloodArrivesInOrder(t *testing.T) {
	forAll(t, func(t *testing.T, open func(Config) (subject, error)) {
		const total, window, size = 2000, 64, 1200
		r := openRig(t, open, Config{Address: wildcard6, Frames: window})
		r.shrink()
		peer := newPeer(t, loopback4)
		r.route(0, peer.Addr, loopback4)
		credit := make(chan struct{}, total)
		go func() {
			defer close(credit)
			buf := make([]byte, 2*size)
			for i := range total {
				n, err := peer.Read(buf)
				if err != nil || !slices.Equal(buf[:n], porttest.Payload(i, size)) {
					t.Errorf("datagram %d: %s, %v", i, porttest.Brief(buf[:n]), err)
					return
				}
				credit <- struct{}{}
			}
		}()
		now := Now() // stands still, so nothing gets stale
		added, arrived, kept := 0, 0, 0
		for arrived < total {
			for ; added < total && added-arrived < window; added++ {
				r.Add(0, now, porttest.Payload(added, size))
			}
			r.Transmit(now, &r.Out)
			if r.Out.Free() < window {
				kept++
				r.Wait(Now() + port.Time(porttest.Patience))
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
		r.Expect(port.Stats{port.Sent: total, port.SentBytes: total * size})
	})
}

func TestRejectedMessageDoesNotStopTheOthers(t *testing.T) {
	forAll(t, func(t *testing.T, open func(Config) (subject, error)) {
		for _, rejection := range []error{
			syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.EPERM, syscall.EACCES,
			syscall.ECONNREFUSED, syscall.EMSGSIZE, syscall.EINVAL, syscall.EIO,
		} {
			t.Run(rejection.Error(), func(t *testing.T) {
				r := openRig(t, open, Config{Address: wildcard6})
				peer := newPeer(t, loopback4)
				r.route(0, peer.Addr, loopback4)
				r.route(1, peer.Addr, loopback4)
				attempts := 0
				r.interpose(func(int) error {
					if attempts++; attempts == 2 {
						return rejection
					}
					return nil
				})
				for i := range 5 { // alternating: no runs
					r.Add(port.Route(i%2), Now(), porttest.Payload(i, 50))
				}
				r.Send(Now(), defaultFrames)
				for _, number := range []int{0, 2, 3, 4} {
					peer.Expect(porttest.Payload(number, 50))
				}
				r.Expect(port.Stats{port.Rejected: 1, port.Sent: 4, port.SentBytes: 200})
			})
		}
	})
}

func TestUnsendable(t *testing.T) {
	forAll(t, func(t *testing.T, open func(Config) (subject, error)) {
		r := openRig(t, open, Config{Address: wildcard4})
		peer := newPeer(t, loopback4)
		r.route(0, peer.Addr, loopback4)
		r.route(1, netip.AddrPortFrom(loopback4, 0), loopback4)                     // port 0
		r.route(2, netip.AddrPortFrom(loopback6, 9), loopback6)                     // IPv6 from an IPv4 socket
		r.route(3, peer.Addr, netip.MustParseAddr("203.0.113.77"))                  // not our address
		for _, to := range []port.Route{0, 1, 1, 1, 0, 2, 2, 2, 0, 3, 3, 3, 0, 0} { // runs of 3
			r.Add(to, Now(), porttest.Payload(int(to), 60))
		}
		r.Add(0, Now(), porttest.Payload(0, port.MaxDatagram+1))
		r.Add(0, Now(), porttest.Payload(0, port.MaxDatagram))
		segmentation := r.Segmentation()
		r.Send(Now(), defaultFrames)
		for range 5 {
			peer.Expect(porttest.Payload(0, 60))
		}
		peer.Expect(porttest.Payload(0, port.MaxDatagram))
		r.Expect(port.Stats{port.Rejected: 10, port.Sent: 6, port.SentBytes: 5*60 + port.MaxDatagram})
		if r.Segmentation() != segmentation {
			t.Errorf("a path that does not exist cost the port its segmentation: %v", r.Segmentation())
		}
	})
}

func TestReceiveBatches(t *testing.T) {
	forAll(t, func(t *testing.T, open func(Config) (subject, error)) {
		r := openRig(t, open, Config{Address: wildcard6, Batch: 5})
		if n := r.Receive(Now(), &r.In); n != 0 {
			t.Fatalf("%d datagrams from nobody", n)
		}
		peer := newPeer(t, loopback4)
		const n = 23
		for i := range n {
			peer.Send(r.at(loopback4), porttest.Payload(i, i)) // the first one is empty
		}
		for got := 0; got < n; {
			r.Wait(Now() + port.Time(porttest.Patience))
			count := r.Receive(Now(), &r.In)
			if count > 5 || len(r.In.Packets) < count {
				t.Fatalf("%d datagrams in a batch of 5", count)
			}
			if count == 0 {
				t.Fatalf("Wait returned after %d datagrams without another", got)
			}
			for _, in := range r.In.Packets[:count] {
				if !slices.Equal(in.Data, porttest.Payload(got, got)) || cap(in.Data) != len(in.Data) {
					t.Errorf("datagram %d: %s, capacity %d", got, porttest.Brief(in.Data), cap(in.Data))
				}
				clear(in.Data) // readers may write
				got++
			}
		}
		r.Expect(port.Stats{port.Received: n})
		if got, want := r.Stats()[port.ReceivedBytes], uint64(n*(n-1)/2); got != want {
			t.Errorf("%d bytes counted, want %d", got, want)
		}
	})
}

func TestTooLongIsMalformed(t *testing.T) {
	forAll(t, func(t *testing.T, open func(Config) (subject, error)) {
		r := openRig(t, open, Config{Address: wildcard6})
		peer := newPeer(t, loopback4)
		for _, size := range []int{port.MaxDatagram + 1, 9000, port.MaxDatagram} {
			peer.Send(r.at(loopback4), porttest.Payload(1, size))
		}
		if got := r.Collect(1)[0]; len(got.Data) != port.MaxDatagram {
			t.Errorf("got %s", porttest.Brief(got.Data))
		}
		r.Expect(port.Stats{port.Received: 1, port.Malformed: 2})
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
			want := fmt.Sprintf("bind UDP %s: address already in use", taken)
			if !errors.Is(err, syscall.EADDRINUSE) || err.Error() != want {
				t.Errorf("got %q, want %q", err, want)
			}
		}
	})
}

func TestCloseEndsEverything(t *testing.T) {
	forAll(t, func(t *testing.T, open func(Config) (subject, error)) {
		r := openRig(t, open, Config{Address: wildcard6})
		r.route(0, r.at(loopback4), loopback4)
		r.Add(0, Now(), porttest.Payload(1, 10))
		r.Send(Now(), defaultFrames)
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
