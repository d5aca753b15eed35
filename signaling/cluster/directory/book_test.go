package directory

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// A desk is a Book with its time, and the outputs that nobody has looked at.
type desk struct {
	*Book
	t   *testing.T
	now time.Time
	out []Output
}

var anybody = netip.MustParseAddr("198.18.0.1")

func newDesk(t *testing.T, cfg BookConfig, id NodeID) *desk {
	r := rand.New(rand.NewPCG(1, uint64(len(id))))
	d := &desk{t: t, now: time.Unix(1_800_000_000, 0)}
	d.Book = NewBook(cfg, Node{ID: id, URL: "https://" + string(id) + ".example", Region: "eu-west"}, r)
	d.Tick(d.now)
	d.take(OutputBeat)
	return d
}

// take returns the outputs of one kind since the last call, and forgets all others.
func (d *desk) take(k OutputKind) []Output {
	d.collect()
	var of []Output
	for _, o := range d.out {
		if o.Kind == k {
			of = append(of, o)
		}
	}
	d.out = nil
	return of
}

func (d *desk) collect() {
	for o := d.Output(); o.Kind != OutputNone; o = d.Output() {
		d.out = append(d.out, o)
	}
}

// hear takes news of another node.
func (d *desk) hear(text []byte) {
	d.t.Helper()
	news, err := ReadNews(text)
	if err != nil {
		d.t.Fatal(err)
	}
	d.Heard(d.now, news)
}

// pass lets time pass.
func (d *desk) pass(span time.Duration) {
	end := d.now.Add(span)
	for next := d.Next(); !next.After(end); next = d.Next() {
		d.now = next
		d.Tick(d.now)
		d.collect()
	}
	d.now = end
}

// ask begins a look-up that has to ask, and returns its ticket and the number of its question.
func (d *desk) ask(stream string) (ticket, number uint64) {
	d.t.Helper()
	a, ticket := d.Where(d.now, stream, anybody, Patience)
	asked := d.take(OutputAsk)
	if ticket == 0 || len(asked) != 1 {
		d.t.Fatalf("%s: got answer %v and %d questions, want a question", stream, a, len(asked))
	}
	return ticket, asked[0].Number
}

// answer gives an answer from a node.
func (d *desk) answer(from NodeID, stream string, number uint64, places ...Place) {
	d.t.Helper()
	m := message{Kind: kindPlaces, From: from, Stream: stream, Question: number, Places: places}
	if !d.Answer(d.now, number, m.encode()) {
		d.t.Fatalf("got no genuine answer of %s, want one", from)
	}
}

// got returns the answer that a ticket has, or fails.
func (d *desk) got(ticket uint64) Answer {
	d.t.Helper()
	answers := d.take(OutputAnswer)
	if len(answers) != 1 || answers[0].Number != ticket {
		d.t.Fatalf("got answers %+v, want one for ticket %d", answers, ticket)
	}
	return answers[0].Answer
}

// at makes a place from its path.
func at(count uint64, path ...NodeID) Place {
	id := path[len(path)-1]
	return Place{
		Node: id, URL: "https://" + string(id) + ".example", Region: "eu-west",
		Generation: Generation{Count: count, Tie: 1}, Path: path,
	}
}

// A no needs all nodes. It holds for a second.
func TestNowhere(t *testing.T) {
	d := newDesk(t, BookConfig{}, "self")
	ticket, number := d.ask("live")
	d.answer("a", "live", number)
	d.answer("b", "live", number)
	if early := d.take(OutputAnswer); len(early) > 0 {
		t.Fatalf("got %+v before all have answered, want nothing", early)
	}
	d.Asked(d.now, number, Complete)
	if a := d.got(ticket); a.Verdict != Nowhere {
		t.Errorf("got %v, want no", a.Verdict)
	}
	if a, ticket := d.Where(d.now, "live", anybody, Patience); ticket != 0 || a.Verdict != Nowhere {
		t.Errorf("got %v, want no from the cache", a.Verdict)
	}
	d.pass(cacheSpan)
	d.ask("live")
}

