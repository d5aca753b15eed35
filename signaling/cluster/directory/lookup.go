package directory

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// flight is a question in the air, and all that wait for its answers.
type flight struct {
	stream  string
	number  uint64
	places  []Place   // of the newest generation that was answered
	settle  time.Time // when to take the places that there are; zero before the first
	end     time.Time
	waiters []waiter // by deadline
}

type waiter struct {
	ticket   uint64
	deadline time.Time
}

func (f *flight) next() time.Time {
	next := f.end
	if !f.settle.IsZero() {
		next = earlier(next, f.settle)
	}
	if len(f.waiters) > 0 {
		next = earlier(next, f.waiters[0].deadline)
	}
	return next
}

// Where looks up a stream for a client that waits at most as long as patience. Where the ticket is 0, the answer is
// complete. Otherwise it comes as an OutputAnswer with the ticket as its Number.
func (b *Book) Where(now time.Time, stream string, source netip.Addr, patience time.Duration) (
	a Answer, ticket uint64,
) {
	if places, ok := b.cache.get(now, stream); ok {
		return b.count(b.answer(now, places)), 0
	}
	f := b.flights[stream]
	if f == nil {
		if len(b.flights) >= maxFlights || !b.sources.Take(now, source) {
			return b.count(Answer{Verdict: Busy, Retry: b.retry()}), 0
		}
		f = b.ask(now, stream)
	}
	b.tickets++
	w := waiter{b.tickets, now.Add(patience)}
	at, _ := slices.BinarySearchFunc(f.waiters, w, func(x, y waiter) int {
		return cmp.Or(x.deadline.Compare(y.deadline), cmp.Compare(x.ticket, y.ticket))
	})
	f.waiters = slices.Insert(f.waiters, at, w)
	return Answer{}, w.ticket
}

func (b *Book) count(a Answer) Answer {
	b.Counts.Lookups[a.Verdict]++
	return a
}

// ask sends a question to the other nodes.
func (b *Book) ask(now time.Time, stream string) *flight {
	f := &flight{stream: stream, number: b.rand.Uint64() | 1, end: now.Add(flightSpan)}
	b.flights[stream], b.numbers[f.number] = f, f
	b.Counts.Questions++
	question := message{Kind: kindWhere, From: b.self.ID, Question: f.number, Stream: stream}
	b.put(Output{Kind: OutputAsk, Number: f.number, Stream: stream, Message: question.encode()})
	return f
}

// Answer takes an answer to a question. It reports false for one that does not fit. One that comes too late is ignored.
func (b *Book) Answer(now time.Time, number uint64, text []byte) (genuine bool) {
	f := b.numbers[number]
	if f == nil {
		return true
	}
	m, err := decode(text)
	if err != nil || m.Kind != kindPlaces || m.Question != number || m.Stream != f.stream {
		b.Counts.Refused++
		return false
	}
	for _, p := range m.Places {
		b.learn(now, f, p)
	}
	return true
}

// learn takes a place that somebody named to a flight.
func (b *Book) learn(now time.Time, f *flight, p Place) {
	b.remember(now, f.stream, p.Generation)
	if p.Path.Has(b.self.ID) {
		return
	}
	newest, doubt := f.places, b.doubt(now, p.Node)
	switch {
	case len(newest) == 0:
		f.settle = now.Add(settleSpan)
		f.places = []Place{p}
	case doubt != b.doubt(now, newest[0].Node): // a node that failed counts less, however new its place
		if doubt < b.doubt(now, newest[0].Node) {
			f.places = []Place{p}
		}
	case p.Generation.Newer(newest[0].Generation):
		f.places = []Place{p}
	case p.Generation == newest[0].Generation && len(newest) < maxPlaces &&
		!slices.ContainsFunc(newest, func(q Place) bool { return q.Node == p.Node }):
		f.places = append(newest, p)
	}
}

