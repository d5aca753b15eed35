package engine

import (
	"encoding/binary"
	"log/slog"
	"net/netip"
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/stun"
	"ringcast/engine/ufrag"
	"ringcast/engine/worker"
)

// A desk is one runner on a port and a clock of the test's, driven on the test's own goroutine.
type desk struct {
	*runner
	port       *stubPort
	controller *bus.Endpoint
	now        port.Time
}

// stubPort lends a few frames. It takes none of them before a moment, and notes what it sends.
type stubPort struct {
	desk    *desk
	kept    []port.Frame
	free    int
	opens   port.Time // nothing is sent before
	arrived []port.Inbound
	sent    [][]byte
	stats   port.Stats
	// onTransmit, if set, is told of every turn.
	onTransmit func()
}

func (p *stubPort) Receive(_ port.Time, in *port.Batch) int {
	in.Packets = in.Packets[:cap(in.Packets)]
	n := copy(in.Packets, p.arrived)
	p.arrived = p.arrived[n:]
	return n
}

func (p *stubPort) Transmit(now port.Time, out *port.Outgoing) {
	p.kept = append(p.kept, out.Frames[:out.Filled]...)
	left := p.kept[:0]
	for _, f := range p.kept {
		switch {
		case now-f.Born > port.StaleAfter:
			p.stats[port.Stale]++
		case now < p.opens:
			left = append(left, f)
		default:
			p.sent = append(p.sent, f.Data)
			p.stats[port.Sent]++
		}
	}
	p.kept = left
	out.Frames = make([]port.Frame, p.free-len(p.kept))
	for i := range out.Frames {
		out.Frames[i].Data = make([]byte, 0, port.FrameSize)
	}
	out.Filled, out.Routes = 0, out.Routes[:0]
	if p.onTransmit != nil {
		p.onTransmit()
	}
}

func (p *stubPort) Wait(until port.Time) {
	p.desk.now = max(p.desk.now, min(until, p.desk.now+port.Millisecond))
}
func (p *stubPort) Rest(until port.Time) { p.Wait(until) }
func (p *stubPort) Wake()                {}
func (p *stubPort) Stats() port.Stats    { return p.stats }
func (p *stubPort) Close() error         { return nil }

// deskUfrags are the keys of a desk's worker.
var deskUfrags = ufrag.New(func(b []byte) { clear(b) })

func newDesk() *desk {
	d := &desk{now: port.Second}
	d.port = &stubPort{desk: d, free: 128}
	b := bus.New()
	d.controller = b.Join(bus.Controller)
	e := &Engine{log: slog.New(slog.DiscardHandler), bus: b, now: func() port.Time {
		d.now += port.Microsecond
		return d.now
	}}
	d.runner = &runner{engine: e, cpu: -1, port: d.port, bus: b.Join(0)}
	d.runner.worker = worker.New(worker.Config{Workers: 1, Rand: func() uint64 { return 4 }, Ufrags: deskUfrags})
	e.runners = []*runner{d.runner}
	e.controller = &controller{inbox: newInbox()}
	return d
}

// tell sends a message of the controller.
func (d *desk) tell(m bus.Control) { d.controller.SendControl(&m) }

// announce opens a session, and check is its peer's nomination.
func (d *desk) announce(id api.SessionID) (check port.Inbound) {
	spec := &bus.Session{
		ID: id, Role: api.Publisher, Stream: bus.StreamID(id), RemoteUfrag: "peer",
		Local: api.Credentials{
			Ufrag:    deskUfrags.Make(ufrag.ID{Session: uint64(id), Role: uint8(api.Publisher)}),
			Password: "the password of a session",
		},
	}
	d.tell(bus.SessionOpened(spec))
	from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(id >> 8), byte(id)}), 5000)
	var transaction [12]byte
	binary.BigEndian.PutUint64(transaction[:], uint64(id))
	return port.Inbound{
		Path: port.Path{Remote: from, Local: netip.AddrFrom4([4]byte{198, 19, 0, 1})},
		Data: stun.NewHasher().AppendRequest(nil, &transaction, stun.Request{
			Username: spec.Local.Ufrag + ":peer", Password: spec.Local.Password, Priority: 1, UseCandidate: true,
			TieBreaker: 1,
		}),
		Arrival: d.now,
	}
}

// A burst of announcements leaves the port its turn, and a check that came after them finds its session.
func TestBurstOfAnnouncements(t *testing.T) {
	const sessions = 10 * controlTurn
	d := newDesk()
	last := port.Inbound{}
	for id := range api.SessionID(sessions) {
		last = d.announce(id + 1)
	}
	d.port.arrived = []port.Inbound{last}
	known, most := 0, 0
	d.port.onTransmit = func() {
		n := d.worker.Sessions()
		known, most = n, max(most, n-known)
	}
	d.stop.Store(true)
	d.run()
	if known != sessions {
		t.Errorf("%d sessions are known; expected %d", known, sessions)
	}
	if most > controlTurn {
		t.Errorf("%d announcements were taken in between two turns of the port; expected at most %d", most, controlTurn)
	}
	if n := d.worker.Counters().Drops[worker.DropUfrag]; n != 0 {
		t.Errorf("%d checks came before their session; expected none", n)
	}
	if len(d.port.sent) != 1 {
		t.Errorf("%d answers were sent; expected that to the last session's check", len(d.port.sent))
	}
}

// Goodbyes that the port does not accept at once are sent before the runner ends. Those that it does not accept in time
// do not keep the runner.
func TestGoodbyesAtTheEnd(t *testing.T) {
	const sessions = 2000
	for _, x := range []struct {
		name  string
		opens port.Time // from the end on
		sent  int
	}{
		{"at once", 0, sessions},
		{"after four times the age of stale media", 4 * port.StaleAfter, sessions},
		{"never", port.Never / 2, 0},
	} {
		d := newDesk()
		var checks []port.Inbound
		for id := range api.SessionID(sessions) {
			checks = append(checks, d.announce(id+1))
		}
		d.port.arrived = checks
		turns := 0
		d.port.onTransmit = func() {
			// The peers are there: the engine shuts down.
			if len(d.port.sent) != sessions || turns > 0 {
				return
			}
			turns++
			d.port.opens, d.port.sent = d.now+x.opens, nil
			for id := range api.SessionID(sessions) {
				d.tell(bus.Goodbye(0, id+1, []byte("goodbye")))
			}
		}
		d.stop.Store(true)
		d.run()
		if turns != 1 {
			t.Fatalf("%s: the peers were never all answered", x.name)
		}
		goodbyes := 0
		for _, b := range d.port.sent {
			if string(b) == "goodbye" {
				goodbyes++
			}
		}
		if goodbyes != x.sent {
			t.Errorf("%s: %d goodbyes left; expected %d", x.name, goodbyes, x.sent)
		}
		if d.now-d.port.opens > 10*port.Second {
			t.Errorf("%s: the runner ended %.1f s later", x.name, (d.now - d.port.opens).Seconds())
		}
	}
}
