package porttest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"ringcast/engine/port"
)

// Patience ends a test that hangs; nothing is measured by it.
const Patience = time.Minute

// A Rig drives a port as its worker does.
type Rig struct {
	port.Port
	TB  testing.TB
	Now func() port.Time // the port's clock
	Out port.Outgoing
	In  port.Batch
}

// NewRig takes a port over: it lends the first frames, and is closed at the end of the test.
func NewRig(t testing.TB, p port.Port, now func() port.Time) *Rig {
	r := &Rig{Port: p, TB: t, Now: now}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	p.Transmit(now(), &r.Out)
	return r
}

// A Packet is a copy of an Inbound.
type Packet struct {
	Path    port.Path
	Data    []byte
	Arrival port.Time
}

// Collect receives n datagrams.
func (r *Rig) Collect(n int) (packets []Packet) {
	r.TB.Helper()
	give := r.Now() + port.Time(Patience)
	for len(packets) < n {
		if r.Now() > give {
			r.TB.Fatalf("received %d of %d datagrams: %v", len(packets), n, r.Stats())
		}
		got := r.Receive(r.Now(), &r.In)
		for _, in := range r.In.Packets[:got] {
			packets = append(packets, Packet{in.Path, bytes.Clone(in.Data), in.Arrival})
		}
		if len(packets) < n {
			r.Wait(give)
		}
	}
	return packets
}

// Route changes a route with the next Transmit.
func (r *Rig) Route(number port.Route, p port.Path) {
	r.Out.Routes = append(r.Out.Routes, port.RouteChange{Route: number, Path: p})
}

// Revoke revokes a route with the next Transmit.
func (r *Rig) Revoke(number port.Route) { r.Route(number, port.Path{}) }

// Add fills a frame.
func (r *Rig) Add(to port.Route, born port.Time, data []byte) {
	r.TB.Helper()
	f := r.Out.Reserve()
	if f == nil {
		r.TB.Fatal("no free frame")
	}
	if len(f.Data) != 0 || cap(f.Data) != port.FrameSize {
		r.TB.Fatalf("frame %d lent with %d bytes of room for %d, want 0 for %d",
			f.Handle, len(f.Data), cap(f.Data), port.FrameSize)
	}
	f.Data = append(f.Data, data...)
	f.Route, f.Born = to, born
	r.Out.Submit()
}

// Send transmits the filled frames and checks the batch that is handed back: want free frames, each memory once.
func (r *Rig) Send(now port.Time, want int) {
	r.TB.Helper()
	r.Transmit(now, &r.Out)
	if r.Out.Filled != 0 || len(r.Out.Routes) != 0 {
		r.TB.Fatalf("handed back with %d frames filled and %d routes, want none", r.Out.Filled, len(r.Out.Routes))
	}
	if got := r.Out.Free(); got != want {
		r.TB.Fatalf("%d frames free, want %d: %v", got, want, r.Stats())
	}
	seen := make(map[uint32]bool)
	for _, f := range r.Out.Frames {
		if seen[f.Handle] {
			r.TB.Fatalf("frame %d lent twice", f.Handle)
		}
		seen[f.Handle] = true
	}
}

// Expect compares the counts but for those of calls, rests and segmentation. Counts of received datagrams are compared
// after a Transmit, which publishes them.
func (r *Rig) Expect(want port.Stats) {
	r.TB.Helper()
	if want[port.Received]+want[port.Malformed] > 0 {
		r.Transmit(r.Now(), &r.Out)
	}
	got := r.Stats()
	for _, c := range []port.Counter{
		port.Received, port.Sent, port.SentBytes, port.Stale, port.Rejected, port.Unroutable, port.Malformed,
	} {
		if got[c] != want[c] {
			r.TB.Errorf("%v: got %d, want %d", c, got[c], want[c])
		}
	}
}

// A Peer is a plain socket of the standard library.
type Peer struct {
	*net.UDPConn
	TB   testing.TB
	Addr netip.AddrPort
}

// NewPeer takes a socket over, and closes it at the end of the test.
func NewPeer(t testing.TB, conn *net.UDPConn) *Peer {
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetReadBuffer(8 << 20)
	_ = conn.SetReadDeadline(time.Now().Add(Patience))
	addr := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	return &Peer{conn, t, netip.AddrPortFrom(addr.Addr().Unmap().WithZone(""), addr.Port())}
}

// Send sends one datagram.
func (p *Peer) Send(to netip.AddrPort, data []byte) {
	p.TB.Helper()
	if _, err := p.WriteToUDPAddrPort(data, to); err != nil {
		p.TB.Fatal(err)
	}
}

// Next reads the next datagram.
func (p *Peer) Next() (data []byte, from netip.AddrPort) {
	p.TB.Helper()
	buf := make([]byte, 4096)
	n, from, err := p.ReadFromUDPAddrPort(buf)
	if err != nil {
		p.TB.Fatalf("peer: %v", err)
	}
	return buf[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
}

// Expect reads datagrams and compares them, in order.
func (p *Peer) Expect(want ...[]byte) {
	p.TB.Helper()
	for i, w := range want {
		if got, _ := p.Next(); !bytes.Equal(got, w) {
			p.TB.Fatalf("datagram %d of %d: got %s, want %s", i, len(want), Brief(got), Brief(w))
		}
	}
}

// Brief prints the length and the beginning of a datagram.
func Brief(data []byte) string {
	return fmt.Sprintf("%d bytes %x…", len(data), data[:min(len(data), 4)])
}

// Payload is size bytes that tell their number.
func Payload(number, size int) []byte {
	data := bytes.Repeat([]byte{byte(number)}, size)
	if size >= 4 {
		binary.BigEndian.PutUint32(data, uint32(number))
	}
	return data
}