// Asked ends a question: no more answers come.
func (b *Book) Asked(now time.Time, number uint64, heard Completeness) {
	f := b.numbers[number]
	switch {
	case f == nil:
	case len(f.places) > 0 || heard == Complete:
		b.land(now, f)
	default:
		b.lose(f)
	}
}

// dueFlights returns the flights with something to do. They come in one order, for the same seed to do the same.
func (b *Book) dueFlights(now time.Time) []*flight {
	var due []*flight
	for _, f := range b.flights {
		if !now.Before(f.next()) {
			due = append(due, f)
		}
	}
	slices.SortFunc(due, func(x, y *flight) int { return strings.Compare(x.stream, y.stream) })
	return due
}

func (b *Book) advance(now time.Time, f *flight) {
	switch {
	case len(f.places) > 0 && !now.Before(f.settle):
		b.land(now, f)
	case !now.Before(f.end):
		b.lose(f)
	default:
		for len(f.waiters) > 0 && !now.Before(f.waiters[0].deadline) {
			b.reply(f.waiters[0].ticket, Answer{Verdict: Unknown, Retry: b.retry()})
			f.waiters = f.waiters[1:]
		}
	}
}

func (b *Book) forget(f *flight) {
	delete(b.flights, f.stream)
	delete(b.numbers, f.number)
}

// land ends a flight with an answer that holds for a moment.
func (b *Book) land(now time.Time, f *flight) {
	b.forget(f)
	b.cache.put(now, f.stream, f.places)
	for _, w := range f.waiters {
		b.reply(w.ticket, b.answer(now, f.places))
	}
	if b.watches[f.stream] != nil {
		b.found(f.stream, f.places)
	}
}

// lose ends a flight without an answer.
func (b *Book) lose(f *flight) {
	b.forget(f)
	for _, w := range f.waiters {
		b.reply(w.ticket, Answer{Verdict: Unknown, Retry: b.retry()})
	}
}

func (b *Book) reply(ticket uint64, a Answer) {
	b.put(Output{Kind: OutputAnswer, Number: ticket, Answer: b.count(a)})
}

// answer makes the answer from places of one generation, the best first.
func (b *Book) answer(now time.Time, places []Place) Answer {
	if len(places) == 0 {
		return Answer{Verdict: Nowhere}
	}
	leftOut := func(p Place) bool {
		return b.out(now, p.Node) || !p.Path.Feeds(b.self.ID)
	}
	left := slices.DeleteFunc(slices.Clone(places), leftOut)
	if len(left) == 0 {
		return Answer{Verdict: Unknown, Retry: b.retry()}
	}
	Order(left, b.self.Region, b.rand)
	return Answer{Verdict: Found, Places: left}
}

// Watch reports each new origin of the stream as an OutputFound, until as many calls of Unwatch.
func (b *Book) Watch(now time.Time, stream string) {
	w := b.watches[stream]
	if w == nil {
		w = &watch{next: now.Add(b.around(watchSpan))}
		b.watches[stream] = w
		b.put(Output{Kind: OutputListen, Stream: stream})
	}
	w.count++
}

// Unwatch ends a Watch.
func (b *Book) Unwatch(stream string) {
	w := b.watches[stream]
	if w == nil {
		return
	}
	if w.count--; w.count == 0 {
		delete(b.watches, stream)
		b.put(Output{Kind: OutputUnlisten, Stream: stream})
	}
}

// poll asks for the streams that are waited for.
func (b *Book) poll(now time.Time) {
	var due []string
	for stream, w := range b.watches {
		if !now.Before(w.next) {
			due = append(due, stream)
		}
	}
	slices.Sort(due)
	for _, stream := range due {
		b.watches[stream].next = now.Add(b.around(watchSpan))
		if b.flights[stream] == nil && len(b.flights) < maxFlights {
			b.ask(now, stream)
		}
	}
}

func (b *Book) found(stream string, places []Place) {
	for _, p := range places {
		if p.Origin() {
			b.put(Output{Kind: OutputFound, Stream: stream, Place: p})
		}
	}
}
