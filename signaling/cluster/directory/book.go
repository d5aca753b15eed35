package directory

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"
)

const (
	// maxFlights bounds the questions that a node has in the air.
	maxFlights = 256
	// cacheSpan and maxCache bound the cache of answers.
	cacheSpan, maxCache = time.Second, 10_000
	// settleSpan is the time to collect further answers after the first that is a yes.
	settleSpan = 20 * time.Millisecond
	// flightSpan is the time after which nobody waits for a question's answers any more.
	flightSpan = 2 * time.Second
	// Patience is the time that a client waits for an answer, where connections are warm.
	Patience = 300 * time.Millisecond
	// generationSpan and maxGenerations bound the memory of generations.
	generationSpan, maxGenerations = 10 * time.Minute, 100_000
	// loserSpan and maxLosers bound the memory of publishers that lost their stream.
	loserSpan, maxLosers = 30 * time.Second, 10_000
	// A node that fails maxFailures times within blameSpan is left out for as long.
	blameSpan, maxFailures = time.Minute, 3
	maxBlamed              = 1_000
	// A node whose beats stay away for absentSpan is no longer listed. maxNodes bounds the list.
	absentSpan, maxNodes = 10 * time.Second, 4_096
	// watchSpan is the mean time between two questions about a stream that is waited for, where a Book asks at all.
	watchSpan = 500 * time.Millisecond
	// retellSpan is the least time between two announcements of a stream to nodes with an older one.
	retellSpan = time.Second
)

// OutputKind is the kind of an Output.
type OutputKind uint8

const (
	// OutputNone is no Output: there are none left.
	OutputNone OutputKind = iota
	// OutputAsk, OutputTell and OutputBeat send Message; OutputAsk as question Number.
	OutputAsk
	OutputTell
	OutputBeat
	// OutputServe and OutputListen name a Stream whose messages come here until OutputUnserve and OutputUnlisten.
	OutputServe
	OutputUnserve
	OutputListen
	OutputUnlisten
	// OutputAnswer is the Answer for the look-up with Number as its ticket.
	OutputAnswer
	// OutputCheck: another node claims Stream, at Place. Checked takes the result.
	OutputCheck
	// OutputSuperseded: our publisher of Stream lost it to Place.
	OutputSuperseded
	// OutputFound: a stream that is waited for has its origin at Place.
	OutputFound
)

// Output is one thing for a Book's owner to do. Fields that its kind does not name are zero.
type Output struct {
	Kind    OutputKind
	Stream  string
	Number  uint64
	Message []byte
	Answer  Answer
	Place   Place
}

// BookConfig is how a Book decides.
type BookConfig struct {
	// Takeover lets a publisher take a stream from another node's, as it may from one of its own node.
	Takeover bool
	// Poll asks for streams that are waited for, each 500 ms. It is for transports that lose announcements, or have
	// them only from nodes that know of us.
	Poll bool
}

// A Book makes a directory's decisions. It does no I/O and reads no clock.
//
// The calls are SetSelf, SetViewers, Viewers, Where, Admit, Announce, Withdraw, Failed, Unanswered, Checked, Watch and
// Unwatch. News from others comes by Answer, Asked, Heard, Up and Down. Tick is called when the time of Next has come.
// After each of these the owner takes Outputs until there are none. Times never go back. A Book belongs to one
// goroutine at a time.
type Book struct {
	cfg     BookConfig
	rand    *rand.Rand
	self    Node
	outputs []Output

	flights map[string]*flight
	numbers map[uint64]*flight // the same, by the numbers of their questions
	tickets uint64
	cache   *memory[[]Place]
	sources *Sources
	watches map[string]*watch
	own     map[string]*publication
	seen    *memory[Generation]
	losers  *memory[struct{}]
	blamed  *memory[blame]
	// unanswered are the nodes that did not answer a pull.
	unanswered *memory[struct{}]
	claims     claims
	nodes      map[NodeID]acquaintance
	audience   audience
	beatNext   time.Time
	Counts     Counts
}

