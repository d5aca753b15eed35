package directory

import (
	"math"
	"slices"
	"time"
)

// remember keeps the newest generation of a stream that was seen anywhere.
func (b *Book) remember(now time.Time, stream string, g Generation) {
	if known, _ := b.seen.get(now, stream); !known.Newer(g) {
		b.seen.put(now, stream, g)
	}
}

// Announce makes this node the origin of the stream, with a generation newer than all that it has seen.
func (b *Book) Announce(now time.Time, stream string, p Publisher) Place {
	known, _ := b.seen.get(now, stream)
	g := Generation{Count: known.Count, Tie: b.rand.Uint64()}
	if g.Count < math.MaxUint64 {
		g.Count++
	}
	self := b.self
	place := Place{
		Node: self.ID, URL: self.URL, Region: self.Region, Load: self.Load, Generation: g, Path: Path{self.ID},
	}
	if b.own[stream] == nil {
		b.put(Output{Kind: OutputServe, Stream: stream})
	}
	b.own[stream] = &publication{publisher: p, place: place}
	b.remember(now, stream, g)
	b.cache.remove(stream)
	b.tell(now, stream)
	return place
}

func (b *Book) tell(now time.Time, stream string) {
	p := b.own[stream]
	p.told = now
	up := message{Kind: kindUp, From: b.self.ID, Stream: stream, Places: []Place{p.place}}
	b.put(Output{Kind: OutputTell, Stream: stream, Message: up.encode()})
}

// Withdraw ends the announcement of the stream.
func (b *Book) Withdraw(now time.Time, stream string) {
	p := b.own[stream]
	if p == nil {
		return
	}
	b.remember(now, stream, p.place.Generation) // its 10 minutes begin now
	delete(b.own, stream)
	b.put(Output{Kind: OutputUnserve, Stream: stream})
	gone := message{Kind: kindGone, From: b.self.ID, Stream: stream}
	b.put(Output{Kind: OutputTell, Stream: stream, Message: gone.encode()})
}

func (b *Book) ownStreams() []string {
	streams := make([]string, 0, len(b.own))
	for stream := range b.own {
		streams = append(streams, stream)
	}
	slices.Sort(streams)
	return streams
}

// announced takes the announcement of another origin. The older publisher of two ends, once the newer one sends.
func (b *Book) announced(now time.Time, stream string, place Place) {
	b.remember(now, stream, place.Generation)
	b.cache.remove(stream)
	if f := b.flights[stream]; f != nil {
		b.learn(now, f, place)
	}
	p := b.own[stream]
	switch {
	case p == nil:
	case place.Generation.Newer(p.place.Generation):
		b.claim(now, stream, place)
		return
	case now.Sub(p.told) >= retellSpan: // its origin may not know of ours
		b.tell(now, stream)
		return
	default:
		return
	}
	if b.watches[stream] != nil {
		b.found(stream, []Place{place})
	}
}

func (b *Book) supersede(now time.Time, stream string, by Place) {
	for _, key := range b.own[stream].publisher.keys(stream) {
		b.losers.put(now, key, struct{}{})
	}
	delete(b.own, stream)
	b.Counts.Superseded++
	b.put(Output{Kind: OutputUnserve, Stream: stream})
	b.put(Output{Kind: OutputSuperseded, Stream: stream, Place: by})
}

// Lost reports whether the publisher lost the stream a moment ago.
func (b *Book) Lost(now time.Time, stream string, p Publisher) bool {
	for _, key := range p.keys(stream) {
		if _, ok := b.losers.get(now, key); ok {
			return true
		}
	}
	return false
}

// Admit decides about a publisher, after the answer of a Where.
func (b *Book) Admit(now time.Time, stream string, p Publisher, a Answer) error {
	switch {
	case b.Lost(now, stream, p):
		return ErrLost
	case a.Verdict == Found && !b.cfg.Takeover:
		return ErrTaken
	case a.Verdict == Busy:
		return ErrBusy
	case a.Verdict == Unknown:
		b.Counts.Unchecked++
	}
	return nil
}

// keys returns the keys of a publisher among the losers.
func (p Publisher) keys(stream string) []string {
	var keys []string
	if p.Source.IsValid() {
		keys = append(keys, "source "+p.Source.Unmap().String()+" "+stream)
	}
	if p.Subject != "" {
		keys = append(keys, "subject "+stream+" "+p.Subject)
	}
	return keys
}