// A node that does not answer makes the answer unknown, at once or after 300 ms. Nothing keeps it.
func TestUnknown(t *testing.T) {
	d := newDesk(t, BookConfig{}, "self")
	ticket, number := d.ask("live")
	d.answer("a", "live", number)
	d.Asked(d.now, number, Partial)
	if a := d.got(ticket); a.Verdict != Unknown || a.Retry < time.Second || a.Retry > 2*time.Second {
		t.Errorf("got %+v, want unknown and 1 to 2 s", a)
	}
	ticket, number = d.ask("live")
	start := d.now
	d.pass(Patience - 1)
	if early := d.take(OutputAnswer); len(early) > 0 {
		t.Fatalf("got %+v before 300 ms, want nothing", early)
	}
	d.pass(1)
	if a := d.got(ticket); a.Verdict != Unknown {
		t.Errorf("got %v after %v, want unknown", a.Verdict, d.now.Sub(start))
	}
	// The question goes on: its answer serves those who ask again.
	d.answer("a", "live", number, at(1, "a"))
	d.pass(settleSpan)
	if a, ticket := d.Where(d.now, "live", anybody, Patience); ticket != 0 || a.Verdict != Found {
		t.Errorf("got %v, want yes from the late answer", a.Verdict)
	}
	d.ask("other")
	d.pass(flightSpan)
	if len(d.flights) != 0 || len(d.numbers) != 0 {
		t.Errorf("got %d questions in the air after 2 s, want 0", len(d.flights))
	}
}

// Answers are collected for 20 ms after the first. The newest generation counts.
func TestFound(t *testing.T) {
	d := newDesk(t, BookConfig{}, "self")
	ticket, number := d.ask("live")
	d.answer("a", "live", number, at(3, "a"), at(3, "a", "c"))
	d.pass(settleSpan - 1)
	d.answer("b", "live", number, at(4, "b"), at(4, "b", "d"), at(4, "b", "self"), at(4, "b", "self", "e"))
	d.answer("d", "live", number, at(4, "b", "d"), at(4, "b", "d", "f", "g"))
	d.pass(1)
	a := d.got(ticket)
	var nodes []NodeID
	for _, p := range a.Places {
		nodes = append(nodes, p.Node)
	}
	slices.Sort(nodes)
	// self and e have us in their paths, g is too deep for another hop.
	if a.Verdict != Found || !slices.Equal(nodes, []NodeID{"b", "d"}) {
		t.Errorf("got %v at %v, want yes at b and d", a.Verdict, nodes)
	}
	if p := d.Announce(d.now, "live", Publisher{}); p.Generation.Count != 5 {
		t.Errorf("got generation %v, want one after 4", p.Generation)
	}
}

// However many wait, there is one question. Sources and the whole node have bounds.
func TestBounds(t *testing.T) {
	d := newDesk(t, BookConfig{}, "self")
	for range 1000 {
		d.Where(d.now, "live", anybody, Patience)
	}
	for i := range sourceRate - 1 {
		d.Where(d.now, fmt.Sprint("name", i), anybody, Patience)
	}
	if asked := d.take(OutputAsk); len(asked) != sourceRate {
		t.Errorf("got %d questions, want %d", len(asked), sourceRate)
	}
	if a, _ := d.Where(d.now, "more", anybody, Patience); a.Verdict != Busy || a.Retry < time.Second {
		t.Errorf("got %+v after %d names of a source, want busy", a, sourceRate)
	}
	for i := range 2 * maxFlights {
		d.Where(d.now, fmt.Sprint("other", i), netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), Patience)
	}
	if len(d.flights) != maxFlights {
		t.Errorf("got %d questions in the air, want %d", len(d.flights), maxFlights)
	}
	d.pass(time.Second / sourceRate)
	d.Where(d.now, "live", anybody, Patience)
	if got := d.Counts.Questions; got != maxFlights {
		t.Errorf("got %d questions, want %d", got, maxFlights)
	}
}