// Counts are a Book's counters, from its start.
type Counts struct {
	// Lookups are the answers given, by Verdict, and Questions those that were sent to other nodes.
	Lookups   [4]uint64
	Questions uint64
	// Refused are messages that could not be read.
	Refused uint64
	// Superseded are publishers of this node that lost their streams, and Unchecked are those admitted in silence.
	Superseded, Unchecked uint64
	// FalseClaims are the claims of other nodes to streams of this one for which they sent no media.
	FalseClaims uint64
	// LeftOut are the times that a node was left out after failures.
	LeftOut uint64
}

// publication is a stream that this node publishes.
type publication struct {
	publisher Publisher
	place     Place
	told      time.Time
}

// watch is a stream that is waited for.
type watch struct {
	count int
	next  time.Time // when to ask; zero where the Book does not poll
}

type blame struct {
	failures int
	out      bool
}

type acquaintance struct {
	node    *Node // read only, as the next: they belong to the beat
	viewers Viewers
	last    time.Time
}

// NewBook makes the Book of a node. Everything random comes from r.
func NewBook(cfg BookConfig, self Node, r *rand.Rand) *Book {
	return &Book{
		cfg: cfg, rand: r, self: self,
		flights: make(map[string]*flight),
		numbers: make(map[uint64]*flight),
		cache:   newMemory[[]Place](cacheSpan, maxCache),
		sources: NewSources(sourceRate, r.Uint64(), r.Uint64()),
		watches: make(map[string]*watch),
		own:     make(map[string]*publication),
		seen:    newMemory[Generation](generationSpan, maxGenerations),
		losers:  newMemory[struct{}](loserSpan, maxLosers),
		blamed:  newMemory[blame](blameSpan, maxBlamed),
		claims:  newClaims(),

		unanswered: newMemory[struct{}](blameSpan, maxBlamed),
		nodes:      make(map[NodeID]acquaintance),
		audience:   audience{elsewhere: make(Viewers)},
	}
}

// Output returns the next thing to do.
func (b *Book) Output() Output {
	if len(b.outputs) == 0 {
		b.outputs = nil
		return Output{}
	}
	o := b.outputs[0]
	b.outputs = b.outputs[1:]
	return o
}

func (b *Book) put(o Output) { b.outputs = append(b.outputs, o) }

// around returns a random duration from half of d to one and a half.
func (b *Book) around(d time.Duration) time.Duration {
	return d/2 + time.Duration(b.rand.Int64N(int64(d)+1))
}

// retry returns the time to wait after Unknown and Busy, 1 to 2 s, so that clients do not come back together.
func (b *Book) retry() time.Duration {
	return time.Second + time.Duration(b.rand.Int64N(int64(time.Second)))
}

