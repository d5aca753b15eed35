package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/dtls"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
	"ringcast/engine/srtp"
)

// A registry is a controller without workers, ports and handshakes: the test speaks for all of them, on a clock
// of its own.
type registry struct {
	*controller
	t      *testing.T
	engine *Engine
	now    port.Time
	ends   []*bus.Endpoint // of the workers
	ended  map[api.SessionID]api.Reason
}

func newRegistry(t *testing.T, changes ...func(*SessionConfig)) *registry {
	t.Helper()
	r := &registry{t: t, now: port.Second, ended: make(map[api.SessionID]api.Reason)}
	cfg := DefaultConfig()
	cfg.Workers, cfg.Sessions.MaxPending = 2, 400
	for _, change := range changes {
		change(&cfg.Sessions)
	}
	e := &Engine{bus: bus.New(), now: func() port.Time { return r.now }}
	random := rand.NewChaCha8([32]byte{1})
	c, err := e.newController(&cfg, func(b []byte) { _, _ = random.Read(b) }, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.controller, e.controller, r.engine = c, c, e
	for w := range cfg.Workers {
		e.runners = append(e.runners, &runner{})
		r.ends = append(r.ends, e.bus.Join(bus.Address(w)))
	}
	c.onEnded = append(c.onEnded, func(id api.SessionID, why api.Reason) { r.ended[id] = why })
	t.Cleanup(func() {
		if err := c.dtls.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return r
}

// pass lets time pass, and calls expire each half second.
func (r *registry) pass(span port.Time) {
	for until := r.now + span; r.now < until; {
		r.now = min(r.now+port.Time(tick), until)
		r.expire()
	}
}

func from(address string) api.Offer {
	return api.Offer{
		ICE:          api.Credentials{Ufrag: "peer", Password: "the password of the peer"},
		Fingerprints: []api.Fingerprint{{Algorithm: "sha-256", Value: strings.Repeat("00:", 31) + "00"}},
		Tracks: []rtp.Track{{
			Kind: rtp.Audio, MID: "0",
			Formats: []rtp.Format{{PayloadType: 111, Codec: rtp.Opus}},
		}},
		Source: netip.MustParseAddr(address),
	}
}

// must opens a session that is to be admitted.
func (r *registry) must(role api.Role, name string, p api.Offer) api.SessionID {
	r.t.Helper()
	l, err := r.open(role, name, p)
	if err != nil {
		r.t.Fatalf("a session of %q was refused: %v", name, err)
	}
	return l.ID
}

// says handles a message of the first worker.
func (r *registry) says(k bus.Kind, id api.SessionID) {
	r.handleMessage(&bus.Control{Kind: k, ID: id, Life: bus.Life{Heard: r.now, MediaAt: r.now}})
}

// connect makes a session claimed and keyed.
func (r *registry) connect(id api.SessionID) {
	r.says(bus.KindSessionClaimed, id)
	r.handleEvent(&dtls.Event{Kind: dtls.Keyed, ID: id, Keys: &srtp.Keys{}})
}

// publish opens a publisher and brings it to its first media.
func (r *registry) publish(name string) api.SessionID {
	r.t.Helper()
	id := r.must(api.Publisher, name, from("198.18.0.1"))
	r.connect(id)
	r.says(bus.KindMediaBegan, id)
	return id
}

// live is the session whose publication a stream has, 0 for none.
func (r *registry) live(name string) api.SessionID {
	if st := r.streams.named[name]; st != nil && st.live != nil {
		return st.live.spec.ID
	}
	return 0
}

// told are the kinds of messages that the second worker was told since the last call, of the streams' lives.
func (r *registry) told() (kinds []bus.Kind) {
	e := r.ends[1]
	for m := e.NextControl(); m != nil; m = e.NextControl() {
		switch m.Kind {
		case bus.KindPublicationOpened, bus.KindPublicationClosed, bus.KindSessionClosed:
			kinds = append(kinds, m.Kind)
		}
		e.ControlDone()
	}
	return kinds
}

// expect fails the test if a stream has another publisher. It also fails if another set of sessions ended, or one for
// another reason.
func (r *registry) expect(name string, live api.SessionID, ended map[api.SessionID]api.Reason) {
	r.t.Helper()
	if got := r.live(name); got != live {
		r.t.Errorf("session %d has the stream; expected %d", got, live)
	}
	for id, want := range ended {
		if got, ok := r.ended[id]; !ok || got != want {
			r.t.Errorf("session %d ended: %t, %v; expected %v", id, ok, got, want)
		}
	}
	if len(r.ended) != len(ended) {
		r.t.Errorf("sessions %v ended; expected %v", r.ended, ended)
	}
}

type reasons = map[api.SessionID]api.Reason

// A request alone, and a peer that connects but sends nothing, leave a stream to its publisher; both end by
// themselves.
func TestTakeoverByRequest(t *testing.T) {
	for _, takeover := range []bool{true, false} {
		r := newRegistry(t, func(c *SessionConfig) { c.Takeover = takeover })
		first := r.publish("s")
		r.told()
		r.pass(heardSpan) // so that without takeover, too, others may try
		request := r.must(api.Publisher, "s", from("198.18.0.2"))
		silent := r.must(api.Publisher, "s", from("198.18.0.3"))
		r.connect(silent)
		for range 19 {
			r.pass(port.Second)
			r.says(bus.KindSessionHeard, first)
			if got := r.told(); slices.Contains(got, bus.KindPublicationOpened) || slices.Contains(got,
				bus.KindPublicationClosed) {
				t.Fatalf("the workers were told %v of a stream that nobody took", got)
			}
		}
		r.expect("s", first, reasons{request: api.ReasonNeverConnected})
		r.pass(2 * port.Second)
		r.expect("s", first, reasons{request: api.ReasonNeverConnected, silent: api.ReasonNoMedia})
		if n := r.pool.all.Len(); n != 0 {
			t.Errorf("%d sessions are pending; expected none", n)
		}
	}
}

// The first media of a newcomer gives it the stream. The workers hear of the new publication before the old
// session ends, and of no end in between.
func TestTakeoverByMedia(t *testing.T) {
	r := newRegistry(t, func(c *SessionConfig) { c.Takeover = true })
	first := r.publish("s")
	second := r.must(api.Publisher, "s", from("198.18.0.2"))
	r.connect(second)
	r.told()
	r.says(bus.KindMediaBegan, second)
	r.expect("s", second, reasons{first: api.ReasonReplaced})
	if got, want := r.told(), []bus.Kind{bus.KindPublicationOpened, bus.KindSessionClosed}; !slices.Equal(got, want) {
		t.Errorf("the workers were told %v; expected %v", got, want)
	}
	r.says(bus.KindMediaBegan, second) // said once, but it does no harm
	r.expect("s", second, reasons{first: api.ReasonReplaced})
}

// The first to send wins among publishers that wait at the same time. A later one may win again.
func TestTakeoverByMany(t *testing.T) {
	r := newRegistry(t, func(c *SessionConfig) { c.Takeover = true })
	first := r.publish("s")
	r.pass(port.Second)
	second := r.must(api.Publisher, "s", from("198.18.0.2"))
	third := r.must(api.Publisher, "s", from("198.18.0.3"))
	r.connect(second)
	r.connect(third)
	r.pass(port.Second)
	r.says(bus.KindMediaBegan, third)
	r.says(bus.KindMediaBegan, second)
	r.expect("s", third, reasons{first: api.ReasonReplaced, second: api.ReasonReplaced})
	r.pass(port.Second)
	fourth := r.must(api.Publisher, "s", from("198.18.0.2"))
	r.connect(fourth)
	r.says(bus.KindMediaBegan, fourth)
	r.expect("s", fourth, reasons{first: api.ReasonReplaced, second: api.ReasonReplaced, third: api.ReasonReplaced})
}

// A publisher that connected to a free stream but sent nothing does not win over one that sends.
func TestTakeoverFromTheSilent(t *testing.T) {
	r := newRegistry(t, func(c *SessionConfig) { c.Takeover = true })
	second := r.must(api.Publisher, "s", from("198.18.0.2"))
	silent := r.must(api.Publisher, "s", from("198.18.0.1"))
	r.connect(silent)
	r.expect("s", silent, nil)
	r.connect(second)
	r.says(bus.KindMediaBegan, second)
	r.expect("s", second, reasons{silent: api.ReasonReplaced})
}

// Without takeover a publisher that is alive keeps its stream, and others are refused. Publishers that were admitted
// while it was silent lose if it is back before their media.
func TestSilentPublisherGivesWay(t *testing.T) {
	r := newRegistry(t)
	first := r.publish("s")
	if _, err := r.open(api.Publisher, "s", from("198.18.0.2")); !errors.Is(err, api.ErrStreamTaken) {
		t.Errorf("beside a live publisher: %v; expected %v", err, api.ErrStreamTaken)
	}
	r.pass(heardSpan)
	second := r.must(api.Publisher, "s", from("198.18.0.2"))
	third := r.must(api.Publisher, "s", from("198.18.0.3"))
	r.connect(second)
	r.connect(third)
	r.expect("s", first, nil)
	r.says(bus.KindSessionHeard, first)
	r.says(bus.KindMediaBegan, second)
	r.expect("s", first, reasons{second: api.ReasonTaken})
	r.pass(heardSpan)
	r.says(bus.KindMediaBegan, third)
	r.expect("s", third, reasons{second: api.ReasonTaken, first: api.ReasonReplaced})
}

// When the publisher leaves, a newcomer that is connected goes on at once, else the first that connects.
func TestCandidateGoesOn(t *testing.T) {
	for _, connected := range []bool{true, false} {
		r := newRegistry(t, func(c *SessionConfig) { c.Takeover = true })
		first := r.publish("s")
		viewer := r.must(api.Subscriber, "s", from("198.18.0.9"))
		r.connect(viewer)
		second := r.must(api.Publisher, "s", from("198.18.0.2"))
		if connected {
			r.connect(second)
		}
		r.says(bus.KindSessionEnded, first)
		if !connected {
			r.expect("s", 0, reasons{first: api.ReasonClosed})
			r.connect(second)
		}
		r.expect("s", second, reasons{first: api.ReasonClosed})
		r.pass(60 * port.Second)
		r.expect("s", second, reasons{first: api.ReasonClosed})
		if n := r.streams.orphans.Len(); n != 0 {
			t.Errorf("%d streams wait for a publisher; expected none", n)
		}
	}
}

// Viewers wait for the grace time, not longer, and not at all where somebody is on the way.
func TestGrace(t *testing.T) {
	r := newRegistry(t, func(c *SessionConfig) { c.Grace = 10 * time.Second })
	var viewers []api.SessionID
	for _, name := range []string{"a", "b"} {
		p := r.publish(name)
		v := r.must(api.Subscriber, name, from("198.18.0.9"))
		r.connect(v)
		viewers = append(viewers, v)
		r.says(bus.KindSessionEnded, p)
		r.pass(port.Second)
	}
	r.pass(7 * port.Second)
	r.must(api.Publisher, "a", from("198.18.0.2"))
	r.pass(3 * port.Second)
	if _, ok := r.ended[viewers[0]]; ok {
		t.Error("a viewer was sent away while a publisher was on its way")
	}
	if why, ok := r.ended[viewers[1]]; !ok || why != api.ReasonNoPublisher {
		t.Errorf("a viewer whose publisher is gone ended: %t, %v; expected %v", ok, why, api.ReasonNoPublisher)
	}
	r.pass(pendingSpan)
	if why := r.ended[viewers[0]]; why != api.ReasonNoPublisher {
		t.Errorf("a viewer whose publisher never came ended for %v; expected %v", why, api.ReasonNoPublisher)
	}
	if len(r.streams.named) != 0 || len(r.sessions) != 0 || r.streams.orphans.Len() != 0 {
		t.Errorf("%d streams, %d sessions, %d waiting are left; expected none",
			len(r.streams.named), len(r.sessions), r.streams.orphans.Len())
	}
}

// One address sends 400 requests a second for a minute, and never connects. No other peer is refused, and other peers
// of the same address get through.
func TestPendingFlood(t *testing.T) {
	r := newRegistry(t, func(c *SessionConfig) { c.MaxPending = 4000 })
	r.publish("watched")
	const rate, roundTrip = 400, 120 // requests
	type guest struct {
		id   api.SessionID
		from string
	}
	var guests []guest
	for n := range 60 * rate {
		r.now += port.Second / rate
		r.must(api.Publisher, fmt.Sprint("flood", n), from("198.18.66.66"))
		switch n % 200 {
		case 0:
			for _, source := range []string{"198.18.1.1", "198.18.66.66"} {
				guests = append(guests,
					guest{r.must(api.Publisher, fmt.Sprint("guest", source), from(source)), source},
					guest{r.must(api.Subscriber, "watched", from(source)), source})
			}
		case roundTrip:
			for _, g := range guests {
				if why, ok := r.ended[g.id]; ok {
					t.Fatalf("session %d of %s ended within a round trip: %v", g.id, g.from, why)
				}
				r.says(bus.KindSessionReached, g.id)
				r.connect(g.id)
				r.says(bus.KindSessionEnded, g.id)
			}
			guests = guests[:0]
			r.expire()
			r.told()
		}
	}
	if n := r.pool.all.Len(); n > 4000/4 {
		t.Errorf("%d sessions of one address are pending; expected at most %d", n, 4000/4)
	}
	if n := r.census.evicted.Load(); n == 0 {
		t.Error("no session gave way")
	}
}

// Requests from everywhere fill the pool. The oldest session that no check reached gives way once it is old enough, but
// never one whose peer exists. Authorized publishers have a reserve.
func TestFullPool(t *testing.T) {
	const limit = 400
	r := newRegistry(t, func(c *SessionConfig) { c.MaxPending, c.Reserve = limit, true })
	flood := func(n int) error {
		_, err := r.open(api.Publisher, fmt.Sprint("flood", n), from(fmt.Sprintf("198.18.%d.%d", n/256, n%256)))
		return err
	}
	oldest := r.must(api.Publisher, "reached", from("198.19.0.1"))
	r.says(bus.KindSessionReached, oldest)
	n := 0
	for ; n < limit; n++ {
		if err := flood(n); err != nil {
			break
		}
	}
	if want := limit - limit/8 - 1; n != want {
		t.Errorf("%d sessions were admitted; expected %d", n, want)
	}
	if err := flood(n); !errors.Is(err, api.ErrBusy) {
		t.Errorf("beside sessions that are a moment old: %v; expected %v", err, api.ErrBusy)
	}
	token := from("198.18.0.0")
	token.Authorized = true
	for i := range limit / 8 {
		r.must(api.Publisher, fmt.Sprint("token", i), token)
	}
	if _, err := r.open(api.Publisher, "token", token); !errors.Is(err, api.ErrBusy) {
		t.Errorf("an authorized publisher beyond the limit: %v; expected %v", err, api.ErrBusy)
	}
	r.now += reachSpan
	for i := range 2 * limit {
		if err := flood(n + i); i < n && err != nil {
			t.Fatalf("request %d was refused: %v", i, err)
		}
	}
	r.now += reachSpan
	r.must(api.Publisher, "late", from("198.19.0.2"))
	if why, ok := r.ended[oldest]; ok {
		t.Errorf("a session that a check reached ended: %v", why)
	}
	for id, why := range r.ended {
		if why != api.ReasonEvicted {
			t.Errorf("session %d ended: %v; expected %v", id, why, api.ReasonEvicted)
		}
	}
	busy, evicted := r.census.denied[deniedBusy].Load(), r.census.evicted.Load()
	if busy == 0 || evicted == 0 {
		t.Errorf("%d refusals and %d evictions were counted; expected some of both", busy, evicted)
	}
	r.pass(2*pendingSpan + port.Second)
	if len(r.sessions) != 0 || len(r.pool.sources) != 0 {
		t.Errorf("%d sessions and %d sources are left; expected none", len(r.sessions), len(r.pool.sources))
	}
}

// Where no publisher can be authorized nothing is kept for one.
func TestNoReserve(t *testing.T) {
	const limit = 400
	r := newRegistry(t, func(c *SessionConfig) { c.MaxPending = limit })
	for n := range limit {
		r.must(api.Publisher, fmt.Sprint("s", n), from(fmt.Sprintf("198.18.%d.%d", n/256, n%256)))
	}
}

// A share is that of an IPv6 /64, and refusals of a source are counted apart from those of everybody.
func TestShareOfASource(t *testing.T) {
	for _, c := range []struct {
		limit, share int
		address      func(n int) string
	}{
		{4000, 1000, func(int) string { return "198.18.0.1" }},
		{4000, 1000, func(n int) string { return fmt.Sprintf("fd00:0:0:1::%x", n) }},
		{4000, 1000, func(n int) string { return "::ffff:198.18.0.1" }},
		{4000, 1000, func(n int) string { return "::" }}, // hidden by proxies
		{100, 64, func(int) string { return "198.18.0.1" }},
		{32, 28, func(int) string { return "198.18.0.1" }}, // all but the reserve
	} {
		r := newRegistry(t, func(s *SessionConfig) { s.MaxPending, s.Reserve = c.limit, true })
		n := 0
		for ; n < c.limit; n++ {
			if _, err := r.open(api.Publisher, fmt.Sprint("s", n), from(c.address(n))); err != nil {
				break
			}
		}
		if n != c.share {
			t.Errorf("of %d, %s had %d; expected %d", c.limit, c.address(0), n, c.share)
		}
		why := deniedShare
		if c.share < leastShare {
			why = deniedBusy
		}
		if got := r.census.denied[why].Load(); got != 1 {
			t.Errorf("%d refusals as %s; expected 1", got, denials[why].name)
		}
	}
}

// After any events in any order, the counts, the pool and the lists agree with the sessions.
func TestRegistryStaysWhole(t *testing.T) {
	for seed := range uint64(20) {
		r := newRegistry(t, func(c *SessionConfig) {
			c.MaxPending, c.Takeover, c.Grace = 40, seed%2 == 0,
				5*time.Second
		})
		random := rand.New(rand.NewPCG(seed, 1))
		var ids []api.SessionID
		for range 2000 {
			if len(ids) > 100 {
				ids = ids[50:]
			}
			id := api.SessionID(0)
			if len(ids) > 0 {
				id = ids[random.IntN(len(ids))]
			}
			switch random.IntN(9) {
			case 0, 1, 2:
				p := from(fmt.Sprintf("198.18.0.%d", random.IntN(4)))
				role := api.Role(1 + random.IntN(2))
				p.Authorized = role == api.Publisher && random.IntN(4) == 0
				if l, err := r.open(role, fmt.Sprint("s", random.IntN(5)), p); err == nil {
					ids = append(ids, l.ID)
				}
			case 3:
				r.says(bus.KindSessionReached, id)
			case 4:
				if s := r.sessions[id]; s != nil && !s.keyed {
					r.connect(id)
				}
			case 5:
				if s := r.sessions[id]; s != nil && s.publication != nil && s.keyed {
					r.says(bus.KindMediaBegan, id)
				}
			case 6:
				r.says(bus.KindSessionHeard, id)
			case 7:
				if s := r.sessions[id]; s != nil && random.IntN(2) == 0 {
					r.says(bus.KindSessionEnded, id)
				}
			default:
				r.pass(port.Time(random.Int64N(int64(2 * port.Second))))
			}
			r.told()
			r.check()
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
		r.shutdown()
		if len(r.sessions)+len(r.streams.named)+r.pool.all.Len()+
			r.pool.unreached.Len()+len(r.pool.sources)+r.streams.orphans.Len() != 0 {
			t.Errorf("seed %d: something is left after the end", seed)
		}
	}
}

// check holds the controller's accounts against its sessions.
func (r *registry) check() {
	r.t.Helper()
	var pending, unreached, live int
	bySource := make(map[*origin]int)
	for _, s := range r.sessions {
		if s.pending != nil {
			pending++
			if s.pending.unreached != nil {
				unreached++
			}
			if s.pending.source != nil {
				bySource[s.pending.source]++
			}
		}
		st := s.stream
		if r.streams.named[st.name] != st {
			r.t.Errorf("session %d has a stream that is none", s.spec.ID)
		}
		member := st.live == s
		for _, g := range []group{st.candidates, st.viewers} {
			member = member || s.place >= 0 && int(s.place) < len(g) && g[s.place] == s
		}
		if !member {
			r.t.Errorf("session %d is no member of its stream", s.spec.ID)
		}
	}
	waiting := 0
	for _, st := range r.streams.named {
		if st.live != nil {
			live++
		}
		if st.orphan != nil {
			waiting++
			if st.live != nil || len(st.viewers) == 0 {
				r.t.Errorf("stream %s waits for a publisher with %d viewers and live %v", st.name, len(st.viewers),
					st.live)
			}
		}
	}
	c := &r.census
	census := c.publishersPending.Load() + c.subscribersPending.Load()
	connected := c.publishers.Load() + c.subscribers.Load()
	for _, x := range []struct {
		name      string
		got, want int
	}{
		{"pending", r.pool.all.Len(), pending},
		{"pending in the census", int(census), pending},
		{"connected in the census", int(connected), len(r.sessions) - pending},
		{"unreached", r.pool.unreached.Len(), unreached},
		{"sources", len(r.pool.sources), len(bySource)},
		{"live streams in the census", int(c.streams.Load()), live},
		{"streams that wait", r.streams.orphans.Len(), waiting},
	} {
		if x.got != x.want {
			r.t.Errorf("%s: %d; expected %d", x.name, x.got, x.want)
		}
	}
	for o, n := range bySource {
		if o.pending != n {
			r.t.Errorf("%v has %d pending; expected %d", o.prefix, o.pending, n)
		}
	}
	if pending > r.pool.limit {
		r.t.Errorf("%d sessions are pending; expected at most %d", pending, r.pool.limit)
	}
}

// A track's format is taken from its own publication and session only.
func TestFormatActive(t *testing.T) {
	r := newRegistry(t, func(c *SessionConfig) { c.Takeover = true })
	first := r.publish("a")
	r.publish("b")
	generation := r.sessions[first].publication.generation
	for _, m := range []bus.Control{
		bus.FormatActive(first, bus.LayerID{Generation: generation}, 111),
		bus.FormatActive(first, bus.LayerID{Generation: generation - 1}, 1),
		bus.FormatActive(first, bus.LayerID{Generation: generation, Track: 1}, 2),
		bus.FormatActive(first+99, bus.LayerID{Generation: generation}, 3),
	} {
		r.handleMessage(&m)
	}
	if got := r.streams.named["a"].describe().Active; !slices.Equal(got, []int{111}) {
		t.Errorf("the first stream carries %v; expected 111", got)
	}
	if got := r.streams.named["b"].describe().Active; !slices.Equal(got, []int{-1}) {
		t.Errorf("the second stream carries %v; expected nothing", got)
	}
}

// The end comes in steps, between which the controller can be asked.
func TestShutdownInSteps(t *testing.T) {
	r := newRegistry(t, func(c *SessionConfig) { c.MaxPending = 4000 })
	for i := range 2*drainTurn + 1 {
		p := from("198.18.0.1")
		p.Source = netip.Addr{}
		r.must(api.Publisher, fmt.Sprint("s", i), p)
	}
	steps := 1
	for ; !r.shutdown(); steps++ {
		if n := len(r.ended); n != steps*drainTurn {
			t.Errorf("%d sessions ended after %d steps; expected %d", n, steps, steps*drainTurn)
		}
		if _, err := r.open(api.Publisher, "new", from("198.18.0.1")); !errors.Is(err, api.ErrClosing) {
			t.Errorf("a publisher meanwhile: %v; expected %v", err, api.ErrClosing)
		}
	}
	if steps != 3 || len(r.sessions) != 0 {
		t.Errorf("%d sessions are left after %d steps; expected none after 3", len(r.sessions), steps)
	}
}

// The list of streams is made a few times a second, however often it is requested.
func TestListOfStreams(t *testing.T) {
	r := newRegistry(t)
	e := &Engine{controller: r.controller, now: func() port.Time { return r.now }}
	stop := make(chan struct{})
	go r.run(stop)
	defer func() { close(stop); <-r.done }()
	publish := func(name string) {
		if err := r.do(t.Context(), func() { r.publish(name) }); err != nil {
			t.Fatal(err)
		}
	}
	publish("a")
	list := e.Streams()
	list[0].Name = "the caller's own"
	publish("b")
	if got := e.Streams(); len(got) != 1 || got[0].Name != "a" {
		t.Errorf("the list is %v; expected that of a moment ago", got)
	}
	r.now += listAge
	if got := e.Streams(); len(got) != 2 {
		t.Errorf("%d streams are listed later; expected 2", len(got))
	}
}

// The list has a publisher's first packet as soon as the engine reports it, which it does once.
func TestFirstPacketIsListed(t *testing.T) {
	r := newRegistry(t)
	e := &Engine{controller: r.controller, now: func() port.Time { return r.now }}
	stop := make(chan struct{})
	go r.run(stop)
	defer func() { close(stop); <-r.done }()
	began := 0
	e.OnMedia(func() { began++ })
	var id api.SessionID
	if err := r.do(t.Context(), func() { id = r.publish("a") }); err != nil {
		t.Fatal(err)
	}
	if got := e.Streams(); len(got) != 1 || got[0].Active[0] != -1 {
		t.Fatalf("got %+v before the first packet, want no payload type", got)
	}
	for _, payload := range []uint8{96, 97} {
		err := r.do(t.Context(), func() {
			m := bus.FormatActive(id, bus.LayerID{Generation: r.sessions[id].publication.generation}, payload)
			r.handleMessage(&m)
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := e.Streams(); got[0].Active[0] != 96 {
			t.Errorf("got payload type %d in the list after %d, want 96", got[0].Active[0], payload)
		}
	}
	if began != 1 {
		t.Errorf("got %d reports, want one", began)
	}
}

// A hidden pull is in no list, but it has a description.
func TestHiddenStream(t *testing.T) {
	r := diallers(t)
	e := &Engine{controller: r.controller, now: func() port.Time { return r.now }}
	l, err := r.dial(api.Publisher, "a at b", &api.Dial{Hidden: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.answered(l.ID, answerOf("198.18.0.9:7000")); err != nil {
		t.Fatal(err)
	}
	r.pull("pulled")
	stop := make(chan struct{})
	go r.run(stop)
	defer func() { close(stop); <-r.done }()
	if got := e.Streams(); len(got) != 1 || got[0].Name != "pulled" {
		t.Errorf("got the list %v, want the pull that is not hidden", got)
	}
	if got, ok := e.Stream("a at b"); !ok || got.Publisher != l.ID {
		t.Errorf("got the description %+v, want that of the hidden pull", got)
	}
}

// BenchmarkFormatActive measures one FormatActive with few and with many streams.
func BenchmarkFormatActive(b *testing.B) {
	for _, streams := range []int{100, 10_000} {
		b.Run(fmt.Sprint(streams), func(b *testing.B) {
			c := &controller{streams: streamSet{named: map[string]*stream{}}, sessions: map[api.SessionID]*session{}}
			for i := range streams {
				s := &session{publication: &publication{generation: bus.Generation(i + 1), active: []int{-1, -1}}}
				c.sessions[api.SessionID(i+1)] = s
				c.streams.named[fmt.Sprint("stream", i)] = &stream{id: bus.StreamID(i + 1), live: s}
			}
			n := 0
			for b.Loop() {
				n = (n + 37) % streams
				m := bus.FormatActive(api.SessionID(n+1), bus.LayerID{Generation: bus.Generation(n + 1)}, 0)
				c.handleMessage(&m)
			}
		})
	}
}

// BenchmarkExpire measures a tick with many sessions that do not expire.
func BenchmarkExpire(b *testing.B) {
	for _, sessions := range []int{200, 20_000} {
		b.Run(fmt.Sprint(sessions), func(b *testing.B) {
			c := &controller{now: func() port.Time { return port.Second }, sessions: map[api.SessionID]*session{}}
			st := &stream{live: &session{}}
			for i := range sessions {
				s := &session{spec: &bus.Session{Role: api.Subscriber}, stream: st, keyed: true}
				st.viewers.add(s)
				c.sessions[api.SessionID(i+1)] = s
			}
			for b.Loop() {
				c.expire()
			}
		})
	}
}

// A session that ends for an error leaves one record, which has the error beside the keys of every session's records.
func TestFailureInTheLog(t *testing.T) {
	r := newRegistry(t)
	var log strings.Builder
	r.log = slog.New(slog.NewTextHandler(&log,
		&slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))
	id := r.must(api.Publisher, "s", from("198.18.0.1"))
	r.says(bus.KindSessionClaimed, id)
	r.handleEvent(&dtls.Event{Kind: dtls.Failed, ID: id, Err: errors.New("no certificate")})
	const want = `level=INFO msg="session ended" session=1 stream=s role=publisher worker=0 reason="handshake ` +
		`failed" ` +
		`error="no certificate"` + "\n"
	if got := log.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestHandshakeBegins checks when a peer takes a place among the handshakes. An active one does with its first flight,
// a passive one as soon as a worker has claimed it.
func TestHandshakeBegins(t *testing.T) {
	r := newRegistry(t)
	started := func(want uint64) {
		t.Helper()
		if got := r.dtls.Stats().Started; got != want {
			t.Fatalf("%d handshakes have started; expected %d", got, want)
		}
	}
	active := r.must(api.Publisher, "s", from("198.18.0.1"))
	r.says(bus.KindSessionClaimed, active)
	started(0)
	r.says(bus.KindRecordReceived, active)
	started(1)
	r.says(bus.KindRecordReceived, active)
	started(1)

	offer := from("198.18.0.2")
	offer.Passive = true
	r.says(bus.KindSessionClaimed, r.must(api.Publisher, "t", offer))
	started(2)
}