// An IPv6 source is its /64, and IPv4 in IPv6 is IPv4.
func TestSources(t *testing.T) {
	s := NewSources(sourceRate, 1, 2)
	now := time.Unix(1_800_000_000, 0)
	took := func(address string) (n int) {
		for s.Take(now, netip.MustParseAddr(address)) {
			n++
		}
		return n
	}
	for _, test := range []struct {
		address string
		want    int
	}{
		{"fd00::1", 20}, {"fd00::2", 0}, {"fd00:0:0:1::1", 20}, {"198.18.0.1", 20}, {"::ffff:198.18.0.1", 0},
	} {
		if got := took(test.address); got != test.want {
			t.Errorf("%s: got %d look-ups, want %d", test.address, got, test.want)
		}
	}
	now = now.Add(500 * time.Millisecond)
	if got := took("fd00::1"); got != 10 {
		t.Errorf("got %d look-ups after half a second, want 10", got)
	}
}

// A hundred thousand random names fill nothing, whether they come from one source or from many.
func TestRandomNames(t *testing.T) {
	for _, sources := range []int{1, 100_000} {
		d := newDesk(t, BookConfig{}, "self")
		start, questions := d.now, 0
		for i := range 100_000 {
			source := netip.AddrFrom4([4]byte{198, 18 + byte(i%sources>>16), byte(i % sources >> 8), byte(i % sources)})
			d.Where(d.now, fmt.Sprintf("%016x", d.rand.Uint64()), source, Patience)
			for _, o := range d.take(OutputAsk) {
				questions++
				d.answer("a", o.Stream, o.Number)
				d.Asked(d.now, o.Number, Complete)
			}
			d.pass(time.Millisecond)
		}
		seconds := d.now.Sub(start).Seconds()
		if most := sourceRate * (seconds + 1) * float64(sources); float64(questions) > most {
			t.Errorf("%d sources: got %d questions in %.0f s, want %.0f at most", sources, questions, seconds, most)
		}
		if len(d.cache.entries) > maxCache || len(d.cache.order) > 2*maxCache+16 || len(d.seen.entries) > 0 {
			t.Errorf("%d sources: got %d names in the cache and %d generations, want %d and 0 at most", sources,
				len(d.cache.entries), len(d.seen.entries), maxCache)
		}
		t.Logf("%d sources: %d questions in %.0f s, %d names in the cache", sources, questions, seconds,
			len(d.cache.entries))
	}
}

// An announcement clears a name at once, and reaches those that wait.
func TestAnnouncement(t *testing.T) {
	d := newDesk(t, BookConfig{}, "self")
	_, number := d.ask("live")
	d.Asked(d.now, number, Complete)
	d.Watch(d.now, "live")
	if listens := d.take(OutputListen); len(listens) != 1 {
		t.Errorf("got %d streams to listen to, want 1", len(listens))
	}
	up := message{Kind: kindUp, From: "a", Stream: "live", Places: []Place{at(7, "a")}}
	d.hear(up.encode())
	if found := d.take(OutputFound); len(found) != 1 || found[0].Place.Node != "a" {
		t.Errorf("got %+v, want the place of a", found)
	}
	d.ask("live")
	d.Unwatch("live")
	d.hear(up.encode())
	if found := d.take(OutputFound); len(found) != 0 {
		t.Errorf("got %+v after the end of the watch, want nothing", found)
	}
	if p := d.Announce(d.now, "live", Publisher{}); p.Generation.Count != 8 {
		t.Errorf("got generation %v, want 8", p.Generation)
	}
}

// A Book that polls asks twice a second for the streams that are waited for.
func TestPoll(t *testing.T) {
	d := newDesk(t, BookConfig{Poll: true}, "self")
	d.Watch(d.now, "live")
	asked := 0
	for range 1000 {
		d.pass(10 * time.Millisecond)
		for _, o := range d.take(OutputAsk) {
			asked++
			d.Asked(d.now, o.Number, Complete)
		}
	}
	if asked < 15 || asked > 25 {
		t.Errorf("got %d questions in 10 s, want about 20", asked)
	}
	d.pass(time.Second)
	o := d.take(OutputAsk)[0]
	d.answer("a", "live", o.Number, at(1, "a"))
	d.pass(settleSpan)
	if found := d.take(OutputFound); len(found) != 1 {
		t.Errorf("got %d places, want 1", len(found))
	}
}

