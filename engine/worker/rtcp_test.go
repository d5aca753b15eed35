package worker

import (
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtcp"
)

// A goodbye ends a subscriber if it names the source that it reports under; of a publisher it only pauses
// what it names.
func TestBye(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	s := l.watch(1, watched(true)...)
	p.rtcp(rtcp.AppendBye(nil, videoSSRC))
	if n := len(l.said(bus.KindSessionEnded)); n != 0 {
		t.Error("a publisher's goodbye for one source ended its session")
	}
	report := func(ssrc uint32) []byte { return rtcp.AppendReceiverReport(nil, ssrc, nil) }
	s.rtcp(rtcp.AppendBye(nil, 7, 0)) // nobody has reported yet
	for _, others := range [][]uint32{{subVideo}, {subVideo, subVideoRTX, subAudio}, {0}, {8}} {
		s.rtcp(rtcp.AppendBye(report(7), others...))
	}
	if n := len(l.said(bus.KindSessionEnded)); n != 0 || l.counted(ReceivedBYEs) != 6 {
		t.Errorf("%d goodbyes of other sources ended %d sessions", l.counted(ReceivedBYEs)-1, n)
	}
	s.rtcp(rtcp.AppendBye(report(7), 8, 7))
	ended := l.said(bus.KindSessionEnded)
	if len(ended) != 1 || ended[0].ID != s.spec.ID || ended[0].Reason != api.ReasonBye ||
		ended[0].To != bus.Controller {
		t.Fatalf("a subscriber's goodbye: %+v", ended)
	}
	l.tell(closed(s.party))
	l.forget()
	p.frame(0, 0, true)
	if n := len(s.sent()); n != 0 {
		t.Errorf("%d datagrams after the goodbye", n)
	}
}

// RTCP that is malformed after a well-formed part is counted, and so is that part.
func TestMalformedRTCP(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	s := l.watch(1, watched(true)...)
	p.frame(0, 0, true)
	l.pass(3 * port.Second)
	p.asked()
	s.rtcp(append(rtcp.AppendPLI(nil, 1, subVideo), 0x81, 201, 0, 99))
	if l.drops(DropRTCP) != 1 || count(p.asked(), rtcp.PLI) != 1 {
		t.Errorf("%d malformed, PLI passed on: %d", l.drops(DropRTCP), count(p.asked(), rtcp.PLI))
	}
	p.rtcp([]byte{0x80, 200, 0, 1, 0, 0, 0, 1})
	if l.drops(DropRTCP) != 2 {
		t.Error("a sender report without its body passed")
	}
}

// A replayed or forged SRTCP packet does nothing, and does not end the session.
func TestForgedRTCP(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	s := l.watch(1, watched(true)...)
	p.frame(0, 0, true)
	l.pass(3 * port.Second)
	p.asked()
	pli := s.seal(rtcp.AppendPLI(nil, 1, subVideo))
	bad := append([]byte(nil), s.seal(rtcp.AppendBye(nil, 1))...)
	bad[9] ^= 1
	for range 100 {
		l.receive(s.path, bad)
	}
	l.receive(s.path, pli)
	l.pass(port.Second)
	l.receive(s.path, pli)
	l.pass(port.Second)
	if n := count(p.asked(), rtcp.PLI); n != 1 {
		t.Errorf("%d PLIs; the replayed one must not count", n)
	}
	if n := len(l.said(bus.KindSessionEnded)); n != 0 {
		t.Errorf("%d sessions were ended, want none", n)
	}
	if forged, replayed := l.drops(DropSRTPAuth), l.drops(DropReplay); forged != 100 || replayed != 1 {
		t.Errorf("%d forged and %d replayed packets were counted; want 100 and 1", forged, replayed)
	}
}

// RTCP of a peer that did not offer reduced-size RTCP begins with a report. Feedback and goodbyes alone are accepted
// all the same, because peers in use send them.
func TestReducedSizeRTCP(t *testing.T) {
	report := rtcp.AppendReceiverReport(nil, 7, nil)
	for _, x := range []struct {
		name    string
		data    []byte
		refused bool // where compounds are due
	}{
		{"a report", report, false},
		{"a description after a report", rtcp.AppendSDES(report, 7, "name"), false},
		{"NACK", appendNACK([]uint16{1}), false},
		{"PLI", appendPLI(), false},
		{"a goodbye", rtcp.AppendBye(nil, 9), false},
		{"a description alone", rtcp.AppendSDES(nil, 7, "name"), true},
		{"an application's own", []byte{0x80, 204, 0, 2, 0, 0, 0, 7, 'n', 'a', 'm', 'e'}, true},
		{"an extended report alone", []byte{0x80, 207, 0, 1, 0, 0, 0, 7}, true},
	} {
		for _, compound := range []bool{false, true} {
			l := newLab(t, 0, 1)
			p := l.publish(1, 1, published()...)
			s := l.watch(1, watched(true)...)
			p.spec.CompoundRTCP, s.spec.CompoundRTCP = compound, compound
			s.rtcp(x.data)
			p.rtcp(x.data)
			want := uint64(0)
			if compound && x.refused {
				want = 2
			}
			if got := l.drops(DropRTCP); got != want {
				t.Errorf("%s, compound %t: refused %d times, want %d", x.name, compound, got, want)
			}
		}
	}
}

