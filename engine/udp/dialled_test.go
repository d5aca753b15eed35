package udp

import (
	"encoding/binary"
	"errors"
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

// dialledSubject is an implementation of the port of dialled sessions under test.
type dialledSubject interface {
	port.Port
	Sockets() int
	// interpose makes verdict judge every message before the kernel does.
	interpose(verdict func(segments int) error)
	// number is the UDP port of the socket of a name, 0 if there is none.
	number(name netip.Addr) uint16
}

// dialledRig drives a port of dialled sessions as its worker does.
type dialledRig struct {
	*porttest.Rig
	dialledSubject
}

func forAllDialled(t *testing.T, test func(t *testing.T, open func(Config) (dialledSubject, error))) {
	for _, i := range dialledImplementations {
		t.Run(i.name, func(t *testing.T) { test(t, i.open) })
	}
}

func openDialledRig(t testing.TB, open func(Config) (dialledSubject, error), cfg Config) *dialledRig {
	t.Helper()
	s, err := open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &dialledRig{porttest.NewRig(t, s, Now), s}
}

// dial routes to a peer by the socket of a session, from the next Transmit on.
func (r *dialledRig) dial(number port.Route, remote netip.AddrPort, session uint64) {
	r.Route(number, port.Path{Remote: remote, Local: port.Socket(session)})
}

// at is where a session's socket is reached.
func (r *dialledRig) at(local netip.Addr, session uint64) netip.AddrPort {
	return netip.AddrPortFrom(local, r.number(port.Socket(session)))
}

func (r *dialledRig) expectSockets(want int) {
	r.TB.Helper()
	if got := r.Sockets(); got != want {
		r.TB.Errorf("%d sockets are open, want %d", got, want)
	}
}

// The contract of ports holds for the paths of one socket.
func TestDialledContract(t *testing.T) {
	forAllDialled(t, func(t *testing.T, open func(Config) (dialledSubject, error)) {
		for _, local := range []netip.Addr{loopback4, loopback6} {
			t.Run(local.String(), func(t *testing.T) {
				need(t, local)
				porttest.Run(t, func(t *testing.T) porttest.Subject {
					s, err := open(Config{})
					if err != nil {
						t.Fatal(err)
					}
					g := &gate{open: math.MaxInt, err: syscall.EAGAIN}
					s.interpose(g.verdict)
					// A route that no test uses keeps the socket open.
					anyone := port.Path{Remote: netip.AddrPortFrom(local, 9), Local: port.Socket(1)}
					s.Transmit(Now(), &port.Outgoing{Routes: []port.RouteChange{{Route: 500, Path: anyone}}})
					return porttest.Subject{
						Port: s, Now: Now, Frames: defaultFrames, Local: anyone.Local,
						Address: netip.AddrPortFrom(local, s.number(anyone.Local)),
						Listen: func() (*net.UDPConn, error) {
							return net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0)))
						},
						Block:    func() { g.open = 0 },
						Unblock:  func() { g.open = math.MaxInt },
						Anywhere: func() { _ = s.Sockets() },
					}
				})
			})
		}
	})
}

// A thousand sessions reach one peer, each from a UDP port of its own, by IPv4 and by IPv6. A datagram
// to one of these arrives with that session's name.
func TestThousandSockets(t *testing.T) {
	forAllDialled(t, func(t *testing.T, open func(Config) (dialledSubject, error)) {
		for _, local := range []netip.Addr{loopback4, loopback6} {
			t.Run(local.String(), func(t *testing.T) {
				need(t, local)
				thousandSockets(t, openDialledRig(t, open, Config{}), newPeer(t, local))
			})
		}
	})
}

