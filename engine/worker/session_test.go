package worker

import (
	"testing"
	"unsafe"

	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtcp"
)

// clientHello is the start of a DTLS handshake record.
var clientHello = []byte{22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3}

// A viewer that sends no checks is kept by its fresh SRTCP: some ICE stacks keep alive by Binding indications, which
// prove nothing. A replayed datagram keeps nobody.
func TestConsentOfSubscriber(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	s := l.watch(1, watched(true)...)
	l.forget()
	seq := uint64(0)
	live := func(span port.Time, say func()) {
		for end := l.now + span; l.now < end; seq++ {
			if seq%10 == 0 {
				say()
			}
			l.pass(500 * port.Millisecond)
			p.frame(seq, uint32(seq), seq == 0)
		}
	}
	live(3*consentSpan, func() { s.rtcp(rtcp.AppendReceiverReport(nil, 1, nil)) })
	if n := len(l.said(bus.KindSessionEnded)); n != 0 {
		t.Fatalf("%d sessions were ended that report each 5 s, want none", n)
	}
	old := s.seal(rtcp.AppendReceiverReport(nil, 1, nil))
	l.receive(s.path, old)
	last := l.now
	quiet := func() {
		l.receive(s.path, old)
		l.receive(s.path, indication)
	}
	live(consentSpan-port.Second, quiet)
	if n := len(l.said(bus.KindSessionEnded)); n != 0 {
		t.Fatalf("ended %.1f s after its last fresh report, want %.1f", (l.now - last).Seconds(), consentSpan.Seconds())
	}
	live(port.Second, quiet)
	ended := l.said(bus.KindSessionEnded)
	if len(ended) != 1 || ended[0].ID != s.spec.ID || ended[0].Reason != api.ReasonConsentExpired {
		t.Fatalf("%.1f s after its last fresh report: %+v", (l.now - last).Seconds(), ended)
	}
	l.pass(60 * port.Second)
	for _, m := range l.said(bus.KindSessionEnded)[1:] {
		if m.ID == s.spec.ID {
			t.Error("its end was told more than once")
		}
	}
}

// An authentic check renews consent, and a forged one does not.
func TestConsentIsRenewed(t *testing.T) {
	l := newLab(t, 0, 1)
	s := l.watch(1, watched(true)...)
	for range 10 {
		l.pass(consentSpan - port.Second)
		l.receive(s.path, s.request(false)) // Firefox nominates only once
	}
	if len(l.said(bus.KindSessionEnded)) != 0 {
		t.Error("a peer that checks was ended")
	}
	// A forged check renews nothing.
	l.pass(consentSpan - port.Second)
	bad := s.check()
	bad[len(bad)-1] ^= 1
	l.receive(s.path, bad)
	l.pass(port.Second)
	if len(l.said(bus.KindSessionEnded)) != 1 {
		t.Error("a forged check renewed consent")
	}
}

// A publisher's media is consent enough, as long as it is authentic.
func TestConsentOfPublisher(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	for seq := range uint64(10) {
		l.pass(consentSpan - port.Second)
		p.frame(seq, 0, false)
	}
	l.pass(consentSpan - port.Second)
	p.rtcp(rtcp.AppendReceiverReport(nil, videoSSRC, nil))
	l.pass(consentSpan - port.Second)
	if len(l.said(bus.KindSessionEnded)) != 0 {
		t.Fatal("a publisher that sends was ended")
	}
	forged := p.seal(packet{ssrc: videoSSRC, pt: pubVP8, seq: 100, payload: vp8(true, false, "")})
	forged[len(forged)-1] ^= 1
	l.receive(p.path, forged)
	l.pass(port.Second)
	if ended := l.said(bus.KindSessionEnded); len(ended) != 1 || ended[0].Reason != api.ReasonConsentExpired {
		t.Errorf("after 30 s without an authentic packet: %+v", ended)
	}
}

// The first authentic SRTP or SRTCP tells the controller, once, that the peer has its keys.
func TestConnectedOnce(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	s := l.watch(1, watched(true)...)
	if len(l.said(bus.KindSessionConnected)) != 0 {
		t.Error("connected before anything authentic came")
	}
	for seq := range uint64(3) {
		p.frame(seq, 0, seq == 0)
		s.rtcp(rtcp.AppendReceiverReport(nil, 1, nil))
	}
	if m := l.said(bus.KindSessionConnected); len(m) != 2 || m[0].ID != p.spec.ID || m[1].ID != s.spec.ID {
		t.Errorf("%+v", m)
	}
}

// A session passes a bounded amount of DTLS a second to the controller.
func TestDTLSFlood(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.party(api.Subscriber, 1, watched(true)...)
	l.receive(p.path, p.check())
	l.forget()
	for range 10 * maxRecords {
		l.receive(p.path, clientHello)
	}
	got := l.said(bus.KindRecordReceived)
	if len(got) != maxRecords || l.drops(DropRecords) != 9*maxRecords {
		t.Fatalf("%d passed, %d dropped", len(got), l.drops(DropRecords))
	}
	if got[0].ID != p.spec.ID || got[0].Path != p.path || string(got[0].Data) != string(clientHello) {
		t.Errorf("the record was passed on as %+v", got[0])
	}
	l.pass(budgetSpan)
	l.receive(p.path, clientHello)
	if len(l.said(bus.KindRecordReceived)) != maxRecords+1 {
		t.Error("nothing passes a second later")
	}
}

