package engine

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
)

func limited(l api.Limits) func(*SessionConfig) { return func(c *SessionConfig) { c.Limits = l } }

// try opens a session and reports whether it was refused as expected.
func (r *registry) try(role api.Role, name string, p api.Offer, want error) (id api.SessionID) {
	r.t.Helper()
	l, err := r.open(role, name, p)
	if !errors.Is(err, want) {
		r.t.Fatalf("a %v of %q: got %v, want %v", role, name, err, want)
	}
	return l.ID
}

// A stream has as many viewers as the tightest of three limits allows: the server's, its publisher's, the viewer's own.
func TestViewersOfStream(t *testing.T) {
	for _, row := range []struct {
		name                                     string
		server, publisher, own, elsewhere, admit int
	}{
		{"the server's", 2, 0, 0, 0, 2},
		{"the publisher's", 3, 1, 0, 0, 1},
		{"the viewer's own", 3, 2, 1, 0, 1},
		{"a grant above the server's", 2, 9, 9, 0, 2},
		{"the server's, with viewers elsewhere", 5, 0, 0, 3, 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := newRegistry(t, limited(api.Limits{Viewers: row.server}))
			publisher, viewer := from("198.18.0.1"), from("198.18.0.2")
			publisher.Limits.Viewers, viewer.Limits.Viewers = row.publisher, row.own
			viewer.Elsewhere = row.elsewhere
			r.connect(r.must(api.Publisher, "s", publisher))
			var last api.SessionID
			for range row.admit {
				last = r.try(api.Subscriber, "s", viewer, nil)
			}
			r.try(api.Subscriber, "s", viewer, api.ErrStreamFull)
			r.close(r.sessions[last], api.ReasonClosed)
			r.try(api.Subscriber, "s", viewer, nil)
			if got := r.census.denied[deniedViewers].Load(); got != 1 {
				t.Errorf("%d refusals were counted, want 1", got)
			}
		})
	}
}

// A source has so many sessions of both roles. An IPv6 /64 is one source. Authorized publishers and peers without an
// address have no limit.
func TestSessionsOfSource(t *testing.T) {
	r := newRegistry(t, limited(api.Limits{SourceSessions: 2}))
	r.publish("s") // from 198.18.0.1
	first := r.try(api.Subscriber, "s", from("198.18.0.1"), nil)
	r.try(api.Subscriber, "s", from("198.18.0.1"), api.ErrSourceFull)
	r.try(api.Subscriber, "s", from("::ffff:198.18.0.1"), api.ErrSourceFull)
	authorized := from("198.18.0.1")
	authorized.Authorized = true
	r.try(api.Publisher, "t", authorized, nil)
	r.try(api.Subscriber, "s", from("fd00::1"), nil)
	r.try(api.Subscriber, "s", from("fd00::2"), nil)
	r.try(api.Subscriber, "s", from("fd00::3"), api.ErrSourceFull)
	r.try(api.Subscriber, "s", from("fd00:0:0:1::3"), nil)
	unknown := from("fd00::1")
	unknown.Source = netip.Addr{}
	for range 3 {
		r.try(api.Subscriber, "s", unknown, nil)
	}
	r.close(r.sessions[first], api.ReasonClosed)
	r.try(api.Subscriber, "s", from("198.18.0.1"), nil)
	for _, s := range r.sessions {
		r.close(s, api.ReasonClosed)
	}
	if n := len(r.quota.sources); n != 0 {
		t.Errorf("%d sources are remembered without a session, want none", n)
	}
}

// A tighter limit ends nobody, and holds for the next ones.
func TestLimitsAtRunTime(t *testing.T) {
	r := newRegistry(t)
	r.publish("s")
	for range 3 {
		r.try(api.Subscriber, "s", from("198.18.0.2"), nil)
	}
	r.setLimits(api.Limits{Viewers: 1, SourceSessions: 1})
	if len(r.ended) != 0 {
		t.Errorf("sessions ended with the new limits: %v", r.ended)
	}
	r.try(api.Subscriber, "s", from("198.18.0.3"), api.ErrStreamFull)
	r.setLimits(api.Limits{SourceSessions: 1})
	r.try(api.Subscriber, "s", from("198.18.0.2"), api.ErrSourceFull)
	r.try(api.Subscriber, "s", from("198.18.0.3"), nil)
	r.setLimits(api.Limits{})
	r.try(api.Subscriber, "s", from("198.18.0.2"), nil)
}

// reports handles the owner's word that a publisher's two layers have some rates.
func (r *registry) reports(pub api.SessionID, g bus.Generation, rates ...uint32) {
	id := bus.LayerID{Stream: r.sessions[pub].stream.id, Generation: g, Track: 1}
	all := make(bus.Ladder, len(rates))
	for i, rate := range rates {
		all[i] = bus.Rung{Layer: uint8(i), Rate: rate}
	}
	m := bus.LadderChanged(bus.Controller, pub, id, &all)
	r.handleMessage(&m)
}