// exchange carries announcements between two desks until there are none.
func exchange(a, b *desk) {
	for {
		a.prove(Proven)
		b.prove(Proven)
		fromA, fromB := a.tells(), b.tells()
		if len(fromA)+len(fromB) == 0 {
			return
		}
		for _, o := range fromA {
			b.hear(o.Message)
		}
		for _, o := range fromB {
			a.hear(o.Message)
		}
	}
}

// prove gives all checks of claims a result, and returns their number.
func (d *desk) prove(result Proof) (checks int) {
	d.collect()
	d.out = slices.DeleteFunc(d.out, func(o Output) bool {
		if o.Kind == OutputCheck {
			checks++
			d.Checked(d.now, o.Stream, o.Place.Node, result)
		}
		return o.Kind == OutputCheck
	})
	return checks
}

// tells takes the announcements, and leaves all other outputs.
func (d *desk) tells() (tells []Output) {
	d.collect()
	d.out = slices.DeleteFunc(d.out, func(o Output) bool {
		if o.Kind == OutputTell {
			tells = append(tells, o)
		}
		return o.Kind == OutputTell
	})
	return tells
}

// Two publishers at once: the older one ends, and is refused for 30 s, by its source or its token.
func TestTwoPublishers(t *testing.T) {
	for _, takeover := range []bool{false, true} {
		x, y := newDesk(t, BookConfig{Takeover: takeover}, "x"), newDesk(t, BookConfig{Takeover: takeover}, "yy")
		p := Publisher{Source: anybody, Subject: "token"}
		a, b := x.Announce(x.now, "live", p), y.Announce(y.now, "live", p)
		exchange(x, y)
		loser, winner := x, y
		if a.Generation.Newer(b.Generation) {
			loser, winner = y, x
		}
		if lost := loser.take(OutputSuperseded); len(lost) != 1 || lost[0].Place.Node != winner.self.ID {
			t.Fatalf("got %+v at the older one, want it superseded", lost)
		}
		if lost := winner.take(OutputSuperseded); len(lost) != 0 {
			t.Errorf("got %+v at the newer one, want nothing", lost)
		}
		found := Answer{Verdict: Found}
		for _, back := range []struct {
			Publisher
			want error
		}{
			{p, ErrLost},
			{Publisher{Source: anybody}, ErrLost},
			{Publisher{Subject: "token"}, ErrLost},
			{Publisher{Source: netip.MustParseAddr("198.18.0.2"), Subject: "other"}, nil},
		} {
			want := back.want
			if want == nil && !takeover {
				want = ErrTaken
			}
			if err := loser.Admit(loser.now, "live", back.Publisher, found); !errors.Is(err, want) {
				t.Errorf("takeover %t: %+v comes: got %v, want %v", takeover, back.Publisher, err, want)
			}
		}
		loser.pass(loserSpan)
		if loser.Lost(loser.now, "live", p) {
			t.Error("got a loser after 30 s, want none")
		}
	}
}

// After a partition both announce again, and one stays.
func TestPartitionHeals(t *testing.T) {
	x, y := newDesk(t, BookConfig{}, "x"), newDesk(t, BookConfig{}, "yy")
	x.Announce(x.now, "live", Publisher{})
	y.Announce(y.now, "live", Publisher{})
	x.tells()
	y.tells()
	x.Up(x.now, "yy") // one side notices first, and that is enough
	y.pass(retellSpan)
	exchange(x, y)
	if n := len(x.own) + len(y.own); n != 1 {
		t.Errorf("got %d publishers, want 1", n)
	}
}