// floodNACK is the longest NACK there is: 340 entries of 17 sequence numbers each.
func floodNACK() []byte {
	b := []byte{0x81, 205, 1, 0x56, 0, 0, 0, 1, 0, 0, 0xC0, 0x01}
	for i := range 340 {
		b = append(b, byte(i*17>>8), byte(i*17), 0xFF, 0xFF)
	}
	return b
}

// A flood of NACKs costs what a session's budget allows, counted, and nobody else's resends.
func TestFloodOfNACKs(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	a, b := l.watch(1, watched(true)...), l.watch(1, watched(true)...)
	for seq := range uint64(100) {
		p.frame(seq, uint32(seq), seq == 0)
	}
	last := uint16(l.lastVideo(b))
	l.forget()
	const floods = 2 * maxControl / controlCost
	for range floods {
		l.quietly(a.path, a.seal(floodNACK()))
	}
	if n := l.counted(ReceivedNACKs); n > maxControl {
		t.Errorf("%d sequence numbers of a flood were looked at in one second, want at most %d", n, maxControl)
	}
	if n := l.drops(DropRTCPFlood); n < floods/2 {
		t.Errorf("%d of %d datagrams were dropped as a flood, want half", n, floods)
	}
	l.quietly(b.path, b.seal(appendNACK([]uint16{last, last - 1})))
	l.poll()
	if n := len(b.media(subVideoRTX)); n != 2 {
		t.Errorf("the other viewer was resent %d packets, want 2", n)
	}
	if n := len(l.said(bus.KindSessionEnded)); n != 0 {
		t.Errorf("%d sessions were ended, want none", n)
	}
	// The next second the session has a budget again, and what others forge takes nothing from it.
	l.pass(budgetSpan)
	forged := a.seal(floodNACK())
	forged[20] ^= 1
	for range 2 * maxControl / controlCost {
		l.quietly(a.path, forged)
	}
	l.forget()
	last = uint16(l.lastVideo(a))
	a.nack(subVideo, last)
	if n := len(a.media(subVideoRTX)); n != 1 {
		t.Errorf("%d packets were resent after a flood that others forged, want 1", n)
	}
}

// Binding indications are counted by themselves. Only a badly formed one is malformed.
func TestIndications(t *testing.T) {
	l := newLab(t, 0, 1)
	s := l.watch(1, watched(true)...)
	l.forget()
	l.receive(s.path, indication)
	l.receive(s.path, append([]byte{0, 0x11, 0, 0}, indication[4:20]...)) // without a fingerprint
	if n := l.counted(ReceivedIndications); n != 2 || l.drops(DropSTUN) != 0 {
		t.Errorf("%d indications and %d malformed datagrams were counted, want 2 and 0", n, l.drops(DropSTUN))
	}
	wrong := append([]byte(nil), indication...)
	wrong[27] ^= 1
	l.receive(s.path, wrong)
	l.receive(s.path, indication[:24])
	if n := l.counted(ReceivedIndications); n != 2 || l.drops(DropSTUN) != 2 {
		t.Errorf("%d indications and %d malformed datagrams were counted, want 2 and 2", n, l.drops(DropSTUN))
	}
	if len(l.sent)+len(l.messages)+len(l.fed) != 0 {
		t.Errorf("%d datagrams and %d messages answer indications, want none", len(l.sent), len(l.messages)+len(l.fed))
	}
}

// One viewer sends the longest NACKs without a pause; each is opened, and few of its sequence numbers are looked at.
func BenchmarkFloodOfNACKs(b *testing.B) {
	l := newLab(b, 0, 1)
	p := l.publish(1, 1, published()...)
	a := l.watch(1, watched(true)...)
	for seq := range uint64(300) {
		p.frame(seq, uint32(seq), seq == 0)
	}
	const batch = 500
	sealed := make([][]byte, batch)
	for i := 0; i < b.N; i++ {
		if i%batch == 0 {
			b.StopTimer()
			for j := range sealed {
				sealed[j] = a.seal(floodNACK())
			}
			b.StartTimer()
		}
		l.w.HandlePacket(l.now, &port.Inbound{Path: a.path, Data: sealed[i%batch], Arrival: l.now})
	}
}
