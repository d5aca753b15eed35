package worker

import (
	"slices"
	"testing"

	"ringcast/engine/bus"
	"ringcast/engine/port"
)

// A replica is primed from the keyframe where a viewer could start there, else from just before the live edge. It is
// primed in turns that leave others their share of a lane.
func TestPriming(t *testing.T) {
	for _, c := range []struct {
		name   string
		frames uint64
		pause  port.Time // between two of them
		fed    int
	}{
		{"a fresh keyframe", 400, port.Millisecond, 400},
		{"a keyframe of before", 600, port.Millisecond, feedBack},
	} {
		x := newPair(t, false)
		x.follower.tell(closed(x.s.party))
		x.exchange()
		for seq := range c.frames {
			x.p.frame(seq, uint32(seq)*90, seq == 0)
			x.pass(c.pause)
			x.owner.now += c.pause
		}
		x.owner.forget()
		x.owner.tell(from(1, bus.Follow(0, everything(1, 1), 1)))
		video := 0
		for _, m := range x.owner.brought(bus.KindPacket) {
			if m.Track == 0 {
				video++
			}
		}
		if video != c.fed {
			t.Errorf("%s: a new replica was primed with %d packets; expected %d", c.name, video, c.fed)
		}
	}
}

// A follower that is primed with much does not keep another stream's waiting.
func TestPrimingTakesTurns(t *testing.T) {
	l := newLab(t, 0, 3)
	long, other := l.publish(1, 1, published()...), l.publish(2, 2, published()...)
	for seq := range uint64(300) {
		long.frame(seq, uint32(seq)*90, seq == 0)
	}
	other.frame(0, 0, true)
	l.forget()
	for stream := range bus.StreamID(2) {
		l.hand(from(1, bus.Follow(0, everything(stream+1, bus.Generation(stream+1)), 1)))
	}
	l.poll()
	for i, m := range l.brought(bus.KindPacket) {
		if m.Stream == 2 {
			if i > feedQuantum {
				t.Errorf("the other stream came after %d packets; expected at most %d", i, feedQuantum)
			}
			return
		}
	}
	t.Error("the other stream was not fed")
}

// Priming fills each batch of messages to the last place. A stream with one live packet waits for one batch, and not
// for the end of the priming.
func TestFullBatchesTakeTurns(t *testing.T) {
	l := newLab(t, 0, 3)
	l.out.Control, l.out.Media = make([]bus.Control, 0, 2*feedQuantum), make([]bus.Media, 0, 2*feedQuantum)
	var pubs []*pub
	for stream := range bus.StreamID(3) {
		p := l.publish(stream+1, bus.Generation(stream+1), published()...)
		pubs = append(pubs, p)
		for seq := range uint64(500) {
			if stream < 2 || seq == 0 {
				p.frame(seq, uint32(seq)*90, seq == 0)
			}
		}
	}
	l.hand(from(1, bus.Follow(0, everything(3, 3), 3)))
	l.poll()
	for stream := range bus.StreamID(2) {
		all := everything(stream+1, bus.Generation(stream+1))
		l.hand(from(1, bus.Follow(0, all, uint32(stream+1))))
	}
	l.w.outbox.control = nil // answers would leave the batches uneven
	l.w.Poll(l.now, &l.out)
	l.take()
	l.forget()
	live := packet{ssrc: videoSSRC, pt: pubVP8, seq: 1, payload: vp8(true, false, "live")}
	l.quietly(pubs[2].path, pubs[2].seal(live))
	for batch := range 2 {
		l.w.Poll(l.now, &l.out)
		l.take()
		all := l.brought(bus.KindPacket)
		if len(all) < (batch+1)*feedQuantum {
			t.Fatalf("%d packets after %d batches; the streams are not primed at once any more", len(all), batch+1)
		}
		if i := slices.IndexFunc(all, func(m bus.Media) bool { return m.Stream == 3 }); i >= 0 {
			return
		}
	}
	t.Error("the live packet was not in the second batch")
}

// A follower that asks for the same packets over and over is sent them once, and the live ones first.
func TestRepeatedResendRequests(t *testing.T) {
	l := newLab(t, 0, 2)
	p := l.publish(1, 1, published()...)
	p.frame(1, 3000, true)
	l.tell(from(1, bus.Follow(0, everything(1, 1), 1)))
	for i := range uint64(300) {
		p.frame(2+i, uint32(6000+i*30), false)
	}
	l.pass(port.Millisecond)
	l.forget()
	for range 60 {
		l.hand(from(1, bus.ResendWanted(0, bus.LayerID{Stream: 1, Generation: 1}, 1, bus.Row{Count: 256})))
	}
	p.frame(400, 90_000, false)
	l.pass(port.Millisecond)
	all := l.brought(bus.KindPacket)
	if len(all) != 257 {
		t.Errorf("%d packets were sent; want 256 and the live one", len(all))
	}
	if len(all) == 0 || all[0].Packet.Timestamp != 90_000 {
		t.Error("the live packet was not the first")
	}
}

// A follower that asks for a publication is sent the ladder of a track with several layers. It is fed the layers that
// it asks for, until it asks no more.
func TestFeedOfOneLayer(t *testing.T) {
	l := newLab(t, 0, 2)
	p := l.publish(1, 1, simulcast()...)
	send := func(seq uint64) {
		p.layer(hiSSRC, seq, uint32(seq)*3000, vp8(true, seq == 0, "hi"))
		p.layer(loSSRC, seq, uint32(seq)*3000, vp8(true, seq == 0, "lo"))
	}
	send(0)
	l.tell(from(1, bus.Follow(0, everything(1, 1), 5)))
	if m := l.said(bus.KindLadder); len(m) == 0 || m[len(m)-1].To != 1 || len(*m[len(m)-1].Ladder) != 2 {
		t.Errorf("the ladders are %+v; expected one of two rungs for the follower", m)
	}
	l.forget()
	one := bus.LayerID{Stream: 1, Generation: 1, Layer: 1}
	l.tell(from(1, bus.Follow(0, one, 6)))
	l.tell(from(1, bus.Follow(0, bus.LayerID{Stream: 1, Generation: 1, Layer: 9}, 7)))
	m, dropped := l.said(bus.KindFollowing), l.drops(DropFollow)
	if len(m) != 1 || m[0].Feed != 6 || m[0].LayerID != one || dropped != 1 {
		t.Errorf("answered %+v, %d requests dropped; expected an answer to feed 6, and one dropped", m, dropped)
	}
	send(1)
	single := 0
	for _, m := range l.brought(bus.KindPacket) {
		switch m.Feed {
		case 6:
			if single++; m.LayerID != one {
				t.Errorf("feed 6 brought a packet of %+v; expected %+v", m.LayerID, one)
			}
		default:
			t.Errorf("a packet came by feed %d", m.Feed)
		}
	}
	if single != 2 {
		t.Errorf("%d packets came by the layer's feed; expected 2", single)
	}
	l.tell(from(1, bus.Unfollow(0, one, 6)))
	l.forget()
	send(2)
	if m := l.brought(bus.KindPacket); len(m) != 0 {
		t.Errorf("got %+v; expected nothing", m)
	}
	l.tell(from(1, bus.Unfollow(0, everything(1, 1), 5)))
	if n := len(l.stream(1).pub.followers); n != 0 {
		t.Errorf("%d followers are left; expected none", n)
	}
}
