package udp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"ringcast/engine/port"
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

// patience ends a test that hangs; nothing is measured by it.
const patience = time.Minute

// rig drives a port as a worker does.
type rig struct {
	subject
	t   testing.TB
	out port.Outgoing
	in  port.Batch
}

func openRig(t testing.TB, open func(Config) (subject, error), cfg Config) *rig {
	t.Helper()
	s, err := open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{subject: s, t: t}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	r.Transmit(Now(), &r.out)
	return r
}

// at is the rig's address on the given local one.
func (r *rig) at(local netip.Addr) netip.AddrPort { return netip.AddrPortFrom(local, r.LocalPort()) }

// packet is a copy of an Inbound.
type packet struct {
	path    port.Path
	data    []byte
	arrival port.Time
}

// collect receives until it has n datagrams.
func (r *rig) collect(n int) (packets []packet) {
	r.t.Helper()
	give := Now() + port.Time(patience)
	for len(packets) < n {
		if Now() > give {
			r.t.Fatalf("received %d of %d datagrams; %+v", len(packets), n, r.Stats())
		}
		got := r.Receive(Now(), &r.in)
		for _, in := range r.in.Packets[:got] {
			packets = append(packets, packet{in.Path, bytes.Clone(in.Data), in.Arrival})
		}
		if len(packets) < n {
			r.Wait(give)
		}
	}
	return packets
}

// route tells the port of a route with the next Transmit.
func (r *rig) route(number port.Route, remote netip.AddrPort, local netip.Addr) {
	r.out.Routes = append(r.out.Routes, port.RouteChange{Route: number, Path: port.Path{Remote: remote, Local: local}})
}

func (r *rig) revoke(number port.Route) {
	r.out.Routes = append(r.out.Routes, port.RouteChange{Route: number})
}

// add fills a frame.
func (r *rig) add(to port.Route, born port.Time, data []byte) {
	r.t.Helper()
	f := r.out.Reserve()
	if f == nil {
		r.t.Fatal("no free frame")
	}
	if len(f.Data) != 0 || cap(f.Data) != port.FrameSize {
		r.t.Fatalf("frame %d lent with %d bytes of room for %d", f.Handle, len(f.Data), cap(f.Data))
	}
	f.Data = append(f.Data, data...)
	f.Route, f.Born = to, born
	r.out.Submit()
}

// transmit sends what was added and checks what is handed back: want free frames, each memory once.
func (r *rig) transmit(now port.Time, want int) {
	r.t.Helper()
	r.Transmit(now, &r.out)
	if r.out.Filled != 0 || len(r.out.Routes) != 0 {
		r.t.Fatalf("handed back with %d frames filled and %d routes", r.out.Filled, len(r.out.Routes))
	}
	if got := r.out.Free(); got != want {
		r.t.Fatalf("%d frames free, want %d; %+v", got, want, r.Stats())
	}
	seen := make(map[uint32]bool)
	for _, f := range r.out.Frames {
		if seen[f.Handle] {
			r.t.Fatalf("frame %d lent twice", f.Handle)
		}
		seen[f.Handle] = true
	}
}

// expect compares the counts but for those of calls, rests and segmentation.
func (r *rig) expect(want port.Stats) {
	r.t.Helper()
	if want[port.Received]+want[port.Malformed] > 0 {
		r.Transmit(Now(), &r.out) // publishes what Receive counted
	}
	got := r.Stats()
	for _, c := range []port.Counter{
		port.Received, port.Sent, port.SentBytes, port.Stale, port.Rejected, port.Unroutable, port.Malformed,
	} {
		if got[c] != want[c] {
			r.t.Errorf("%v: got %d, want %d", c, got[c], want[c])
		}
	}
}

// client is a plain socket of the standard library.
type client struct {
	*net.UDPConn
	t    testing.TB
	addr netip.AddrPort
}

func newClient(t testing.TB, local netip.Addr) *client {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetReadBuffer(4 << 20)
	_ = c.SetReadDeadline(time.Now().Add(patience))
	addr := c.LocalAddr().(*net.UDPAddr).AddrPort()
	return &client{c, t, netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())}
}

func (c *client) send(to netip.AddrPort, data []byte) {
	c.t.Helper()
	if _, err := c.WriteToUDPAddrPort(data, to); err != nil {
		c.t.Fatal(err)
	}
}

// read is the next datagram.
func (c *client) read() (data []byte, from netip.AddrPort) {
	c.t.Helper()
	buf := make([]byte, 4096)
	n, from, err := c.ReadFromUDPAddrPort(buf)
	if err != nil {
		c.t.Fatalf("client: %v", err)
	}
	return buf[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
}

// expect reads datagrams and compares them, in order.
func (c *client) expect(want ...[]byte) {
	c.t.Helper()
	for i, w := range want {
		if got, _ := c.read(); !bytes.Equal(got, w) {
			c.t.Fatalf("datagram %d of %d: got %s, want %s", i, len(want), brief(got), brief(w))
		}
	}
}

func brief(data []byte) string {
	return fmt.Sprintf("%d bytes %x…", len(data), data[:min(len(data), 4)])
}

// payload is size bytes that tell which one they are.
func payload(number, size int) []byte {
	data := bytes.Repeat([]byte{byte(number)}, size)
	if size >= 4 {
		binary.BigEndian.PutUint32(data, uint32(number))
	}
	return data
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
