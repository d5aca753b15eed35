package xsk

import (
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ringcast/bpf"
	"ringcast/engine/port"
	"ringcast/engine/port/porttest"
	"ringcast/testenv"
	"ringcast/testenv/lab"
	"ringcast/xsk/nexthop"
)

// The real kernel: two hosts, a cable with n queues, the XDP program, a port on one end and the kernel's stack on the
// other.

var started = time.Now()

// now is the clock of these tests.
func now() port.Time { return port.Second + port.Time(time.Since(started)) }

// site is where the tests of this file take place.
type site struct {
	t              testing.TB
	lab            *lab.Lab
	server, client *lab.Host
	cable          *lab.Cable
	program        *bpf.Program
	queues         []int
}

func newSite(t testing.TB, queues int) *site {
	t.Helper()
	testenv.Need(t, testenv.NetworkNamespaces, testenv.XDP)
	l := testenv.NewLab(t)
	s := &site{t: t, lab: l}
	var err error
	if s.server, err = l.AddHost("server"); err != nil {
		t.Fatal(err)
	}
	if s.client, err = l.AddHost("client"); err != nil {
		t.Fatal(err)
	}
	for i := range queues {
		s.queues = append(s.queues, i)
	}
	s.cable, err = l.Connect(
		lab.End{Host: s.server, Name: "eth0", Addrs: prefixes("198.18.0.1/24", "fd00::1/64", "fe80::1/64")},
		lab.End{Host: s.client, Name: "eth0", Addrs: prefixes("198.18.0.2/24", "fd00::2/64", "fe80::2/64")},
		lab.Link{Queues: queues})
	if err != nil {
		t.Fatal(err)
	}
	cfg := bpf.DefaultConfig()
	cfg.Interface, cfg.Port, cfg.Queues, cfg.Guard = "eth0", testPort, queues, false
	s.onServer(func() error {
		s.program, err = bpf.Attach(cfg)
		return err
	})
	t.Cleanup(func() {
		if err := s.program.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

func (s *site) onServer(f func() error) {
	s.t.Helper()
	if err := s.server.Enter(f); err != nil {
		s.t.Fatal(err)
	}
}

// bundleConfig returns the default configuration of a mode with changes.
func bundleConfig(mode Mode, changes ...func(*BundleConfig)) BundleConfig {
	cfg := DefaultBundleConfig(mode)
	cfg.BusyFor = porttest.Patience // the kernel frees a queue when it gets round to it
	for _, change := range changes {
		change(&cfg)
	}
	return cfg
}

// open opens a bundle on the server and steers the packets of its queues there.
func (s *site) open(cfg BundleConfig) (*Bundle, error) {
	cfg.Interface = s.cable.A.Index
	if cfg.Queues == nil {
		cfg.Queues = s.queues
	}
	cfg.Release = func() error {
		for _, q := range cfg.Queues {
			if err := s.program.ClearSockets(q); err != nil {
				return err
			}
		}
		return nil
	}
	var b *Bundle
	if err := s.server.Enter(func() (err error) {
		b, err = Open(cfg)
		return err
	}); err != nil {
		return nil, err
	}
	for _, socket := range b.Entries() {
		if err := s.program.SetSockets(socket.Queue, socket.FD, socket.Reports); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (s *site) mustOpen(cfg BundleConfig) *Bundle {
	s.t.Helper()
	b, err := s.open(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

// hop is the way to the client.
func (s *site) hop() *nexthop.Hop {
	return &nexthop.Hop{Source: [6]byte(s.cable.A.MAC), Destination: [6]byte(s.cable.B.MAC), MTU: 1500}
}

// socketCompanion is the kernel's socket on the server.
type socketCompanion struct {
	*net.UDPConn
	fd    int
	local netip.Addr // of its datagrams, which a test uses one of
	buf   [2048]byte
	in    [1]port.Inbound
}

func (s *site) companion() *socketCompanion {
	s.t.Helper()
	conn, err := s.server.ListenUDP(netip.AddrPortFrom(netip.IPv6Unspecified(), testPort))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	c := &socketCompanion{UDPConn: conn, local: local4}
	raw, err := conn.SyscallConn()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { c.fd = int(fd) }); err != nil {
		s.t.Fatal(err)
	}
	return c
}

func (c *socketCompanion) Send(p port.Path, payload []byte) error {
	_, err := c.WriteToUDPAddrPort(payload, p.Remote)
	return err
}

func (c *socketCompanion) Receive(now port.Time, in *port.Batch) int {
	n, from, err := unix.Recvfrom(c.fd, c.buf[:], unix.MSG_DONTWAIT)
	if err != nil {
		return 0
	}
	address := from.(*unix.SockaddrInet6)
	remote := netip.AddrPortFrom(netip.AddrFrom16(address.Addr).Unmap(), uint16(address.Port))
	c.in[0] = port.Inbound{Path: port.Path{Remote: remote, Local: c.local}, Data: c.buf[:n], Arrival: now}
	in.Packets = c.in[:]
	return 1
}

func (c *socketCompanion) FD() int { return c.fd }

// link is a port on a site.
type link struct {
	*porttest.Rig
	*site
	port      *Port
	hops      *hops
	companion *socketCompanion
}

// newPort makes a port, and a rig for it.
func (s *site) newPort(b *Bundle, cfg Config) *link {
	s.t.Helper()
	l := s.makePort(b, cfg)
	l.Rig = porttest.NewRig(s.t, l.port, now)
	return l
}

// makePort makes a port that the caller drives and closes.
func (s *site) makePort(b *Bundle, cfg Config) *link {
	s.t.Helper()
	l := &link{site: s, hops: newHops(), companion: s.companion()}
	l.hops.hop.Store(s.hop())
	cfg.Bundle, cfg.NextHops, cfg.Companion, cfg.Now, cfg.LocalPort = b, l.hops, l.companion, now, testPort
	cfg.Log = slog.New(slog.NewTextHandler(s.t.Output(), nil))
	var err error
	if l.port, err = New(cfg); err != nil {
		s.t.Fatal(err)
	}
	return l
}

func (l *link) add(to port.Route, data []byte) {
	l.t.Helper()
	l.Add(to, now(), data)
}

// flush transmits until nothing is kept.
func (l *link) flush() {
	l.t.Helper()
	give := now() + port.Time(porttest.Patience)
	for {
		l.Transmit(now(), &l.Out)
		if l.port.out.lender.kept == 0 {
			return
		}
		if now() > give {
			l.t.Fatalf("frames are kept: %v %+v", l.Stats(), l.port.Details())
		}
		l.Wait(give)
	}
}

// listen opens a plain socket on the client.
func (s *site) listen(local netip.Addr) (conn *net.UDPConn, err error) {
	err = s.client.Enter(func() (err error) {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0)))
		return err
	})
	return conn, err
}

func (s *site) newPeer(local netip.Addr) *porttest.Peer {
	s.t.Helper()
	conn, err := s.listen(local)
	if err != nil {
		s.t.Fatal(err)
	}
	return porttest.NewPeer(s.t, conn)
}
