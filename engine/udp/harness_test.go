package udp

import (
	"net"
	"net/netip"
	"testing"

	"ringcast/engine/port"
	"ringcast/engine/port/porttest"
	"ringcast/testenv"
)

// subject is an implementation under test.
type subject interface {
	port.Port
	LocalPort() uint16
	Segmentation() error
	// interpose makes verdict judge every message before the kernel does: an error is taken for
	// the kernel's answer.
	interpose(verdict func(segments int) error)
	// shrink makes the send buffer as small as the kernel allows.
	shrink()
}

// forAll runs a test against every implementation.
func forAll(t *testing.T, test func(t *testing.T, open func(Config) (subject, error))) {
	for _, i := range implementations {
		t.Run(i.name, func(t *testing.T) { test(t, i.open) })
	}
}

// rig drives a port as a worker does.
type rig struct {
	*porttest.Rig
	subject
}

func openRig(t testing.TB, open func(Config) (subject, error), cfg Config) *rig {
	t.Helper()
	s, err := open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &rig{porttest.NewRig(t, s, Now), s}
}

// at is the rig's address on the given local one.
func (r *rig) at(local netip.Addr) netip.AddrPort { return netip.AddrPortFrom(local, r.LocalPort()) }

// route changes a route with the next Transmit.
func (r *rig) route(number port.Route, remote netip.AddrPort, local netip.Addr) {
	r.Route(number, port.Path{Remote: remote, Local: local})
}

func newPeer(t testing.TB, local netip.Addr) *porttest.Peer {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0)))
	if err != nil {
		t.Fatal(err)
	}
	return porttest.NewPeer(t, conn)
}

// Addresses of the loopback interface.
var (
	loopback4 = netip.MustParseAddr("127.0.0.1")
	other4    = netip.MustParseAddr("127.0.0.2")
	loopback6 = netip.MustParseAddr("::1")
	wildcard4 = netip.MustParseAddrPort("0.0.0.0:0")
	wildcard6 = netip.MustParseAddrPort("[::]:0")
)

// need skips a test where the machine lacks the local address.
func need(t testing.TB, local netip.Addr) {
	t.Helper()
	testenv.Need(t, testenv.Address(local))
}
