package engine

import (
	"math/rand/v2"
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/dtls"
	"ringcast/engine/port"
	"ringcast/engine/srtp"
)

// A view is the publications that a worker knows, by their streams.
type view map[bus.StreamID]bus.Control

// follow takes in all that a worker was told. The owner of a publisher moves its publication from stream to stream.
func (v view) follow(t *testing.T, worker bus.Address, e *bus.Endpoint) {
	for m := e.NextControl(); m != nil; m = e.NextControl() {
		known := v[m.Stream].Generation
		switch m.Kind {
		case bus.KindPublicationOpened:
			if m.Generation <= known {
				t.Errorf("worker %d was told %d of stream %d after %d", worker, m.Generation, m.Stream, known)
			}
			for id, x := range v {
				if x.Session == m.Session && m.Owner == worker {
					delete(v, id)
				}
			}
			v[m.Stream] = *m
		case bus.KindPublicationClosed:
			if m.Generation == known {
				delete(v, m.Stream)
			}
		}
		e.ControlDone()
	}
}

// check fails the test if a worker knows other publications than the controller.
func (v view) check(t *testing.T, worker bus.Address, r *registry) {
	want := make(map[bus.StreamID]bus.Generation)
	for _, st := range r.streams.named {
		if st.live != nil {
			want[st.id] = st.live.publication.generation
		}
		if st.standby != nil && st.standby.owner == worker {
			want[st.spare] = st.standby.publication.generation
		}
	}
	if len(want) != len(v) {
		t.Errorf("worker %d knows %d publications; expected %d", worker, len(v), len(want))
	}
	for id, g := range want {
		if v[id].Generation != g {
			t.Errorf("worker %d knows generation %d of stream %d; expected %d", worker, v[id].Generation, id, g)
		}
	}
}

// checkPlaces holds the places of publishers, and their counts, against the sessions.
func (r *registry) checkPlaces() {
	var connected, pending, live, standby int64
	for _, s := range r.sessions {
		if s.pending == nil {
			connected++
		} else {
			pending++
		}
		st := s.stream
		switch candidate := s.place >= 0 && st.candidates[s.place] == s; {
		case st.live == s && st.standby != s && !candidate:
			live++
		case st.standby == s && st.live != s && !candidate:
			standby++
			if _, ok := r.streams.backed[st]; !ok || st.live == nil ||
				st.live.publication.backup == s.publication.backup {
				r.t.Errorf("session %d stands by for none", s.spec.ID)
			}
		case !candidate:
			r.t.Errorf("session %d has no place, or two", s.spec.ID)
		}
	}
	c := &r.census
	got := [...]int64{c.publishers.Load(), c.publishersPending.Load(), c.streams.Load(), c.standbys.Load()}
	if want := [...]int64{connected, pending, live, standby}; got != want || len(r.streams.backed) != int(standby) {
		r.t.Errorf("%d publishers are counted as connected, pending, live and standing by; expected %d", got, want)
	}
}

// Publishers and backups come, pause, go on and end in any order. All workers know the publications that the
// controller does, and nothing is left in the end.
func TestSeedsOfPlaces(t *testing.T) {
	for seed := range uint64(300) {
		r := newRegistry(t, func(c *SessionConfig) { c.Takeover = seed%2 == 0 })
		random := rand.New(rand.NewPCG(seed, 1))
		views := [...]view{{}, {}}
		check := func() {
			for w, v := range views {
				v.follow(t, bus.Address(w), r.ends[w])
				v.check(t, bus.Address(w), r)
			}
			if r.checkPlaces(); t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
		for range 200 {
			r.happens(random)
			check()
		}
		for id := range r.sessions {
			r.says(bus.KindSessionEnded, id)
			check()
		}
		if len(r.streams.named)+len(r.sessions)+len(views[0])+len(views[1]) > 0 {
			t.Errorf("seed %d: something is left after the end", seed)
		}
	}
}

// happens lets something happen to one of the last publishers of a stream.
func (r *registry) happens(random *rand.Rand) {
	s := r.sessions[r.lastID-api.SessionID(random.IntN(5))]
	switch k := random.IntN(12); {
	case k < 2:
		p := from("198.18.0.1")
		p.Backup = random.IntN(2) == 0
		_, _ = r.open(api.Publisher, "s", p) // the place may be taken
	case k == 2:
		r.pass(port.Time(random.Int64N(int64(12 * port.Second))))
	case s == nil:
	case k < 5 && s.owner == nobody:
		r.handleMessage(&bus.Control{
			Kind: bus.KindSessionClaimed, ID: s.spec.ID, From: bus.Address(random.IntN(2)),
		})
	case k < 5 && !s.keyed:
		r.handleEvent(&dtls.Event{Kind: dtls.Keyed, ID: s.spec.ID, Keys: &srtp.Keys{}})
	case k < 7 && s.keyed:
		r.says(bus.KindMediaBegan, s.spec.ID)
	case k < 10 && s.keyed:
		r.says(bus.KindSessionHeard, s.spec.ID)
		r.flow([...]bus.Kind{bus.KindMediaFlows, bus.KindMediaPaused}[random.IntN(2)], s.spec.ID)
	case k == 10:
		r.says(bus.KindSessionEnded, s.spec.ID)
	}
}
