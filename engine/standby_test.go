package engine

import (
	"errors"
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
)

// backup is the offer of a publisher that stands by.
func backup(address string) api.Offer {
	p := from(address)
	p.Backup = true
	return p
}

// enters opens a publisher, connects it, and lets its media come.
func (r *registry) enters(p api.Offer) api.SessionID {
	r.t.Helper()
	id := r.must(api.Publisher, "s", p)
	r.connect(id)
	r.says(bus.KindMediaBegan, id)
	r.flow(bus.KindMediaFlows, id)
	return id
}

// flow handles a message about the present publication of a session: that its media flows or has paused.
func (r *registry) flow(k bus.Kind, id api.SessionID) {
	s := r.sessions[id]
	r.handleMessage(&bus.Control{Kind: k, ID: id, LayerID: bus.LayerID{Generation: s.publication.generation}})
}

// standby is the session that stands by, 0 for none.
func (r *registry) standby() api.SessionID {
	if st := r.streams.named["s"]; st != nil && st.standby != nil {
		return st.standby.spec.ID
	}
	return 0
}

// places fails the test if other sessions are live and stand by, or others have ended.
func (r *registry) places(live, standby api.SessionID, ended reasons) {
	r.t.Helper()
	r.expect("s", live, ended)
	if got := r.standby(); got != standby {
		r.t.Errorf("session %d stands by; expected %d", got, standby)
	}
	if got := r.census.standbys.Load(); (got == 1) != (standby > 0) {
		r.t.Errorf("%d publishers are counted to stand by; session %d does", got, standby)
	}
	if len(r.streams.backed) != int(r.census.standbys.Load()) {
		r.t.Errorf("%d streams are backed; expected %d", len(r.streams.backed), r.census.standbys.Load())
	}
}

// handed fails the test if streams went over to their standby other numbers of times.
func (r *registry) handed(want [numHandings]uint64) {
	r.t.Helper()
	for why := range handings {
		if got := r.census.handed[why].Load(); got != want[why] {
			r.t.Errorf("%d streams went over for %q; expected %d", got, handings[why], want[why])
		}
	}
}

// The backup gets the stream when the primary's media pauses, and gives it back once that came for returnSpan without
// another pause. The primary keeps its session.
func TestBackupStandsIn(t *testing.T) {
	r := newRegistry(t)
	primary, second := r.enters(from("198.18.0.1")), r.enters(backup("198.18.0.2"))
	r.places(primary, second, nil)
	r.pass(30 * port.Second)
	r.places(primary, second, nil)

	r.flow(bus.KindMediaPaused, primary)
	r.places(second, primary, nil)
	st := r.streams.named["s"].describe()
	if !st.Backup || !st.Standby || st.Publisher != second {
		t.Errorf("the stream is described as %+v; expected the backup live", st)
	}
	for range 3 { // the primary comes and goes
		r.flow(bus.KindMediaFlows, primary)
		r.pass(returnSpan - port.Second)
		r.places(second, primary, nil)
		r.flow(bus.KindMediaPaused, primary)
		r.pass(returnSpan)
		r.places(second, primary, nil)
	}
	r.flow(bus.KindMediaFlows, primary)
	r.pass(returnSpan)
	r.places(primary, second, nil)
	r.handed([numHandings]uint64{handSilent: 1, handReturned: 1})
}

// A backup that sends nothing itself is no better than a primary that pauses. It gets the stream once it sends.
func TestSilentBackupWaits(t *testing.T) {
	r := newRegistry(t)
	primary, second := r.enters(from("198.18.0.1")), r.enters(backup("198.18.0.2"))
	r.flow(bus.KindMediaPaused, second)
	r.flow(bus.KindMediaPaused, primary)
	r.pass(port.Second)
	r.places(primary, second, nil)
	r.flow(bus.KindMediaFlows, second)
	r.places(second, primary, nil)
	r.flow(bus.KindMediaPaused, second)
	r.pass(60 * port.Second)
	r.places(second, primary, nil)
	r.handed([numHandings]uint64{handSilent: 1})
}

// The session that has the stream ends: the other goes on at once, and no viewer is sent away.
func TestBackupSucceeds(t *testing.T) {
	r := newRegistry(t)
	primary, second := r.enters(from("198.18.0.1")), r.enters(backup("198.18.0.2"))
	viewer := r.must(api.Subscriber, "s", from("198.18.0.9"))
	r.connect(viewer)
	r.says(bus.KindSessionEnded, primary)
	r.places(second, 0, reasons{primary: api.ReasonClosed})
	third := r.enters(from("198.18.0.1")) // the primary's new session
	r.places(second, third, reasons{primary: api.ReasonClosed})
	r.says(bus.KindSessionEnded, second)
	r.places(third, 0, reasons{primary: api.ReasonClosed, second: api.ReasonClosed})
	r.handed([numHandings]uint64{handEnded: 2})
	r.says(bus.KindSessionEnded, third)
	r.pass(port.Time(r.limits.Grace) + port.Second)
	if len(r.streams.named)+len(r.sessions) > 0 {
		t.Errorf("%d streams and %d sessions are left; expected none", len(r.streams.named), len(r.sessions))
	}
}

