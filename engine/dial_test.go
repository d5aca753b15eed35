package engine

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/dtls"
	"ringcast/engine/port"
	"ringcast/engine/srtp"
)

// diallers makes a registry whose engine dials.
func diallers(t *testing.T, changes ...func(*SessionConfig)) *registry {
	t.Helper()
	r := newRegistry(t, changes...)
	to := bus.Address(len(r.ends))
	r.dials.worker = to
	r.ends = append(r.ends, r.engine.bus.Join(to))
	r.engine.runners = append(r.engine.runners, &runner{})
	return r
}

func answerOf(candidates ...string) *api.Answer {
	o := from("198.18.0.9")
	a := &api.Answer{ICE: o.ICE, Fingerprints: o.Fingerprints, Tracks: o.Tracks}
	for _, c := range candidates {
		a.Candidates = append(a.Candidates, netip.MustParseAddrPort(c))
	}
	return a
}

// dialOut dials and is to be admitted.
func (r *registry) dialOut(role api.Role, name string) api.SessionID {
	r.t.Helper()
	l, err := r.dial(role, name, &api.Dial{Tracks: from("198.18.0.9").Tracks, Agent: "https://origin.example"})
	if err != nil {
		r.t.Fatalf("a dial for %q was refused: %v", name, err)
	}
	return l.ID
}

// pull dials for a stream and is answered.
func (r *registry) pull(name string) api.SessionID {
	r.t.Helper()
	id := r.dialOut(api.Publisher, name)
	if err := r.answered(id, answerOf("198.18.0.9:7000")); err != nil {
		r.t.Fatalf("an answer was refused: %v", err)
	}
	return id
}

// key gives a dialled session its path and its keys.
func (r *registry) key(id api.SessionID) {
	r.says(bus.KindSessionClaimed, id)
	r.handleEvent(&dtls.Event{Kind: dtls.Keyed, ID: id, Keys: &srtp.Keys{}})
}

// heardBy are the kinds of messages that a worker was sent since the last call.
func (r *registry) heardBy(worker int) (all []bus.Control) {
	for {
		m := r.ends[worker].NextControl()
		if m == nil {
			return all
		}
		all = append(all, *m)
		r.ends[worker].ControlDone()
	}
}

func kindsOf(all []bus.Control) (kinds []bus.Kind) {
	for i := range all {
		kinds = append(kinds, all[i].Kind)
	}
	return kinds
}

// A pull is announced to the worker that dials once it is answered, its publication to all workers. It can be
// subscribed to at once.
func TestPullIsAnnouncedWhenAnswered(t *testing.T) {
	r := diallers(t)
	id := r.dialOut(api.Publisher, "s")
	for w := range r.ends {
		if got := r.heardBy(w); len(got) != 0 {
			t.Errorf("worker %d was told of a session without an answer: %v", w, kindsOf(got))
		}
	}
	if _, err := r.open(api.Subscriber, "s", from("198.18.0.3")); !errors.Is(err, api.ErrNoPublisher) {
		t.Errorf("a subscriber before the answer got %v; expected %v", err, api.ErrNoPublisher)
	}
	a := answerOf("198.18.0.9:7000", "198.18.0.9:0", "[2001:db8::1]:7000")
	for range 10 {
		a.Candidates = append(a.Candidates, netip.MustParseAddrPort("198.18.0.8:7000"))
	}
	if err := r.answered(id, a); err != nil {
		t.Fatal(err)
	}
	if got := r.live("s"); got != id {
		t.Fatalf("session %d has the stream; expected the pull, %d", got, id)
	}
	if s := r.streams.named["s"].describe(); !s.Pulled {
		t.Errorf("the stream is described as %+v; expected a pulled one", s)
	}
	for w := range 2 {
		if got := kindsOf(r.heardBy(w)); len(got) != 1 || got[0] != bus.KindPublicationOpened {
			t.Errorf("worker %d was told %v; expected only the publication", w, got)
		}
	}
	told := r.heardBy(2)
	if got := kindsOf(told); len(got) != 2 || got[0] != bus.KindSessionOpened || got[1] != bus.KindPublicationOpened {
		t.Fatalf("the worker that dials was told %v; expected the session and its publication", got)
	}
	d := told[0].Session.Dial
	if d == nil || len(d.Paths) != api.MaxCandidates || d.Password != a.ICE.Password || d.TieBreaker == 0 ||
		d.Paths[0] != (port.Path{Remote: a.Candidates[0], Local: port.Socket(uint64(id))}) ||
		d.Paths[1].Remote != a.Candidates[2] {
		t.Errorf("the worker is to dial %+v", d)
	}
	if told[1].Owner != 2 {
		t.Errorf("worker %d owns the publication; expected 2", told[1].Owner)
	}
	if err := r.answered(id, a); !errors.Is(err, api.ErrNoSession) {
		t.Errorf("a second answer got %v; expected %v", err, api.ErrNoSession)
	}
	viewer := r.must(api.Subscriber, "s", from("198.18.0.3"))
	if got := kindsOf(r.heardBy(2)); len(got) != 0 {
		t.Errorf("the worker that dials was told %v of a viewer", got)
	}
	r.close(r.sessions[viewer], api.ReasonClosed)
	if got := kindsOf(r.heardBy(2)); len(got) != 0 {
		t.Errorf("the worker that dials was told %v of a viewer's end", got)
	}
}

