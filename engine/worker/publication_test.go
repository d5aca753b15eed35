package worker

import (
	"slices"
	"testing"
	"unsafe"

	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
)

// candidate is a publisher that is connected and waits for the controller to give it its stream.
func (l *lab) candidate(stream bus.StreamID) *pub {
	l.Helper()
	p := &pub{party: l.party(api.Publisher, stream, published()...)}
	p.connect()
	sealerOf(l, p)
	return p
}

// A publisher that waits leaves the stream to the one that has it. Once it replaces that one, media flows on, and
// later packets of the replaced one go nowhere.
func TestCandidateReplaces(t *testing.T) {
	l := newLab(t, 0, 1)
	old := l.publish(1, 1, published()...)
	s := l.watch(1, watched(true)...)
	old.frame(0, 0, true)
	next := l.candidate(1)
	next.frame(1000, 77, true)
	old.frame(1, 3000, false)
	l.tell(bus.PublicationOpened(1, 2, 0, next.spec))
	old.frame(2, 6000, false)
	l.tell(closed(old.party))
	next.frame(1001, 3077, false)
	l.pass(100 * port.Millisecond)
	got := s.media(subVideo)
	var texts []string
	for i, r := range got {
		texts = append(texts, string(r.payload[2:]))
		if i > 0 && r.Sequence != got[i-1].Sequence+1 {
			t.Errorf("sequence number %d follows %d; expected no gap", r.Sequence, got[i-1].Sequence)
		}
	}
	if want := []string{"frame 0", "frame 1", "frame 1000", "frame 1001"}; !slices.Equal(texts, want) {
		t.Errorf("the subscriber was sent %v; expected %v", texts, want)
	}
	if l.w.early.media != 0 {
		t.Errorf("%d packets are held; expected none", l.w.early.media)
	}
}

// The same name published again, with other payload types and another clock: numbering and timestamps go
// on, the new publication starts with its keyframe.
func TestRepublish(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	s := l.watch(1, watched(true)...)
	p.frame(0, 0, true)
	p.sound(0, 0)
	v, a := s.media(subVideo), s.media(subAudio)
	l.tell(bus.PublicationClosed(1, 1))
	l.tell(bus.SessionClosed(p.spec.ID))
	l.pass(5 * port.Second)
	l.receive(s.path, s.check()) // it is still there
	tracks := published()
	tracks[0].Formats[0].PayloadType, tracks[0].Formats[0].RTX = 50, 51
	q := l.publish(1, 2, tracks...)
	l.forget()
	q.send(packet{ssrc: videoSSRC, pt: 50, seq: 40_000, ts: 0x8000_0000, payload: vp8(true, false, "no keyframe")})
	if n := len(s.media(subVideo)); n != 0 {
		t.Errorf("%d packets before the keyframe", n)
	}
	q.send(packet{ssrc: videoSSRC, pt: 50, seq: 40_001, ts: 0x8000_1000, payload: vp8(true, true, "key")})
	q.sound(9, 77)
	v2, a2 := s.media(subVideo), s.media(subAudio)
	if len(v2) != 1 || len(a2) != 1 {
		t.Fatalf("%d and %d packets of the new publication", len(v2), len(a2))
	}
	if v2[0].Sequence != v[0].Sequence+1 || a2[0].Sequence != a[0].Sequence+1 {
		t.Error("the sequence numbers do not go on")
	}
	if v2[0].PayloadType != subVP8 {
		t.Errorf("payload type %d", v2[0].PayloadType)
	}
	for name, d := range map[string]uint32{
		"video": (v2[0].Timestamp - v[0].Timestamp) / 90,
		"audio": (a2[0].Timestamp - a[0].Timestamp) / 48,
	} {
		if d < 4990 || d > 5010 {
			t.Errorf("%s went on by %d ms; 5 s passed", name, d)
		}
	}
}

// An older publication that is announced late does not replace the present one, nor end it.
func TestOlderGenerations(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 5, published()...)
	s := l.watch(1, watched(true)...)
	l.tell(bus.PublicationOpened(1, 4, 0, p.spec))
	l.tell(bus.PublicationClosed(1, 4))
	p.frame(0, 0, true)
	if n := len(s.media(subVideo)); n != 1 {
		t.Errorf("%d packets of the present publication came", n)
	}
}

// Owner and follower both give back what a stream that fell silent held, and viewers play on when it goes on.
func TestIdleStreamHoldsNothing(t *testing.T) {
	x := newPair(t, false)
	for seq := range uint64(2000) {
		x.p.send(packet{
			ssrc: videoSSRC, pt: pubVP8, seq: seq, ts: uint32(seq),
			payload: append(vp8(true, seq == 0, ""), make([]byte, 1000)...),
		})
		if seq%32 == 0 {
			x.exchange()
		}
	}
	x.exchange()
	held := func() int { return x.owner.w.storage.memory.Used() + x.follower.w.storage.memory.Used() }
	if n := held(); n < 4<<20 {
		t.Fatalf("two histories of 2 MB take %d bytes", n)
	}
	before := len(x.s.media(subVideo))
	x.pass(6 * port.Second)
	if n := held(); n != 0 {
		t.Errorf("a silent stream holds %d bytes", n)
	}
	x.p.frame(2000, 2_000_000, false) // goes on where it was: no keyframe is needed
	x.exchange()
	if n := len(x.s.media(subVideo)) - before; n != 1 {
		t.Errorf("%d packets after the silence reached the viewer; expected 1", n)
	}
}

// These are kept for each stream, each publisher or each of its layers, on every worker that has subscribers.
func TestSizesOfPublications(t *testing.T) {
	for _, x := range []struct {
		name      string
		got, most uintptr // bytes
	}{
		{"stream", unsafe.Sizeof(stream{}), 288},
		{"publication", unsafe.Sizeof(publication{}), 128},
		{"publisher", unsafe.Sizeof(publisher{}), 168},
		{"source", unsafe.Sizeof(source{}), 32},
		{"track", unsafe.Sizeof(track{}), 280},
		{"layer", unsafe.Sizeof(layer{}), 448},
		{"upstream", unsafe.Sizeof(upstream{}), 1144},
	} {
		if x.got > x.most {
			t.Errorf("%s takes %d bytes; expected at most %d", x.name, x.got, x.most)
		}
	}
}