// A node that fails three times in a minute is left out for a minute.
func TestLeftOut(t *testing.T) {
	d := newDesk(t, BookConfig{}, "self")
	verdict := func() Verdict {
		d.pass(cacheSpan)
		ticket, number := d.ask("live")
		d.answer("a", "live", number, at(1, "a"))
		d.Asked(d.now, number, Complete)
		return d.got(ticket).Verdict
	}
	for i := range maxFailures {
		if v := verdict(); v != Found {
			t.Errorf("got %v after %d failures, want yes", v, i)
		}
		if out := d.Failed(d.now, "a"); out != (i == maxFailures-1) {
			t.Errorf("got left out %t after %d failures", out, i+1)
		}
	}
	if v := verdict(); v != Unknown {
		t.Errorf("got %v after three failures, want unknown", v)
	}
	d.pass(blameSpan)
	if v := verdict(); v != Found {
		t.Errorf("got %v after a minute, want yes", v)
	}
}

// A node that did not answer counts only where no other has the stream, however new its place, for a minute.
func TestUnanswered(t *testing.T) {
	d := newDesk(t, BookConfig{}, "self")
	for range 10 {
		d.Unanswered(d.now, "mute")
	}
	for _, test := range []struct {
		after  time.Duration
		others bool
		want   NodeID
	}{
		{0, true, "other"}, {0, false, "mute"}, {blameSpan, true, "mute"},
	} {
		d.pass(test.after + cacheSpan)
		ticket, number := d.ask("live")
		d.answer("mute", "live", number, at(9, "mute"))
		if test.others {
			d.answer("other", "live", number, at(1, "other"))
		}
		d.Asked(d.now, number, Complete)
		if a := d.got(ticket); a.Verdict != Found || len(a.Places) != 1 || a.Places[0].Node != test.want {
			t.Errorf("%v later, others have it: %v: got %+v, want %s", test.after, test.others, a, test.want)
		}
	}
}

// Nodes are listed by their beats, each second or less often where there are many, and until these stay away.
func TestBeats(t *testing.T) {
	d := newDesk(t, BookConfig{}, "self")
	node := Node{ID: "a", URL: "https://a.example"}
	d.hear((&message{Kind: kindBeat, From: "a", Beat: &node}).encode())
	if nodes := d.Nodes(); !slices.Equal(nodes, []Node{node}) {
		t.Errorf("got %+v, want a", nodes)
	}
	d.pass(10 * time.Second)
	if beats := len(d.take(OutputBeat)); beats < 8 || beats > 13 {
		t.Errorf("got %d beats in 10 s, want about 10", beats)
	}
	d.pass(absentSpan)
	if nodes := d.Nodes(); len(nodes) != 0 {
		t.Errorf("got %+v after 20 s of silence, want none", nodes)
	}
	for i := range 6400 - 1 {
		node := Node{ID: NodeID(fmt.Sprint("n", i)), URL: "https://a.example"}
		d.hear((&message{Kind: kindBeat, From: node.ID, Beat: &node}).encode())
	}
	if n := len(d.Nodes()); n != maxNodes {
		t.Errorf("got %d nodes, want %d at most", n, maxNodes)
	}
	if span := d.beatSpan(); span < 128*time.Second || span > 129*time.Second {
		t.Errorf("got a beat each %v of %d nodes, want nodes/32 s", span, maxNodes)
	}
}