// Dialled sessions have a time of their own. They take no place of peers that come by themselves, and give none up.
func TestDialsExpire(t *testing.T) {
	r := diallers(t)
	silent, deaf, well := r.dialOut(api.Publisher, "a"), r.pull("b"), r.pull("c")
	if n := r.pool.all.Len(); n != 0 {
		t.Errorf("%d dialled sessions are in the pool", n)
	}
	if n := r.census.publishersPending.Load(); n != 3 {
		t.Errorf("%d publishers are pending; expected 3", n)
	}
	r.key(well)
	if n := r.census.publishers.Load(); n != 1 {
		t.Errorf("%d publishers are connected; expected 1", n)
	}
	r.pass(10 * port.Second)
	if len(r.ended) != 0 {
		t.Fatalf("%v ended within 10 s", r.ended)
	}
	r.pass(port.Second)
	for _, id := range []api.SessionID{silent, deaf} {
		if why, ended := r.ended[id]; !ended || why != api.ReasonUpstreamUnreachable {
			t.Errorf("session %d: ended %t, %s; expected %s", id, ended, why, api.ReasonUpstreamUnreachable)
		}
	}
	if len(r.ended) != 2 || len(r.streams.named) != 1 {
		t.Errorf("%d sessions ended, %d streams are left; expected 2 and 1", len(r.ended), len(r.streams.named))
	}
	r.pass(60 * port.Second)
	if _, ended := r.ended[well]; ended {
		t.Error("a connected pull without media ended")
	}
	if n := r.dials.unanswered.Len() + r.dials.connecting.Len(); n != 0 {
		t.Errorf("%d sessions are still on the lists", n)
	}
}

// The number of dials at a time is bounded.
func TestDialsAreBounded(t *testing.T) {
	r := diallers(t)
	for range maxDials {
		r.dialOut(api.Publisher, "s")
	}
	if _, err := r.dial(api.Publisher, "s", &api.Dial{}); !errors.Is(err, api.ErrBusy) {
		t.Errorf("one more dial got %v; expected %v", err, api.ErrBusy)
	}
	r.pass(11 * port.Second)
	r.dialOut(api.Publisher, "s")
}

// A publisher of our own has its stream, whenever a pull comes or goes on, with and without takeover.
func TestLocalPublisherWins(t *testing.T) {
	for _, takeover := range []bool{false, true} {
		r := diallers(t, func(c *SessionConfig) { c.Takeover = takeover })
		r.publish("a")
		if _, err := r.dial(api.Publisher, "a", &api.Dial{}); !errors.Is(err, api.ErrStreamTaken) {
			t.Errorf("takeover %t: a pull of a live stream got %v; expected %v", takeover, err, api.ErrStreamTaken)
		}

		early := r.dialOut(api.Publisher, "b")
		r.publish("b")
		if err := r.answered(early, answerOf("198.18.0.9:7000")); !errors.Is(err, api.ErrStreamTaken) {
			t.Errorf("takeover %t: an answer for a live stream got %v; expected %v", takeover, err, api.ErrStreamTaken)
		}
		pull := r.pull("c")
		r.key(pull)
		r.says(bus.KindMediaBegan, pull)
		local := r.publish("c")
		for _, id := range []api.SessionID{early, pull} {
			if why, ended := r.ended[id]; !ended || why != api.ReasonLocalPublisher {
				t.Errorf("takeover %t, pull %d: ended %t, %s; expected %s", takeover, id, ended, why,
					api.ReasonLocalPublisher)
			}
		}
		if got := r.live("c"); got != local {
			t.Errorf("takeover %t: session %d has the stream; expected %d", takeover, got, local)
		}
	}
}

// A backup of our own has a stream while its pull pauses. The pull, which stands by then, gives way to a publisher of
// our own as well.
func TestLocalPublisherWinsFromStandby(t *testing.T) {
	r := diallers(t)
	pull := r.pull("s")
	r.key(pull)
	backup := from("198.18.0.1")
	backup.Backup = true
	second := r.must(api.Publisher, "s", backup)
	r.connect(second)
	r.flow(bus.KindMediaFlows, second)
	r.flow(bus.KindMediaPaused, pull)
	if got := r.live("s"); got != second {
		t.Fatalf("session %d has the stream; expected the backup, %d", got, second)
	}
	r.flow(bus.KindMediaFlows, pull)
	local := r.publish("s")
	if why, ended := r.ended[pull]; !ended || why != api.ReasonLocalPublisher {
		t.Errorf("the pull: ended %t, %s; expected %s", ended, why, api.ReasonLocalPublisher)
	}
	if _, ended := r.ended[local]; ended || r.streams.named["s"].standby != r.sessions[local] {
		t.Errorf("the publisher of our own does not stand by for the backup; ended %t", ended)
	}
}