// After the handshake little DTLS means anything: the peer's repeated last flight until it is heard by SRTP, and its
// goodbye. Nothing else reaches the controller.
func TestDTLSAfterHandshake(t *testing.T) {
	l := newLab(t, 0, 1)
	s := l.watch(1, watched(true)...)
	alert := []byte{recordAlert, 0xFE, 0xFD, 0, 1, 0, 0, 0, 0, 0, 1, 0, 2, 1, 0}
	flood := func(data []byte, want int) {
		t.Helper()
		l.pass(budgetSpan)
		l.forget()
		dropped := l.drops(DropRecords)
		for range 1000 {
			l.receive(s.path, data)
		}
		if n := len(l.said(bus.KindRecordReceived)); n != want || l.drops(DropRecords)-dropped != uint64(1000-want) {
			t.Errorf("%d records of content type %d passed and %d were dropped, want %d and %d",
				n, data[0], l.drops(DropRecords)-dropped, want, 1000-want)
		}
	}
	flood(clientHello, maxKeyedRecords)
	flood(alert, maxKeyedRecords)
	s.rtcp(rtcp.AppendReceiverReport(nil, 1, nil))
	flood(clientHello, 0)
	flood(alert, maxKeyedRecords)
	l.receive(s.path, clientHello)
	l.pass(budgetSpan)
	l.forget()
	l.receive(s.path, clientHello)
	l.receive(s.path, alert)
	if m := l.said(bus.KindRecordReceived); len(m) != 1 || m[0].Data[0] != recordAlert {
		t.Errorf("%d records passed, want the goodbye alone", len(m))
	}
}

// The budget of the handshake does not last beyond it.
func TestRecordsLeftAtKeys(t *testing.T) {
	l := newLab(t, 0, 1)
	s := l.watch(1, watched(true)...)
	for range maxRecords {
		l.receive(s.path, clientHello)
	}
	if n := len(l.said(bus.KindRecordReceived)); n != maxKeyedRecords {
		t.Errorf("%d records passed at once after the handshake, want %d", n, maxKeyedRecords)
	}
}

// A second set of keys is refused: nonces would begin again.
func TestKeysCountOnce(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	s := l.watch(1, watched(false)...)
	p.frame(0, 0, true)
	first := s.media(subVideo)
	l.tell(bus.SessionKeyed(0, s.spec.ID, s.ours))
	l.tell(bus.SessionKeyed(0, p.spec.ID, p.ours))
	p.frame(1, 3000, false)
	if got := s.media(subVideo); len(got) != 2 || got[1].Sequence != first[0].Sequence+1 {
		t.Errorf("%d packets; the numbering must go on", len(got))
	}
	if n := l.stream(1).subscribers(); n != 1 {
		t.Errorf("%d subscribers", n)
	}
}

// RTP from a subscriber is nobody's.
func TestSubscriberSendsRTP(t *testing.T) {
	l := newLab(t, 0, 1)
	s := l.watch(1, watched(true)...)
	l.forget()
	l.receive(s.path, make([]byte, 1)) // STUN of one byte
	l.receive(s.path, append([]byte{0x80, 96}, make([]byte, 40)...))
	if l.drops(DropRole) != 1 || len(l.sent)+len(l.messages)+len(l.fed) != 0 {
		t.Error("RTP of a subscriber did something")
	}
}

// There are thousands of sessions, on every worker.
func TestSessionSizes(t *testing.T) {
	for _, x := range []struct {
		name      string
		got, most uintptr
	}{
		{"session", unsafe.Sizeof(session{}), 64},
		{"path", unsafe.Sizeof(path{}), 80},
		{"live", unsafe.Sizeof(live{}), 160},
		{"dialling", unsafe.Sizeof(dialling{}), 1408},
	} {
		if x.got > x.most {
			t.Errorf("a %s is %d bytes, want at most %d", x.name, x.got, x.most)
		}
	}
}

// A subscriber that cannot play what is published is told so: the controller's goodbye finds its way.
func TestGoodbyeAfterCodecMismatch(t *testing.T) {
	l := newLab(t, 0, 1)
	tracks := published()
	tracks[0].Formats[0].Codec = 3 // VP9
	p := l.publish(1, 1, tracks...)
	s := l.watch(1, watched(true)...)
	p.send(packet{ssrc: videoSSRC, pt: pubVP8, seq: 0, payload: []byte{0x08, 0x82, 0}})
	l.pass(port.Millisecond)
	if m := l.said(bus.KindSessionEnded); len(m) != 1 || m[0].Reason != api.ReasonCodec {
		t.Fatalf("ended: %+v", m)
	}
	l.forget()
	notify := bus.SendRecord(0, s.spec.ID, []byte{21, 1, 2, 3})
	end := closed(s.party)
	l.hand(notify)
	l.hand(end)
	l.poll()
	if n := len(s.sent()); n != 1 {
		t.Errorf("%d records were sent; expected the close_notify", n)
	}
}
