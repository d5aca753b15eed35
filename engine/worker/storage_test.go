package worker

import (
	"testing"

	"ringcast/engine/budget"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
	"ringcast/engine/worker/history"
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
	c.w.cfg.Memory, c.w.storage.memory = c.memory, history.NewMemory(c.memory)
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
			l.history.Append(&x, nil, payload)
			l.upstream.last = c.now
			l.pub.tracks[0].start(l)
			p.lab.w.wakeFor(l, newsOf(&x, rtp.Video))
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
				held += x.history.Size()
			}
		}
	}
	m, b := l.w.storage.memory, l.w.cfg.Memory
	if m.Used() != held || b.Held() != int64(m.Drawn()) {
		l.Errorf("histories hold %d bytes and %d count as used; %d are drawn of the budget and %d count as drawn",
			held, m.Used(), b.Held(), m.Drawn())
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
		t.Errorf("%d histories were shortened and %d packets cut; expected some",
			c.counted(HistoriesShortened), c.counted(HistoryCut))
	}
	for i := range c.pubs {
		l := c.layer(i)
		h := &l.history
		if age := h.Age(c.now); age < history.Least {
			t.Fatalf("stream %d keeps only %v s", i, age.Seconds())
		}
		if watched := i < len(viewers); watched && h.Span() < history.Span {
			t.Errorf("stream %d has a viewer and keeps %v s; expected %v: others have none",
				i, h.Span().Seconds(), history.Span.Seconds())
		}
	}
	if n := c.drops(DropStalled); n != 0 {
		t.Errorf("%d packets never reached their viewers", n)
	}

	// Most publishers end: the others have room again.
	for i, p := range c.pubs[100:] {
		c.tell(bus.PublicationClosed(bus.StreamID(i+101), p.generation))
	}
	c.pubs = c.pubs[:100]
	c.send(5 * port.Second)
	for i := range c.pubs {
		if h := &c.layer(i).history; h.Span() != history.Span || h.Age(c.now) < history.Span {
			t.Errorf("with room for all stream %d keeps %v s of %v s", i, h.Age(c.now).Seconds(), h.Span().Seconds())
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
		spans[1+i%4] = max(spans[1+i%4], c.layer(i).history.Span())
	}
	if spans[1] >= history.Span || spans[1] > spans[4] {
		t.Errorf("by viewers, histories keep %v; expected less than a second, and least with one viewer", spans[1:])
	}
	if n := c.drops(DropStalled); n != 0 {
		t.Errorf("%d packets never reached the %d viewers", n, len(viewers))
	}
}