// The viewers of a stream at other nodes are the sum over their last beats, without nodes that are gone. A beat has the
// streams with the most viewers, and numbers that cannot be count nothing.
func TestViewers(t *testing.T) {
	d := newDesk(t, BookConfig{}, "self")
	beat := func(id NodeID, v Viewers) {
		node := Node{ID: id, URL: "https://a.example"}
		d.hear((&message{Kind: kindBeat, From: id, Beat: &node, Viewers: v}).encode())
	}
	want := func(when string, live, other int) {
		t.Helper()
		if a, b := d.Viewers("live"), d.Viewers("other"); a != live || b != other {
			t.Errorf("%s: got %d and %d viewers, want %d and %d", when, a, b, live, other)
		}
	}
	beat("a", Viewers{"live": 3, "other": 1})
	beat("b", Viewers{"live": 4})
	want("two nodes", 7, 1)
	beat("a", Viewers{"live": 5})
	want("a second beat", 9, 0)
	beat("a", Viewers{"live": -5, "other": maxViewers + 1, "": 4})
	want("impossible numbers", 4, 0)
	d.Down("b")
	want("a node is down", 0, 0)
	beat("b", Viewers{"live": 4})
	d.pass(absentSpan + 5*time.Second)
	want("a node is silent", 0, 0)
	if n := len(d.audience.elsewhere); n != 0 {
		t.Errorf("got %d streams after all nodes have gone, want none", n)
	}

	many := make(Viewers)
	for i := range 2 * maxCounted {
		many[fmt.Sprint("s", i)] = i + 1
	}
	beat("a", many)
	want("too many streams", 0, 0)
	for _, pad := range []int{0, maxStream - 8} {
		clear(many)
		for i := range 2 * maxCounted {
			many[fmt.Sprint("s", i)+strings.Repeat("x", pad)] = i + 1
		}
		d.SetViewers(many)
		d.pass(2 * time.Second)
		beats := d.take(OutputBeat)
		m, err := decode(beats[len(beats)-1].Message)
		if err != nil {
			t.Fatal(err)
		}
		n := len(m.Viewers)
		for i := range n {
			if name := fmt.Sprint("s", 2*maxCounted-1-i) + strings.Repeat("x", pad); m.Viewers[name] == 0 {
				t.Errorf("%s is not among the %d streams of a beat, want those with the most viewers", name, n)
			}
		}
		if pad == 0 && n != maxCounted || n == 0 || n*pad > maxCountedBytes {
			t.Errorf("got %d streams with %d bytes more in a beat, want as many as there is room for", n, pad)
		}
	}
}

// The nearest region comes first, and two random places there share by load.
func TestOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var places []Place
	for i, region := range []string{"us-west-1", "eu-west-1", "eu-west-1", "eu-west-1", "eu-west-2", "eu-north-1", ""} {
		places = append(places, Place{Node: NodeID(fmt.Sprint(i)), Region: region, Load: Load{Sessions: i}})
	}
	first := make(map[NodeID]int)
	for range 3000 {
		Order(places, "eu-west-1", r)
		first[places[0].Node]++
		if places[3].Region != "eu-west-2" || places[4].Region != "eu-north-1" {
			t.Fatalf("got %+v, want the nearest region first", places)
		}
	}
	// Nodes 1, 2 and 3 are of the region. The less loaded of two random ones is first: 2/3, 1/3, never the third.
	if first["1"] < 1800 || first["2"] < 800 || first["3"] != 0 {
		t.Errorf("got %v times as the first, want about 2000 for 1 and 1000 for 2", first)
	}
}

func TestMemory(t *testing.T) {
	m := newMemory[int](time.Second, 3)
	now := time.Unix(0, 0)
	for i := range 1000 {
		m.put(now, "again", i)
	}
	if len(m.order) > 20 {
		t.Errorf("got %d elements for one entry, want few", len(m.order))
	}
	for i, key := range []string{"a", "b", "c"} {
		m.put(now.Add(time.Duration(i+1)), key, i)
	}
	if _, ok := m.get(now, "again"); ok || len(m.entries) != 3 {
		t.Errorf("got %d entries, want 3 without the oldest", len(m.entries))
	}
	if v, ok := m.get(now.Add(time.Second), "b"); !ok || v != 1 {
		t.Errorf("got %d, %t, want 1 just before its end", v, ok)
	}
	if _, ok := m.get(now.Add(time.Second+2), "b"); ok {
		t.Error("got an entry after its end, want none")
	}
	m.put(now.Add(2*time.Second), "d", 4)
	if len(m.entries) != 1 {
		t.Errorf("got %d entries, want the only one that has not expired", len(m.entries))
	}
}