// A backup whose stream has no publisher is live at once. The primary gets the stream after returnSpan.
func TestBackupComesFirst(t *testing.T) {
	r := newRegistry(t)
	second := r.enters(backup("198.18.0.2"))
	r.places(second, 0, nil)
	primary := r.enters(from("198.18.0.1"))
	r.places(second, primary, nil)
	r.pass(returnSpan)
	r.places(primary, second, nil)
}

// Each of the two places has one publisher. One that sends keeps its own, unless newcomers take over.
func TestTwoBackups(t *testing.T) {
	r := newRegistry(t)
	primary, second := r.enters(from("198.18.0.1")), r.enters(backup("198.18.0.2"))
	if _, err := r.open(api.Publisher, "s", backup("198.18.0.3")); !errors.Is(err, api.ErrBackupTaken) {
		t.Errorf("another backup: %v; expected %v", err, api.ErrBackupTaken)
	}
	if _, err := r.open(api.Publisher, "s", from("198.18.0.3")); !errors.Is(err, api.ErrStreamTaken) {
		t.Errorf("another primary: %v; expected %v", err, api.ErrStreamTaken)
	}
	if got := r.census.denied[deniedBackup].Load(); got != 1 {
		t.Errorf("%d backups were refused; expected 1", got)
	}
	r.flow(bus.KindMediaPaused, second) // it crashed
	third := r.enters(backup("198.18.0.3"))
	r.places(primary, third, reasons{second: api.ReasonReplaced})

	r = newRegistry(t, func(c *SessionConfig) { c.Takeover = true })
	primary, second = r.enters(from("198.18.0.1")), r.enters(backup("198.18.0.2"))
	r.pass(port.Second)
	third = r.enters(backup("198.18.0.3"))
	r.places(primary, third, reasons{second: api.ReasonReplaced})
	fourth := r.enters(from("198.18.0.4"))
	r.places(fourth, third, reasons{second: api.ReasonReplaced, primary: api.ReasonReplaced})
	r.pass(60 * port.Second)
	r.places(fourth, third, reasons{second: api.ReasonReplaced, primary: api.ReasonReplaced})
}

// A message about a publication that a publisher had before its place changed is out of date.
func TestOlderFlowsAreIgnored(t *testing.T) {
	r := newRegistry(t)
	primary, second := r.enters(from("198.18.0.1")), r.enters(backup("198.18.0.2"))
	older := r.sessions[primary].publication.generation
	r.flow(bus.KindMediaPaused, primary)
	r.handleMessage(&bus.Control{Kind: bus.KindMediaFlows, ID: primary, LayerID: bus.LayerID{Generation: older}})
	r.pass(2 * returnSpan)
	r.places(second, primary, nil)
}

// The workers keep one publication of each publisher: only the owner hears of one that stands by.
func TestStandbyIsTheOwnersAlone(t *testing.T) {
	r := newRegistry(t)
	primary := r.enters(from("198.18.0.1"))
	r.told()
	second := r.enters(backup("198.18.0.2")) // the first worker claims all
	if got := r.told(); len(got) > 0 {
		t.Errorf("the second worker was told %v of a publisher that stands by", got)
	}
	r.flow(bus.KindMediaPaused, primary)
	if got := r.told(); len(got) != 1 || got[0] != bus.KindPublicationOpened {
		t.Errorf("the second worker was told %v; expected one publication", got)
	}
	r.says(bus.KindSessionEnded, primary)
	r.says(bus.KindSessionEnded, second)
	if n := len(r.streams.named); n != 0 {
		t.Errorf("%d streams are left; expected none", n)
	}
}

// When the server ends, nobody succeeds anybody.
func TestShutdownWithStandby(t *testing.T) {
	r := newRegistry(t)
	primary, second := r.enters(from("198.18.0.1")), r.enters(backup("198.18.0.2"))
	if !r.shutdown() {
		t.Error("sessions are left")
	}
	r.places(0, 0, reasons{primary: api.ReasonShutdown, second: api.ReasonShutdown})
	r.handed([numHandings]uint64{})
}
