package worker

import (
	"testing"

	"ringcast/engine/budget"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
)

// A crowd is a worker with streams that each send 2 Mbit/s of video after one keyframe. Packets reach the
// histories without SRTP, which is not what these tests are about.
type crowd struct {
	*lab
	pubs    []*pub
	numbers []uint64
	memory  *budget.Budget
}

const crowdPacket = 1200 // bytes of payload

func newCrowd(t *testing.T, streams int, limit int64) *crowd {
	c := &crowd{lab: newLab(t, 0, 1), memory: budget.New(limit), numbers: make([]uint64, streams)}
	c.w.memory = newMemory(c.memory)
	for i := range streams {
		c.pubs = append(c.pubs, c.publish(bus.StreamID(i+1), bus.Generation(i+1), published()...))
	}
	return c
}

func (c *crowd) layer(i int) *layer { return c.stream(bus.StreamID(i + 1)).pub.tracks[0].layers[0] }

// send lets all streams send for a span of time, and returns the most that histories held meanwhile.
func (c *crowd) send(span port.Time) (most int64) {
	const tick = 5 * port.Millisecond // one packet of each stream: 1.92 Mbit/s
	payload := vp8(true, false, "")
	payload = append(payload, make([]byte, crowdPacket-len(payload))...)
	for end := c.now + span; c.now < end; {
		for i, p := range c.pubs {
			l, n := c.layer(i), c.numbers[i]
			x := bus.Packet{Number: n, Timestamp: uint32(n * 450), Arrival: c.now, PayloadType: pubVP8}
			payload[1] = 1
			if n == 0 {
				payload[1], x.Flags = 0, bus.KeyframeStart
			}
			l.history.append(&x, nil, payload)
			l.last, l.pub.tracks[0].best = c.now, l
			p.lab.w.wake(l.pub.stream, newsOf(&x, rtp.Video))
			c.numbers[i]++
		}
		most = max(most, c.memory.Held())
		c.pass(tick)
		c.lab.forget()
		clear(c.seals)
	}
	return most
}

// accounts fails unless the memory that is drawn is that which histories hold.
func (l *lab) accounts() {
	l.Helper()
	held := 0
	for _, st := range l.w.streams {
		for i := 0; st.pub != nil && i < len(st.pub.tracks); i++ {
			for _, x := range st.pub.tracks[i].layers {
				held += x.history.size()
			}
		}
	}
	m := l.w.memory
	if drawn := m.budget.Held(); m.used != held || drawn != int64(held+len(m.free)*pageSize) {
		l.Errorf("histories hold %d bytes, with %d free pages; %d count as used and %d as drawn", held, len(m.free), m.used, drawn)
	}
}

// However many streams send how much, with one keyframe each, their histories keep to the budget. Those that
// somebody watches are shortened last, and what is on its way is never lost.
func TestHistoryBudget(t *testing.T) {
	const limit = 64 << 20 // a second of all takes 290 MB
	c := newCrowd(t, 1000, limit)
	var viewers []*sub
	for i := range 50 {
		viewers = append(viewers, c.watch(bus.StreamID(i+1), watched(true)...))
	}
	if most := c.send(3 * port.Second); most > limit {
		t.Errorf("the histories held %d bytes; the budget is %d", most, limit)
	}
	if c.counted(HistoriesShortened) == 0 || c.counted(HistoryCut) == 0 {
		t.Errorf("%d histories were shortened and %d packets cut; expected some", c.counted(HistoriesShortened), c.counted(HistoryCut))
	}
	for i := range c.pubs {
		l := c.layer(i)
		h := &l.history
		if age := h.age(c.now); age < historyLeast {
			t.Fatalf("stream %d keeps only %v s", i, age.Seconds())
		}
		if watched := i < len(viewers); watched && h.span < historySpan {
			t.Errorf("stream %d has a viewer and keeps %v s; expected %v: others have none", i, h.span.Seconds(), historySpan.Seconds())
		}
	}
	if n := c.drops(DropStalled); n != 0 {
		t.Errorf("%d packets never reached their viewers", n)
	}

	// Most publishers end: the others have room again.
	for i, p := range c.pubs[100:] {
		c.tell(bus.Message{Kind: bus.PublicationClosed, Stream: bus.StreamID(i + 101), Generation: p.generation})
	}
	c.pubs = c.pubs[:100]
	c.send(5 * port.Second)
	for i := range c.pubs {
		if h := &c.layer(i).history; h.span != historySpan || h.age(c.now) < historySpan {
			t.Errorf("with room for all stream %d keeps %v s of %v s", i, h.age(c.now).Seconds(), h.span.Seconds())
		}
	}
	if held := c.memory.Held(); held > limit*3/4 {
		t.Errorf("100 streams hold %d bytes of %d", held, limit)
	}
	c.accounts()
}