// Next returns the time of the next Tick.
func (b *Book) Next() time.Time {
	next := b.beatNext
	if !b.claims.again.IsZero() {
		next = earlier(next, b.claims.again)
	}
	for _, f := range b.flights {
		next = earlier(next, f.next())
	}
	for _, w := range b.watches {
		if b.cfg.Poll {
			next = earlier(next, w.next)
		}
	}
	return next
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// Tick does all that is due.
func (b *Book) Tick(now time.Time) {
	for _, f := range b.dueFlights(now) {
		b.advance(now, f)
	}
	if b.cfg.Poll {
		b.poll(now)
	}
	if again := b.claims.again; !again.IsZero() && !now.Before(again) {
		b.claims.again = time.Time{}
		b.Up(now, "")
	}
	if !now.Before(b.beatNext) {
		b.beat(now)
	}
}

// beat sends a beat each second, or less often where there are many nodes, so that each gets 32 beats a second.
func (b *Book) beat(now time.Time) {
	for id, a := range b.nodes {
		if now.Sub(a.last) > absentSpan+2*b.beatSpan() {
			b.part(id)
		}
	}
	self := b.self
	beat := message{Kind: kindBeat, From: self.ID, Beat: &self, Viewers: b.audience.here.most()}
	b.put(Output{Kind: OutputBeat, Message: beat.encode()})
	// A fifth more or less keeps nodes that started together apart.
	span := b.beatSpan()
	b.beatNext = now.Add(span*4/5 + time.Duration(b.rand.Int64N(int64(span)*2/5)))
}

func (b *Book) beatSpan() time.Duration {
	return max(time.Second, time.Duration(len(b.nodes)+1)*time.Second/32)
}

// Known is a node and the time since its last beat.
type Known struct {
	Node
	Age time.Duration
}

// Known returns the other nodes, by their ids.
func (b *Book) Known(now time.Time) []Known {
	nodes := make([]Known, 0, len(b.nodes))
	for _, a := range b.nodes {
		nodes = append(nodes, Known{*a.node, now.Sub(a.last)})
	}
	slices.SortFunc(nodes, func(x, y Known) int { return cmp.Compare(x.ID, y.ID) })
	return nodes
}

// Nodes returns the other nodes, by their ids.
func (b *Book) Nodes() []Node {
	known := b.Known(time.Time{})
	nodes := make([]Node, len(known))
	for i := range known {
		nodes[i] = known[i].Node
	}
	return nodes
}

// Failed reports that a pull from the node failed by its fault. The result is set where the node is left out from now
// on.
func (b *Book) Failed(now time.Time, node NodeID) (leftOut bool) {
	bad, _ := b.blamed.get(now, string(node))
	if bad.out {
		return false
	}
	bad.failures++
	bad.out = bad.failures >= maxFailures
	b.blamed.put(now, string(node), bad)
	if bad.out {
		b.Counts.LeftOut++
	}
	return bad.out
}

// Unanswered reports that the node did not answer a pull. Its places count only where there are no others.
func (b *Book) Unanswered(now time.Time, node NodeID) {
	b.unanswered.put(now, string(node), struct{}{})
}

// doubt orders nodes: 0 for most, more for one that did not answer, and most for one that is left out.
func (b *Book) doubt(now time.Time, node NodeID) int {
	if b.out(now, node) {
		return 2
	}
	if _, ok := b.unanswered.get(now, string(node)); ok {
		return 1
	}
	return 0
}

// Up reports that messages reach a node again, or some node where the id is empty. Publications are announced again:
// each side of a partition may have its own.
func (b *Book) Up(now time.Time, _ NodeID) {
	for _, stream := range b.ownStreams() {
		b.tell(now, stream)
	}
}

// Down reports that messages no longer reach a node.
func (b *Book) Down(node NodeID) { b.part(node) }

// News is a message of another node that answers no question: an announcement, its end, or a beat. It is read only, so
// that Books may share it.
type News struct{ message message }

// ReadNews reads news. It fails for any other message.
func ReadNews(text []byte) (News, error) {
	m, err := decode(text)
	if err == nil && (m.Kind == kindWhere || m.Kind == kindPlaces) {
		err = errKind
	}
	return News{m}, err
}

// Heard takes news that ReadNews has read.
func (b *Book) Heard(now time.Time, n News) {
	m := &n.message
	if m.From == b.self.ID {
		return
	}
	switch m.Kind {
	case kindUp:
		b.announced(now, m.Stream, m.Places[0])
	case kindGone:
		b.cache.remove(m.Stream)
		b.unclaim(m.Stream, m.From)
	case kindBeat:
		if _, known := b.nodes[m.From]; known || len(b.nodes) < maxNodes {
			b.met(now, m)
		}
	}
}

// Reply returns the answer of the node self to another node's question, and the number of that question. places has the
// places from which the asker may pull the stream.
func Reply(self NodeID, text []byte, places func(stream string, asker NodeID) []Place) (answer []byte, number uint64,
	err error,
) {
	m, err := decode(text)
	if err != nil {
		return nil, 0, err
	}
	if m.Kind != kindWhere {
		return nil, 0, errKind
	}
	named := places(m.Stream, m.From)
	named = named[:min(len(named), maxPlaces)]
	reply := message{Kind: kindPlaces, From: self, Question: m.Question, Stream: m.Stream, Places: named}
	return reply.encode(), m.Question, nil
}

// SetSelf changes the description of this node. Its id stays.
func (b *Book) SetSelf(self Node) {
	self.ID = b.self.ID
	b.self = self
}