func thousandSockets(t *testing.T, r *dialledRig, peer *porttest.Peer) {
	const sessions, each = 1000, 100
	for s := range sessions {
		r.dial(port.Route(s), peer.Addr, uint64(s))
	}
	r.Send(Now(), defaultFrames)
	r.expectSockets(sessions)
	ports := map[uint16]int{}
	for first := 0; first < sessions; first += each {
		for s := first; s < first+each; s++ {
			r.Add(port.Route(s), Now(), porttest.Payload(s, 100))
		}
		r.Send(Now(), defaultFrames)
		for s := first; s < first+each; s++ {
			data, from := peer.Next()
			if !slices.Equal(data, porttest.Payload(s, 100)) || from.Port() != r.number(port.Socket(uint64(s))) {
				t.Fatalf("session %d: %s came from %s", s, porttest.Brief(data), from)
			}
			if other, taken := ports[from.Port()]; taken {
				t.Fatalf("sessions %d and %d share UDP port %d", other, s, from.Port())
			}
			ports[from.Port()] = s
			peer.Send(from, data)
		}
		for _, got := range r.Collect(each) {
			s := uint64(binary.BigEndian.Uint32(got.Data))
			if want := (port.Path{Remote: peer.Addr, Local: port.Socket(s)}); got.Path != want {
				t.Fatalf("%s came by %v, want %v", porttest.Brief(got.Data), got.Path, want)
			}
		}
	}
	for s := range sessions {
		r.Revoke(port.Route(s))
	}
	r.Send(Now(), defaultFrames)
	r.expectSockets(0)
	r.Expect(port.Stats{
		port.Received: sessions, port.Sent: sessions, port.SentBytes: 100 * sessions,
	})
}

// Routes own a session's socket. It stays while any names it, also if one is revoked and set again at once, and its
// successor is another.
func TestRoutesOwnSockets(t *testing.T) {
	forAllDialled(t, func(t *testing.T, open func(Config) (dialledSubject, error)) {
		r := openDialledRig(t, open, Config{})
		r.expectSockets(0)
		a, b := newPeer(t, loopback4), newPeer(t, loopback4)
		r.dial(0, a.Addr, 7)
		r.dial(1, b.Addr, 7)
		r.dial(2, b.Addr, 8)
		r.Send(Now(), defaultFrames)
		r.expectSockets(2)
		number := r.number(port.Socket(7))

		r.Revoke(0)
		r.Send(Now(), defaultFrames)
		r.Revoke(1)
		r.dial(0, a.Addr, 7)
		r.Revoke(0)
		r.dial(0, a.Addr, 7)
		r.Add(0, Now(), porttest.Payload(1, 50))
		r.Send(Now(), defaultFrames)
		a.Expect(porttest.Payload(1, 50))
		if got := r.number(port.Socket(7)); got != number || number == 0 {
			t.Errorf("the session's UDP port went from %d to %d", number, got)
		}
		r.expectSockets(2)

		r.dial(0, a.Addr, 8) // the last route of session 7 becomes another's
		r.Send(Now(), defaultFrames)
		r.expectSockets(1)
		r.Revoke(0)
		r.Revoke(2)
		r.Revoke(3) // never set
		r.dial(4, a.Addr, 9)
		r.Revoke(4)
		r.Add(0, Now(), porttest.Payload(2, 50))
		r.Send(Now(), defaultFrames)
		r.expectSockets(0)
		r.Expect(port.Stats{port.Sent: 1, port.SentBytes: 50, port.Unroutable: 1})
	})
}

// Datagrams that had arrived for a socket when it was closed harm nobody, nor do those to its former UDP port.
func TestCloseWhileInUse(t *testing.T) {
	forAllDialled(t, func(t *testing.T, open func(Config) (dialledSubject, error)) {
		r := openDialledRig(t, open, Config{Batch: 4})
		peer := newPeer(t, loopback4)
		r.dial(0, peer.Addr, 1)
		r.dial(1, peer.Addr, 2)
		r.Send(Now(), defaultFrames)
		closing, staying := r.at(loopback4, 1), r.at(loopback4, 2)
		for i := range 20 {
			peer.Send(closing, porttest.Payload(i, 50))
		}
		r.Collect(1) // some are in hand, others are not
		r.Revoke(0)
		r.Send(Now(), defaultFrames)
		r.expectSockets(1)
		peer.Send(closing, porttest.Payload(98, 50))
		peer.Send(staying, porttest.Payload(99, 50))
		for {
			for _, got := range r.Collect(1) { // it may bring those of both sockets at once
				if got.Path.Local != port.Socket(2) {
					continue
				}
				if !slices.Equal(got.Data, porttest.Payload(99, 50)) {
					t.Errorf("got %s", porttest.Brief(got.Data))
				}
				return
			}
		}
	})
}

