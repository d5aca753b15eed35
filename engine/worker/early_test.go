package worker

import (
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
)

// The first authenticated media of a publisher is told once, whether it came before the keys or after them;
// reports and forged packets are none. Nothing of it is lost until the publication is opened.
func TestMediaBegins(t *testing.T) {
	for _, early := range []bool{false, true} {
		l := newLab(t, 0, 1)
		p := &pub{party: l.party(api.Publisher, 1, published()...)}
		l.receive(p.path, p.check())
		l.tell(bus.SessionOwned(p.spec.ID, 0, port.Path{}))
		sealerOf(t, p)
		keys := func() { l.tell(bus.SessionKeyed(0, p.spec.ID, p.ours)) }
		if !early {
			keys()
		}
		forged := p.seal(packet{ssrc: videoSSRC, pt: pubVP8, seq: 1, payload: vp8(true, true, "forged")})
		forged[len(forged)-1]++
		l.receive(p.path, forged)
		p.report(videoSSRC, 0)
		if n := len(l.said(bus.KindMediaBegan)); n != 0 {
			t.Errorf("early %t: media was said to begin %d times; expected none yet", early, n)
		}
		for seq := range uint64(20) {
			p.frame(seq, uint32(seq)*3000, seq == 0)
		}
		if early {
			keys()
		}
		if n := len(l.said(bus.KindMediaBegan)); n != 1 {
			t.Errorf("early %t: media was said to begin %d times; expected once", early, n)
		}
		s := l.watch(1, watched(true)...)
		l.tell(bus.PublicationOpened(1, 1, 0, p.spec))
		p.frame(20, 60000, false)
		l.pass(100 * port.Millisecond)
		var texts []string
		for _, r := range s.media(subVideo) {
			texts = append(texts, string(r.payload[2:]))
		}
		if len(texts) != 21 || texts[0] != "frame 0" || texts[20] != "frame 20" {
			t.Errorf("early %t: the subscriber was sent %v; expected frames 0 to 20", early, texts)
		}
		if l.w.early.media != 0 {
			t.Errorf("early %t: %d packets are held; expected none", early, l.w.early.media)
		}
	}
}

// Media that comes before the keys waits a little, and is bounded.
func TestEarlyMedia(t *testing.T) {
	l := newLab(t, 0, 1)
	p := &pub{party: l.party(api.Publisher, 1, published()...)}
	l.receive(p.path, p.check())
	l.tell(bus.SessionOwned(p.spec.ID, 0, port.Path{}))
	sealerOf(t, p)
	for seq := range uint64(maxEarly + 5) {
		p.frame(seq, uint32(seq), seq == 0)
	}
	if l.drops(DropNotReady) != 5 {
		t.Errorf("%d dropped; expected 5", l.drops(DropNotReady))
	}
	l.tell(bus.SessionKeyed(0, p.spec.ID, p.ours))
	l.tell(bus.PublicationOpened(1, 2, 0, p.spec))
	if h := &l.stream(1).pub.tracks[0].layers[0].history; h.Next() != maxEarly || !h.Key().Valid {
		t.Errorf("%d packets were kept of those that came early", h.Next())
	}
}

// Nobody can authenticate datagrams that subscribers send before their keys. They take the place of no publisher's.
func TestEarlyMediaOfMany(t *testing.T) {
	l := newLab(t, 0, 1)
	media := append([]byte{0x80, 96}, make([]byte, 40)...)
	report := append([]byte{0x80, 201}, make([]byte, 40)...)
	for range 2 * maxHeldReports / maxEarlyReports {
		p := l.party(api.Subscriber, 1, watched(true)...)
		l.receive(p.path, p.check())
		for range 2 * maxEarlyReports {
			l.quietly(p.path, media)
			l.quietly(p.path, report)
		}
	}
	if l.w.early.reports != maxHeldReports || l.w.early.media != 0 {
		t.Errorf("%d reports and %d packets of media are held, want %d and none",
			l.w.early.reports, l.w.early.media, maxHeldReports)
	}
	p := &pub{party: l.party(api.Publisher, 1, published()...)}
	l.receive(p.path, p.check())
	l.tell(bus.SessionOwned(p.spec.ID, 0, port.Path{}))
	sealerOf(t, p)
	for seq := range uint64(maxEarly) {
		p.frame(seq, uint32(seq), seq == 0)
	}
	l.tell(bus.SessionKeyed(0, p.spec.ID, p.ours))
	l.tell(bus.PublicationOpened(1, 2, 0, p.spec))
	if h := &l.stream(1).pub.tracks[0].layers[0].history; h.Next() != maxEarly {
		t.Errorf("%d early packets of the publisher were kept, want %d", h.Next(), maxEarly)
	}
	for id := range l.ids {
		l.tell(bus.SessionClosed(id + 1))
	}
	if l.w.early.reports != 0 || l.w.early.media != 0 {
		t.Errorf("%d reports and %d packets of media are held for no session", l.w.early.reports, l.w.early.media)
	}
}