// A pull that replaces another gets the stream with its first media, so that viewers see no gap.
func TestPullReplacesPull(t *testing.T) {
	r := diallers(t)
	old := r.pull("s")
	r.key(old)
	r.says(bus.KindMediaBegan, old)
	next := r.pull("s")
	r.key(next)
	if got := r.live("s"); got != old {
		t.Errorf("before its media, session %d has the stream; expected %d", got, old)
	}
	r.says(bus.KindMediaBegan, next)
	if got := r.live("s"); got != next || r.ended[old] != api.ReasonReplaced {
		t.Errorf("session %d has the stream, the old pull ended by %q; expected %d, %q", got, r.ended[old], next,
			api.ReasonReplaced)
	}
}

// When a pull ends, one that was answered takes its place at once. Viewers wait for others.
func TestAnsweredPullSucceeds(t *testing.T) {
	r := diallers(t)
	old := r.pull("s")
	viewer := r.must(api.Subscriber, "s", from("198.18.0.3"))
	next := r.pull("s")
	r.says(bus.KindSessionEnded, old)
	if got := r.live("s"); got != next {
		t.Errorf("session %d has the stream; expected %d", got, next)
	}
	r.says(bus.KindSessionEnded, next)
	last := r.dialOut(api.Publisher, "s")
	if err := r.answered(last, answerOf("198.18.0.9:7000")); err != nil || r.live("s") != last {
		t.Errorf("session %d has the stream, %v; expected %d", r.live("s"), err, last)
	}
	if _, ended := r.ended[viewer]; ended {
		t.Error("the viewer's session ended")
	}
}

// A push needs a publisher. It is a subscriber of the worker that dials, and has the SSRCs of its offer still after the
// answer.
func TestPush(t *testing.T) {
	r := diallers(t)
	if _, err := r.dial(api.Subscriber, "s", &api.Dial{}); !errors.Is(err, api.ErrNoPublisher) {
		t.Errorf("a push of no stream got %v; expected %v", err, api.ErrNoPublisher)
	}
	r.publish("s")
	l, err := r.dial(api.Subscriber, "s", &api.Dial{Tracks: from("198.18.0.9").Tracks})
	if err != nil || l.Tracks[0].SSRC == 0 || len(l.Candidates) != 0 {
		t.Fatalf("%+v, %v; expected an SSRC and no candidate", l, err)
	}
	r.heardBy(2)
	if err := r.answered(l.ID, answerOf()); !errors.Is(err, api.ErrNoCandidate) {
		t.Errorf("an answer without candidates got %v; expected %v", err, api.ErrNoCandidate)
	}
	if err := r.answered(l.ID, answerOf("198.18.0.9:7000")); err != nil {
		t.Fatal(err)
	}
	told := r.heardBy(2)
	if len(told) != 1 || told[0].Session.Role != api.Subscriber || told[0].Session.Tracks[0].SSRC != l.Tracks[0].SSRC {
		t.Errorf("the worker was told %+v", told)
	}
	r.key(l.ID)
	st := r.streams.named["s"]
	if n := st.audience(); n != 0 {
		t.Errorf("%d viewers with a push alone", n)
	}
	r.close(r.sessions[l.ID], api.ReasonClosed)
	if n := len(st.viewers); n != 0 || st.audience() != 0 {
		t.Errorf("%d subscribers are left, %d viewers", n, st.audience())
	}
}

// An engine without a worker for dialled sessions dials none.
func TestNoDialling(t *testing.T) {
	r := newRegistry(t)
	if _, err := r.dial(api.Publisher, "s", &api.Dial{}); !errors.Is(err, api.ErrNoDialling) {
		t.Errorf("got %v; expected %v", err, api.ErrNoDialling)
	}
	if len(r.sessions) != 0 || len(r.streams.named) != 0 {
		t.Error("something is left of a refused dial")
	}
}

// Handshakes with one upstream that never end leave room for those with another.
func TestUpstreamsShareNoHandshakes(t *testing.T) {
	r := diallers(t)
	begin := func(upstream string) (begun bool) {
		id := r.dialOut(api.Publisher, fmt.Sprint("s", len(r.sessions)))
		a := answerOf(upstream)
		a.Passive = true
		if err := r.answered(id, a); err != nil {
			t.Fatal(err)
		}
		before := r.dtls.Stats().Started
		r.handleMessage(&bus.Control{Kind: bus.KindSessionClaimed, ID: id, Path: r.sessions[id].spec.Dial.Paths[0]})
		return r.dtls.Stats().Started > before
	}
	for n := 0; begin("198.18.0.9:7000"); n++ {
		if n > 1000 {
			t.Fatal("one upstream may have any number of handshakes")
		}
	}
	if !begin("198.18.0.8:7000") {
		t.Error("an upstream that answers no handshake keeps others from theirs")
	}
}