// A peer whose UDP port is closed answers with ICMP, which ends nothing: neither that route, nor another of the same
// socket, nor another socket.
func TestRefusedPeer(t *testing.T) {
	forAllDialled(t, func(t *testing.T, open func(Config) (dialledSubject, error)) {
		for _, local := range []netip.Addr{loopback4, loopback6} {
			t.Run(local.String(), func(t *testing.T) {
				need(t, local)
				r := openDialledRig(t, open, Config{})
				peer, gone := newPeer(t, local), newPeer(t, local)
				if err := gone.Close(); err != nil {
					t.Fatal(err)
				}
				r.dial(0, gone.Addr, 1)
				r.dial(1, peer.Addr, 1)
				r.dial(2, peer.Addr, 2)
				const rounds = 20
				for i := range rounds {
					for route := range port.Route(3) {
						r.Add(route, Now(), porttest.Payload(3*i+int(route), 50))
					}
					r.Send(Now(), defaultFrames)
					peer.Expect(porttest.Payload(3*i+1, 50), porttest.Payload(3*i+2, 50))
					peer.Send(r.at(local, 1), porttest.Payload(i, 50))
					r.Collect(1)
				}
				r.Expect(port.Stats{port.Received: rounds, port.Sent: 3 * rounds, port.SentBytes: 150 * rounds})
			})
		}
	})
}

// Sockets open and close while datagrams come and go, and while another thread wakes the worker.
func TestSocketsComeAndGo(t *testing.T) {
	forAllDialled(t, func(t *testing.T, open func(Config) (dialledSubject, error)) {
		r := openDialledRig(t, open, Config{})
		peer := newPeer(t, loopback4)
		stop := make(chan struct{})
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			for {
				select {
				case <-stop:
					return
				default:
					r.Wake()
					_, _ = r.Stats(), r.Sockets()
				}
			}
		}()
		const rounds, wide = 200, 8
		for round := range rounds {
			if round >= wide {
				r.Revoke(port.Route(round % wide))
			}
			r.dial(port.Route(round%wide), peer.Addr, uint64(round))
			r.Add(port.Route(round%wide), Now(), porttest.Payload(round, 50))
			r.Send(Now(), defaultFrames)
			data, from := peer.Next()
			peer.Send(from, data)
			if got := r.Collect(1)[0]; got.Path.Local != port.Socket(uint64(round)) || !slices.Equal(got.Data, data) {
				t.Fatalf("%s came by %v in round %d", porttest.Brief(got.Data), got.Path, round)
			}
			r.expectSockets(min(round+1, wide))
		}
		close(stop)
		<-stopped
	})
}

// A route without a socket rejects its frames and no others': a local address is no name of a socket.
func TestRouteWithoutSocket(t *testing.T) {
	forAllDialled(t, func(t *testing.T, open func(Config) (dialledSubject, error)) {
		r := openDialledRig(t, open, Config{Address: wildcard4})
		peer := newPeer(t, loopback4)
		r.Route(0, port.Path{Remote: peer.Addr, Local: loopback4})
		r.Route(1, port.Path{Remote: peer.Addr})
		r.dial(2, peer.Addr, 1)
		r.dial(3, netip.AddrPortFrom(loopback6, 9), 1) // IPv6 by an IPv4 socket
		for _, to := range []port.Route{0, 2, 1, 2, 3, 2} {
			r.Add(to, Now(), porttest.Payload(int(to), 50))
		}
		r.Send(Now(), defaultFrames)
		for range 3 {
			peer.Expect(porttest.Payload(2, 50))
		}
		r.expectSockets(1)
		r.Expect(port.Stats{port.Rejected: 3, port.Sent: 3, port.SentBytes: 150})
	})
}

// An address that the machine lacks is found out at the start, and one that is given is the source.
func TestDialledAddress(t *testing.T) {
	forAllDialled(t, func(t *testing.T, open func(Config) (dialledSubject, error)) {
		s, err := open(Config{Address: netip.MustParseAddrPort("203.0.113.77:5000")})
		if err == nil {
			s.Close()
			t.Fatal("203.0.113.77 was bound")
		}
		if !strings.Contains(err.Error(), "bind UDP 203.0.113.77:0") || !errors.Is(err, syscall.EADDRNOTAVAIL) {
			t.Errorf("got %q", err)
		}
		need(t, other4)
		r := openDialledRig(t, open, Config{Address: netip.AddrPortFrom(other4, 0)})
		peer := newPeer(t, loopback4)
		r.dial(0, peer.Addr, 1)
		r.Add(0, Now(), porttest.Payload(1, 50))
		r.Send(Now(), defaultFrames)
		if _, from := peer.Next(); from != r.at(other4, 1) {
			t.Errorf("a datagram came from %s, want %s", from, r.at(other4, 1))
		}
	})
}
