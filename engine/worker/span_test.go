package worker

import (
	"math"
	"testing"

	"ringcast/engine/rtp"
)

// A span maps numbers to sequence numbers and back, across every wrap-around of the 16 bits that are sent.
func TestSpanOfNumbers(t *testing.T) {
	for _, c := range []struct{ first, sequence, number, want uint64 }{
		{0, 1, 0, 1},
		{100, 0x7FFF, 100, 0x7FFF},
		{100, 0xFFF0, 115, 0xFFFF},
		{100, 0xFFF0, 116, 0x1_0000},
		{5, 3 << 16, 5 + 1<<20, 3<<16 + 1<<20},
		{1 << 40, 7, 1<<40 + 1<<32, 7 + 1<<32},
	} {
		s := span{first: c.first, sequence: c.sequence}
		if got := s.sequenceOf(c.number); got != c.want {
			t.Errorf("the span from %d at %d gives %d the sequence number %d; expected %d",
				c.first, c.sequence, c.number, got, c.want)
		}
		if got := s.numberOf(c.want); got != c.number {
			t.Errorf("the span from %d at %d has %d for the sequence number %d; expected %d",
				c.first, c.sequence, got, c.want, c.number)
		}
	}
}

// Timestamps and picture IDs wrap around, and a span without offsets leaves them alone.
func TestSpanOfPictures(t *testing.T) {
	for _, c := range []struct {
		span      span
		timestamp uint32
		id        uint16
		tl0       uint8
		renumbers bool
	}{
		{span{}, 1000, 100, 10, false},
		{span{timestamp: math.MaxUint32}, 999, 100, 10, false},
		{span{picture: 0xFFFF}, 1000, 99, 10, true},
		{span{tl0: 250}, 1000, 100, 4, true},
		{span{timestamp: 5, bump: 5, picture: 1, tl0: 1}, 1005, 101, 11, true},
	} {
		s := &c.span
		if got := s.timestampOf(1000); got != c.timestamp {
			t.Errorf("%+v maps the timestamp 1000 to %d; expected %d", *s, got, c.timestamp)
		}
		if id, tl0 := s.pictureOf(100, 10); id != c.id || tl0 != c.tl0 {
			t.Errorf("%+v maps the picture 100, 10 to %d, %d; expected %d, %d", *s, id, tl0, c.id, c.tl0)
		}
		if got := s.renumbers(); got != c.renumbers {
			t.Errorf("%+v renumbers: %t; expected %t", *s, got, c.renumbers)
		}
		if got, want := s.offset(), s.timestamp-s.bump; got != want {
			t.Errorf("%+v leaves %d to the next; expected %d", *s, got, want)
		}
	}
}

// A NACK finds the span that gave out its sequence number, as long as the subscription remembers it.
func TestSpanOfSequence(t *testing.T) {
	sub := subscription{spec: &rtp.Track{}}
	var spans []*span
	for _, first := range []uint64{50, 100, 150, 150 + 1<<16} { // the first is forgotten
		sub.begin(span{sequence: first})
		spans = append(spans, sub.present())
	}
	spans = spans[1:]
	for _, c := range []struct {
		sequence uint64
		want     int
	}{{0, -1}, {99, -1}, {100, 0}, {149, 0}, {150, 1}, {149 + 1<<16, 1}, {150 + 1<<16, 2}, {1 << 40, 2}} {
		var want *span
		if c.want >= 0 {
			want = spans[c.want]
		}
		if got := sub.spanOf(c.sequence); got != want {
			t.Errorf("sequence number %d is of %+v; expected %+v", c.sequence, got, want)
		}
	}
	if got, want := sub.present(), spans[2]; got != want {
		t.Errorf("the present span is %+v; expected %+v", got, want)
	}
	spans[2].before.forget()
	if got := sub.spanOf(150); got != nil {
		t.Errorf("a sequence number of a forgotten span is of %+v; expected none", got)
	}
	if got := (&subscription{}).present(); got != nil {
		t.Errorf("before the first packet the present span is %+v; expected none", got)
	}
}