// Where all streams are watched alike, all are shortened, and viewers still get everything.
func TestHistoryBudgetAllWatched(t *testing.T) {
	const limit = 3 << 20 // a second of all takes 5.8 MB
	c := newCrowd(t, 20, limit)
	var viewers []*sub
	for i := range c.pubs {
		for range 1 + i%4 {
			viewers = append(viewers, c.watch(bus.StreamID(i+1), watched(true)...))
		}
	}
	if most := c.send(5 * port.Second); most > limit {
		t.Errorf("the histories held %d bytes; the budget is %d", most, limit)
	}
	spans := make([]port.Time, 5)
	for i := range c.pubs {
		spans[1+i%4] = max(spans[1+i%4], c.layer(i).history.span)
	}
	if spans[1] >= historySpan || spans[1] > spans[4] {
		t.Errorf("by viewers, histories keep %v; expected less than a second, and least with one viewer", spans[1:])
	}
	if n := c.drops(DropStalled); n != 0 {
		t.Errorf("%d packets never reached the %d viewers", n, len(viewers))
	}
}

// A worker that holds less than its share does not shorten its own for others'.
func TestShareOfTheBudget(t *testing.T) {
	b := budget.New(100 * pageSize)
	small, large := newMemory(b), newMemory(b)
	var pages []*page
	for i := range 92 {
		m := large
		if i < 10 {
			m = small
		}
		pages = append(pages, m.take())
	}
	if small.tight(2) || !large.tight(2) {
		t.Errorf("with 10 and 82 of 100 pages, tight %t and %t; expected false and true", small.tight(2), large.tight(2))
	}
	for _, p := range pages[40:] {
		large.give(p)
	}
	if n := len(large.free); n != 52 {
		t.Fatalf("%d pages are free; expected 52", n)
	}
	large.trim() // tight: all go back
	if len(large.free) != 0 || b.Held() != 40*pageSize || large.tight(2) {
		t.Errorf("trimmed, %d pages are free and %d bytes drawn; expected 0 and %d", len(large.free), b.Held(), 40*pageSize)
	}
}

// Pages that were not needed for a while go back by and by; a steady turnover keeps its own.
func TestTrim(t *testing.T) {
	m := newMemory(budget.New(1 << 30))
	var pages []*page
	for range 100 {
		pages = append(pages, m.take())
	}
	for _, p := range pages {
		m.give(p)
	}
	m.trim() // begins to watch
	for range 10 {
		p := m.take()
		m.give(p)
		before := len(m.free)
		m.trim()
		if before > 1 && len(m.free) >= before {
			t.Fatalf("%d free pages of %d are left after a pause", len(m.free), before)
		}
	}
	if n := len(m.free); n > 1 {
		t.Errorf("%d free pages are left where one is used; expected at most 1", n)
	}
	if got := m.budget.Held(); got != int64(len(m.free)*pageSize) {
		t.Errorf("%d bytes are drawn for %d free pages", got, len(m.free))
	}
}