// A publisher that stays above its bitrate is reported once, and ended where the limits say so. One that comes back
// within it in time is left alone.
func TestBitrateOfPublisher(t *testing.T) {
	for _, refuse := range []bool{false, true} {
		r := newRegistry(t, limited(api.Limits{Bitrate: 1_000_000, Refuse: refuse}))
		pub, g := r.publishLayers("s", "a", "b")
		r.reports(pub, g, 300_000, 800_000)
		r.pass(overSpan - port.Second)
		r.reports(pub, g, 200_000, 800_000)
		r.pass(2 * overSpan)
		if got := r.census.over.Load(); got != 0 || len(r.ended) != 0 {
			t.Errorf("within the limit: %d are above it, %v ended, want none", got, r.ended)
		}
		r.reports(pub, g, 300_000, 800_000)
		r.pass(overSpan / 2)
		if got := r.census.over.Load(); got != 1 || len(r.ended) != 0 {
			t.Errorf("above the limit: %d are above it, %v ended, want 1 and none", got, r.ended)
		}
		r.pass(2 * overSpan)
		warned, ended := r.census.warned.Load(), r.census.ended.Load()
		if refuse {
			r.expect("s", 0, map[api.SessionID]api.Reason{pub: api.ReasonBitrate})
			if warned != 0 || ended != 1 || r.census.over.Load() != 0 {
				t.Errorf("%d warned, %d ended, %d above; want 0, 1, 0", warned, ended, r.census.over.Load())
			}
			continue
		}
		r.expect("s", pub, nil)
		if warned != 1 || ended != 0 {
			t.Errorf("%d warned, %d ended; want 1, 0", warned, ended)
		}
		r.setLimits(api.Limits{})
		if got := r.census.over.Load(); got != 0 {
			t.Errorf("without a limit %d are above it", got)
		}
	}
}

// A publisher that is silent is not above its bitrate, also if its rate was above it before. Short pauses hide nothing.
func TestBitrateOfSilentPublisher(t *testing.T) {
	for _, row := range []struct {
		name        string
		flow, pause port.Time
		ends        bool
	}{
		{"silent for good", overSpan - port.Second, 4 * overSpan, false},
		{"sends at times", 3 * port.Second, quietSpan + port.Second, false},
		{"short pauses", 3 * port.Second, port.Second, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := newRegistry(t, limited(api.Limits{Bitrate: 1_000_000, Refuse: true}))
			pub, g := r.publishLayers("s", "a", "b")
			r.flow(bus.KindMediaFlows, pub)
			r.reports(pub, g, 300_000, 800_000)
			for range 5 {
				if r.pass(row.flow); len(r.ended) > 0 {
					break
				}
				r.flow(bus.KindMediaPaused, pub)
				if r.pass(row.pause); len(r.ended) > 0 {
					break
				}
				if got := r.census.over.Load(); got != 0 && row.pause > quietSpan {
					t.Errorf("after a pause %d are above their bitrate, want none", got)
				}
				r.flow(bus.KindMediaFlows, pub)
			}
			if ended := len(r.ended) > 0; ended != row.ends {
				t.Errorf("the publisher ended: %t, want %t", ended, row.ends)
			}
		})
	}
}

// A publisher that fell silent above its bitrate stands by for as long as its backup is live.
func TestBitrateOfStandby(t *testing.T) {
	r := newRegistry(t, limited(api.Limits{Bitrate: 1_000_000, Refuse: true}))
	primary, second := r.enters(layered("198.18.0.1", "a", "b")), r.enters(backup("198.18.0.2"))
	r.reports(primary, r.sessions[primary].publication.generation, 300_000, 800_000)
	r.pass(overSpan - port.Second)
	r.flow(bus.KindMediaPaused, primary)
	r.flow(bus.KindMediaPaused, primary) // of its new publication
	r.reports(primary, r.sessions[primary].publication.generation, 300_000, 800_000)
	r.pass(4 * overSpan)
	r.places(second, primary, nil)
}

// The answer to a publisher has the tighter of its two limits.
func TestBitrateInAnswer(t *testing.T) {
	r := newRegistry(t, limited(api.Limits{Bitrate: 2_000_000}))
	granted := from("198.18.0.1")
	granted.Limits.Bitrate = 1_000_000
	for name, row := range map[string]struct {
		offer api.Offer
		want  int
	}{"server": {from("198.18.0.1"), 2_000_000}, "grant": {granted, 1_000_000}} {
		l, err := r.open(api.Publisher, name, row.offer)
		if err != nil || l.Bitrate != row.want {
			t.Errorf("%s: got %d, %v; want %d", name, l.Bitrate, err, row.want)
		}
	}
}

// The list of a stream's sessions has what operators need, and the user agent in readable characters.
func TestSessionsAreListed(t *testing.T) {
	r := newRegistry(t, func(c *SessionConfig) { c.Takeover = true })
	pub, g := r.publishLayers("s", "hi", "lo")
	o := layered("198.18.0.2")
	o.Agent = "Play\x1b[31mer\n" + strings.Repeat("x", 4*maxAgent)
	viewer := r.must(api.Subscriber, "s", o)
	r.connect(viewer)
	r.moves(viewer, g, 1, 0)
	r.pass(port.Second)
	waiting := r.must(api.Publisher, "s", from("198.18.0.9"))
	all := r.list("s")
	if len(all) != 3 || all[0].ID != pub || all[1].ID != viewer || all[2].ID != waiting {
		t.Fatalf("got %+v, want the sessions %d, %d, %d", all, pub, viewer, waiting)
	}
	if p := all[0]; p.Role != api.Publisher || !p.Live || !p.Connected || p.Rung != api.NoRung {
		t.Errorf("the publisher is %+v", p)
	}
	v := all[1]
	if v.Role != api.Subscriber || v.Live || v.RID != "lo" || v.Source != o.Source || v.Opened.IsZero() {
		t.Errorf("the viewer is %+v", v)
	}
	if !strings.HasPrefix(v.Agent, "Play[31merxxx") || len(v.Agent) > maxAgent {
		t.Errorf("its user agent is %q of %d bytes", v.Agent, len(v.Agent))
	}
	if w := all[2]; w.Live || w.Connected {
		t.Errorf("the second publisher is %+v", w)
	}
	if got := r.list("none"); got != nil {
		t.Errorf("sessions of an unknown stream: %+v", got)
	}
}
