package worker

import (
	"slices"
	"testing"

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

// The first authenticated media of a publisher is told once, whether it came before the keys or after them;
// reports and forged packets are none. Nothing of it is lost until the publication is opened.
func TestMediaBegins(t *testing.T) {
	for _, early := range []bool{false, true} {
		l := newLab(t, 0, 1)
		p := &pub{party: l.party(api.Publisher, 1, published()...)}
		l.receive(p.path, p.check())
		l.tell(bus.Message{Kind: bus.SessionOwned, ID: p.spec.ID})
		sealerOf(t, p)
		keys := func() { l.tell(bus.Message{Kind: bus.SessionKeyed, ID: p.spec.ID, Keys: p.ours}) }
		if !early {
			keys()
		}
		forged := p.seal(packet{ssrc: videoSSRC, pt: pubVP8, seq: 1, payload: vp8(true, true, "forged")})
		forged[len(forged)-1]++
		l.receive(p.path, forged)
		p.report(videoSSRC, 0)
		if n := len(l.said(bus.MediaBegan)); n != 0 {
			t.Errorf("early %t: media was said to begin %d times; expected none yet", early, n)
		}
		for seq := range uint64(20) {
			p.frame(seq, uint32(seq)*3000, seq == 0)
		}
		if early {
			keys()
		}
		if n := len(l.said(bus.MediaBegan)); n != 1 {
			t.Errorf("early %t: media was said to begin %d times; expected once", early, n)
		}
		s := l.watch(1, watched(true)...)
		l.tell(bus.Message{Kind: bus.PublicationOpened, ID: p.spec.ID, Stream: 1, Generation: 1, Session: p.spec})
		p.frame(20, 60000, false)
		l.pass(100 * port.Millisecond)
		var texts []string
		for _, r := range s.media(subVideo) {
			texts = append(texts, string(r.payload[2:]))
		}
		if len(texts) != 21 || texts[0] != "frame 0" || texts[20] != "frame 20" {
			t.Errorf("early %t: the subscriber was sent %v; expected frames 0 to 20", early, texts)
		}
		if l.w.heldMedia != 0 {
			t.Errorf("early %t: %d packets are held; expected none", early, l.w.heldMedia)
		}
	}
}

// A publisher that waits leaves the stream to the one that has it; when it replaces that, media flows on, and what
// the other still sends goes nowhere.
func TestCandidateReplaces(t *testing.T) {
	l := newLab(t, 0, 1)
	old := l.publish(1, 1, published()...)
	s := l.watch(1, watched(true)...)
	old.frame(0, 0, true)
	next := l.candidate(1)
	next.frame(1000, 77, true)
	old.frame(1, 3000, false)
	l.tell(bus.Message{Kind: bus.PublicationOpened, ID: next.spec.ID, Stream: 1, Generation: 2, Session: next.spec})
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
	if l.w.heldMedia != 0 {
		t.Errorf("%d packets are held; expected none", l.w.heldMedia)
	}
}

// The controller is told once that a check reached a session that nobody owns, and that it was claimed instead
// where the check nominates.
func TestSessionReached(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.party(api.Subscriber, 1, watched(true)...)
	for range 3 {
		l.receive(p.path, p.request(false))
	}
	if n := len(l.said(bus.SessionReached)); n != 1 {
		t.Errorf("the controller was told %d times that a check came; expected once", n)
	}
	nominated := l.party(api.Subscriber, 1, watched(true)...)
	l.forget()
	l.receive(nominated.path, nominated.check())
	if reached, claimed := len(l.said(bus.SessionReached)), len(l.said(bus.SessionClaimed)); reached != 0 || claimed != 1 {
		t.Errorf("a nomination was told as %d checks and %d claims; expected 1 claim", reached, claimed)
	}
	forged := l.party(api.Subscriber, 1, watched(true)...)
	l.forget()
	check := forged.request(false)
	check[len(check)-10]++
	l.receive(forged.path, check)
	if n := len(l.said(bus.SessionReached)); n != 0 {
		t.Errorf("a forged check was told %d times; expected never", n)
	}
}
