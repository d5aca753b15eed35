package worker

import (
	"testing"

	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtcp"
)

// When Poll says that there is no more, nothing waits: the driver sleeps then.
func TestPollIsComplete(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	p.frame(0, 0, true)
	l.pass(5 * port.Second)
	p.asked()
	l.watch(1, watched(true)...)
	if n := count(p.asked(), rtcp.PLI); n != 1 {
		t.Errorf("%d PLIs left for a joiner before the driver sleeps", n)
	}
	if n := len(l.w.outbox.control) + len(l.w.due); n != 0 {
		t.Errorf("%d things wait", n)
	}
	// A subscriber that cannot play what comes is given up in the same turn.
	other := watched(true)
	other[0].Formats[0].Codec = 4
	s := l.watch(1, other...)
	p.frame(1, 3000, true)
	if m := l.said(bus.KindSessionEnded); len(m) != 1 || m[0].ID != s.spec.ID {
		t.Errorf("%+v", m)
	}
}

// All frames come out in order and once, even if the driver offers small batches.
func TestPollInSmallBatches(t *testing.T) {
	for _, size := range []int{1, 2, 7} {
		l := newLab(t, 0, 2)
		l.out.Frames = l.out.Frames[:size]
		l.out.Control, l.out.Media = l.out.Control[:0:size], l.out.Media[:0:size]
		p := l.publish(1, 1, published()...)
		l.tell(from(1, bus.Follow(0, everything(1, 1), 1)))
		var subs []*sub
		for range 5 {
			subs = append(subs, l.watch(1, watched(true)...))
		}
		l.forget()
		for seq := range uint64(50) {
			l.quietly(p.path, p.seal(packet{
				ssrc: videoSSRC, pt: pubVP8, seq: seq, ts: uint32(seq), payload: vp8(true, seq == 0, ""),
			}))
		}
		for _, s := range subs {
			l.quietly(s.path, s.check())
		}
		l.poll()
		for i, s := range subs {
			got := s.media(subVideo)
			if len(got) != 50 {
				t.Fatalf("batches of %d: subscriber %d got %d of 50", size, i, len(got))
			}
			for j := range got {
				if got[j].Sequence != got[0].Sequence+uint16(j) {
					t.Fatalf("batches of %d: subscriber %d got number %d in place %d", size, i, got[j].Sequence, j)
				}
			}
			if len(l.answers(s.path)) != 1 {
				t.Errorf("batches of %d: subscriber %d's check was not answered", size, i)
			}
		}
		fed := l.brought(bus.KindPacket)
		if len(fed) != 50 {
			t.Fatalf("batches of %d: %d of 50 packets were fed", size, len(fed))
		}
		for j, m := range fed {
			if m.Index != uint64(j) {
				t.Fatalf("batches of %d: packet %d was fed in place %d", size, m.Index, j)
			}
		}
	}
}
