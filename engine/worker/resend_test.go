package worker

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"ringcast/engine/port"
	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
)

// Without RTX, a resend has the same bytes.
func TestPlainResend(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	s := l.watch(1, watched(false)...)
	l.forget()
	for seq := range uint64(10) {
		p.frame(seq, uint32(seq)*3000, seq == 0)
	}
	sent := s.media(subVideo)
	l.forget()
	s.nack(subVideo, sent[3].Sequence, sent[7].Sequence)
	again := s.media(subVideo)
	if len(again) != 2 || string(again[0].raw) != string(sent[3].raw) || string(again[1].raw) != string(sent[7].raw) {
		t.Fatalf("%d packets came again; expected 2 with the same bytes", len(again))
	}
	p.sound(0, 0)
	sound := s.media(subAudio)
	l.forget()
	s.nack(subAudio, sound[0].Sequence)
	if again := s.media(subAudio); len(again) != 1 || string(again[0].raw) != string(sound[0].raw) {
		t.Error("the audio packet did not come again as it was")
	}
}

// With RTX, a resend has an SSRC and a numbering of its own. The original number comes before the payload (RFC 4588
// section 4).
func TestRTXResend(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	s := l.watch(1, watched(true)...)
	l.forget()
	for seq := range uint64(10) {
		p.frame(seq, uint32(seq)*3000, seq == 0)
	}
	sent := s.media(subVideo)
	l.forget()
	s.nack(subVideo, sent[3].Sequence)
	s.nack(subVideo, sent[3].Sequence, sent[9].Sequence)
	if n := len(s.media(subVideo)); n != 0 {
		t.Errorf("%d packets came again plainly", n)
	}
	again := s.media(subVideoRTX)
	if len(again) != 3 {
		t.Fatalf("%d packets came by RTX; expected 3", len(again))
	}
	for i, r := range again {
		of := sent[[...]int{3, 9, 3}[i]] // packets that were not resent yet come first
		if binary.BigEndian.Uint16(r.payload) != of.Sequence || string(r.payload[2:]) != string(of.payload) {
			t.Errorf("resend %d carries %x; expected packet %d", i, r.payload, of.Sequence)
		}
		if r.PayloadType != subRTX || r.Timestamp != of.Timestamp || r.Marker != of.Marker {
			t.Errorf("resend %d: %+v of %+v", i, r.Header, of.Header)
		}
		if i > 0 && r.Sequence != again[i-1].Sequence+1 {
			t.Errorf("RTX sequence numbers %d, %d", again[i-1].Sequence, r.Sequence)
		}
	}
}

// Numbers that were never sent, and SSRCs of no track, cause no resend.
func TestResendOfTheUnknown(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	s := l.watch(1, watched(false)...)
	s.nack(subVideo, 0, 1, 65535) // before anything was sent
	l.forget()
	p.frame(0, 0, true)
	p.frame(1, 0, false)
	sent := s.media(subVideo)
	l.forget()
	unknown := []uint16{sent[0].Sequence - 1, sent[1].Sequence + 1, sent[1].Sequence + 1000, sent[0].Sequence + 1<<15}
	l.quietly(s.path, s.seal(appendNACK(unknown)))
	if l.stream(1).debts.next() != nil {
		t.Error("the subscriber is to be visited for packets that no visit can send")
	}
	l.poll()
	s.nack(videoSSRC, sent[0].Sequence)
	s.nack(subVideoRTX, sent[0].Sequence)
	if n := len(s.sent()); n != 0 {
		t.Errorf("%d packets were sent for numbers that are not the subscriber's", n)
	}
}

// A packet that came late, after a loss on the way up, is sent when it comes, and again after a NACK. Its number was
// reserved. A NACK that crossed it brings nothing.
func TestResendOfAGap(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	s := l.watch(1, watched(false)...)
	l.forget()
	p.frame(0, 0, true)
	p.frame(2, 6000, false)
	sent := s.media(subVideo)
	if sent[1].Sequence != sent[0].Sequence+2 {
		t.Fatalf("sequence numbers %d, %d: the gap has no number", sent[0].Sequence, sent[1].Sequence)
	}
	s.nack(subVideo, sent[0].Sequence+1)
	if n := len(s.media(subVideo)); n != 2 {
		t.Fatalf("%d packets; the lost one was not there to be sent", n)
	}
	p.frame(1, 3000, false)
	late := s.media(subVideo)
	if len(late) != 3 || late[2].Sequence != sent[0].Sequence+1 {
		t.Fatal("the late packet was not passed on under its number")
	}
	l.forget()
	s.nack(subVideo, sent[0].Sequence+1)
	if n := len(s.media(subVideo)); n != 0 || l.drops(DropCrossed) != 1 {
		t.Errorf("%d packets, %d NACKs that crossed the late one; want 0 and 1", n, l.drops(DropCrossed))
	}
	l.now += lateSpan
	s.nack(subVideo, sent[0].Sequence+1)
	if again := s.media(subVideo); len(again) != 1 || string(again[0].raw) != string(late[2].raw) {
		t.Error("the late packet did not come again as it was")
	}
}

// A NACK that came right after a late packet was sent may have crossed it. The next one did not, so it is answered.
func TestNACKAgainOfALatePacket(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	s := l.watch(1, watched(true)...)
	for _, seq := range []uint64{0, 1, 3, 2, 4} {
		p.frame(seq, uint32(seq)*3000, seq == 0)
	}
	late := s.media(subVideo)[3].Sequence
	l.forget()
	for at, want := range []int{0, 1} {
		l.pass(ms(15)) // a round trip
		s.nack(subVideo, late)
		if n := len(s.media(subVideoRTX)); n != want {
			t.Errorf("after NACK %d the packet was sent again %d times; want %d", at+1, n, want)
		}
	}
}

// Resends are paid from a budget. A subscriber may NACK the same packets without end. It gets the budget that it
// began with, and a fifth of the bytes that it was sent, less the reserve for new losses.
func TestResendBudget(t *testing.T) {
	for _, rtx := range []bool{false, true} {
		l := newLab(t, 0, 1)
		p := l.publish(1, 1, published()...)
		s := l.watch(1, watched(rtx)...)
		l.forget()
		paid := 0
		var last uint16
		for seq := range uint64(400) {
			l.now += port.Millisecond
			p.send(packet{
				ssrc: videoSSRC, pt: pubVP8, seq: seq, ts: uint32(seq),
				payload: append(vp8(true, seq == 0, ""), make([]byte, 1000)...),
			})
			for _, d := range s.sent() {
				if !rtp.IsRTCP(d.data) {
					paid += len(d.data)
					last = binary.BigEndian.Uint16(d.data[2:])
				}
			}
			l.forget()
		}
		resent := 0
		for range 2000 {
			s.nack(subVideo, last)
			for _, d := range s.sent() {
				resent += len(d.data)
			}
			l.forget()
		}
		most := min(resendStart+paid/resendShare, resendLimit) - resendReserve
		if resent > most || resent < most-3000 {
			t.Errorf("rtx %t: %d bytes were resent; the budget is %d of %d sent", rtx, resent, most, paid)
		}
		if l.drops(DropResends) == 0 {
			t.Errorf("rtx %t: refusals were not counted", rtx)
		}
	}
}

// A receiver that ignores packets from RTX NACKs all of them again and again, in order of the numbers. Its new losses
// are resent at once, even if the repetitions have used up the budget.
func TestNewLossBeforeRepetitions(t *testing.T) {
	for _, rtx := range []bool{false, true} {
		l := newLab(t, 0, 1)
		p := l.publish(1, 1, published()...)
		s := l.watch(1, watched(rtx)...)
		const missed = 300 // more than the budget pays for
		var all []uint16
		next := uint64(0)
		send := func(n int) (seqs []uint16) {
			l.forget()
			for range n {
				l.now += port.Millisecond
				p.send(packet{
					ssrc: videoSSRC, pt: pubVP8, seq: next, ts: uint32(next),
					payload: append(vp8(true, next == 0, ""), make([]byte, 200)...),
				})
				next++
			}
			for _, r := range s.media(subVideo) {
				seqs = append(seqs, r.Sequence)
			}
			return seqs
		}
		all = send(missed)
		for round := range 50 { // until the budget is used up
			l.forget()
			s.nack(subVideo, all...)
			l.now += 20 * port.Millisecond
			if round > 0 && round < 10 {
				fresh := send(2)
				l.forget()
				s.nack(subVideo, append(all, fresh...)...)
				came := make(map[uint16]bool)
				for _, d := range s.media(subVideo) {
					came[d.Sequence] = true
				}
				for _, d := range s.media(subVideoRTX) {
					came[binary.BigEndian.Uint16(d.payload)] = true
				}
				for _, seq := range fresh {
					if !came[seq] {
						t.Errorf("rtx %t, round %d: %d was never resent, after %d repetitions", rtx, round, seq, missed)
					}
				}
			}
		}
		if l.drops(DropResends) == 0 {
			t.Errorf("rtx %t: no repetition was refused", rtx)
		}
	}
}

// The repairs remember resends for repairSpan numbers, and no longer.
func TestResentMemory(t *testing.T) {
	var none *repairs
	if none.resentBefore(5) {
		t.Error("something was resent before anything was")
	}
	r := &repairs{newest: 1 << 16}
	r.note(1 << 16)
	r.note(1<<16 - 3)
	r.note(1<<16 + 9)
	for seq, want := range map[uint64]bool{
		1 << 16: true, 1<<16 - 3: true, 1<<16 + 9: true, 1<<16 - 1: false, 1<<16 + 1: false, 1<<16 + 10: false,
		1<<16 + 9 - repairSpan + 1: false, 1<<16 + 9 - repairSpan: true, // too long ago to tell
	} {
		if got := r.resentBefore(seq); got != want {
			t.Errorf("%d was resent: %t; want %t", seq, got, want)
		}
	}
	r.note(1<<16 + repairSpan) // where 1<<16 was
	if r.resentBefore(1<<16+1) || !r.resentBefore(1<<16+9) || !r.resentBefore(1<<16+repairSpan) {
		t.Error("a step within the span forgot or invented something")
	}
	r.note(1 << 20)
	for seq := uint64(1<<20 - repairSpan + 1); seq < 1<<20; seq++ {
		if r.resentBefore(seq) {
			t.Fatalf("%d is remembered after a jump", seq)
		}
	}
}

// Requests come in any order. Each requested number comes out once: those never resent first, and the oldest of them
// first.
func TestRepairsOrder(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		newest := 1<<17 + rnd.Uint64N(repairSpan)
		r := &repairs{newest: newest}
		resent, wanted := make(map[uint64]bool), make(map[uint64]bool)
		for range rnd.IntN(50) {
			seq := newest - rnd.Uint64N(repairSpan)
			r.note(seq)
			resent[seq] = true
		}
		for range rnd.IntN(200) {
			seq := newest - rnd.Uint64N(repairSpan+20)
			if got, want := r.request(seq), newest-seq < repairSpan && !wanted[seq]; got != want {
				t.Fatalf("seed %d: %d is taken: %t; want %t", seed, seq, got, want)
			}
			if newest-seq < repairSpan {
				wanted[seq] = true
			}
		}
		var want []uint64
		for _, again := range []bool{false, true} {
			for seq := newest - repairSpan + 1; seq <= newest; seq++ {
				if wanted[seq] && resent[seq] == again {
					want = append(want, seq)
				}
			}
		}
		var got []uint64
		for seq, ok := r.next(); ok; seq, ok = r.next() {
			got = append(got, seq)
		}
		if !slices.Equal(got, want) || r.waiting != 0 {
			t.Fatalf("seed %d: took %v, %d left; want %v", seed, got, r.waiting, want)
		}
	}
}

// One compound may NACK thousands of packets. Their number is bounded, and other subscribers' requests are not lost.
func TestResendQueueIsBounded(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	greedy, modest := l.watch(1, watched(false)...), l.watch(1, watched(false)...)
	for seq := range uint64(100) {
		p.frame(seq, uint32(seq), seq == 0)
	}
	first, last := greedy.media(subVideo)[0].Sequence, modest.media(subVideo)[99].Sequence
	l.forget()
	var seqs []uint16
	for i := range 1 << 13 {
		seqs = append(seqs, first+uint16(i))
	}
	// The worker receives many compounds before the next poll.
	for range 4 {
		l.quietly(greedy.path, greedy.seal(appendNACK(seqs[:4096])))
	}
	l.quietly(modest.path, modest.seal(appendNACK([]uint16{last})))
	for _, sub := range l.stream(1).all() {
		if n := sub.tracks[1].repairs.waiting; n > repairSpan {
			t.Errorf("%d resends wait for one subscriber; want at most %d", n, repairSpan)
		}
	}
	l.poll()
	if len(modest.media(subVideo)) != 1 {
		t.Error("one subscriber's flood of NACKs cost another its resend")
	}
}

// A NACK counts the packets that were sent, by whether they were asked for before. Those that were never sent do not
// count, and neither do those that left the history.
func TestNACKCountsRequests(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	s := l.watch(1, watched(true)...)
	for _, seq := range []uint64{0, 1, 2, 4, 5, 7} { // 3 and 6 are lost on their way to the server
		p.frame(seq, uint32(seq)*3000, seq == 0)
	}
	sub := l.stream(1).all()[0]
	first := s.media(subVideo)[0].Sequence
	ask := func(seqs ...uint16) nacked {
		b := rtcp.AppendNACK(nil, 1, subVideo, seqs)
		var x rtcp.Packet
		if r := rtcp.NewReader(b); !r.Next(&x) {
			t.Fatal("the NACK does not parse")
		}
		asked, _ := l.w.handleNACK(l.now, sub, &x)
		return asked
	}
	for _, c := range []struct {
		name string
		seqs []uint16
		want nacked
	}{
		{"two that were sent", []uint16{first + 1, first + 2}, nacked{2, 0}},
		{"one of them again, before it was resent, and another", []uint16{first + 2, first + 4}, nacked{1, 1}},
		{"one that the server never had", []uint16{first + 3}, nacked{}},
		{"some that were not sent yet or never will be", []uint16{first + 8, first + 100, first - 1}, nacked{}},
	} {
		if got := ask(c.seqs...); got != c.want {
			t.Errorf("%s: %+v; expected %+v", c.name, got, c.want)
		}
	}
	l.quietly(p.path, p.seal(packet{ssrc: videoSSRC, pt: pubVP8, seq: 6, ts: 18000, payload: vp8(true, false, "")}))
	if got := ask(first + 6); got != (nacked{}) {
		t.Errorf("one that came late and was not sent yet: %+v; expected none", got)
	}
	l.poll()
	if got := ask(first+1, first+5); got != (nacked{1, 1}) {
		t.Errorf("one that was resent, and another: %+v; expected one of each", got)
	}
	for seq := uint64(8); seq < 108; seq++ { // the history keeps a second
		p.send(packet{
			ssrc: videoSSRC, pt: pubVP8, seq: seq, ts: uint32(seq) * 3000,
			payload: append(vp8(true, false, ""), make([]byte, 1000)...),
		})
		l.pass(30 * port.Millisecond)
	}
	if got := ask(first); got != (nacked{}) {
		t.Errorf("one that left the history: %+v; expected none", got)
	}
}

// A resend for a subscriber that was closed meanwhile is skipped.
func TestResendAfterClose(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	s := l.watch(1, watched(false)...)
	p.frame(0, 0, true)
	seq := s.media(subVideo)[0].Sequence
	l.forget()
	l.quietly(s.path, s.seal(appendNACK([]uint16{seq})))
	l.tell(closed(s.party))
	if n := len(l.sent); n != 0 {
		t.Errorf("%d datagrams to a closed session", n)
	}
}

// A subscription without RTX never carries transport-wide numbers, even if they were negotiated. So a resend has the
// same bytes.
func TestPlainResendCarriesNoNumber(t *testing.T) {
	l := newLab(t, 0, 1)
	tracks := watched(false)
	tracks[0].Extensions[rtp.TransportSequence] = 13
	s := l.watch(1, tracks...)
	p := l.publish(1, 1, simulcast()...)
	p.layer(hiSSRC, 0, 0, vp8(true, true, ""))
	sent := s.media(subVideo)
	if len(sent) != 1 || numberOf(t, sent[0]) >= 0 {
		t.Fatalf("%d packets, the first with the number %d; expected one without", len(sent), numberOf(t, sent[0]))
	}
	l.forget()
	s.nack(subVideo, sent[0].Sequence)
	if again := s.media(subVideo); len(again) != 1 || string(again[0].raw) != string(sent[0].raw) {
		t.Errorf("%d packets came again; expected one with the same bytes", len(again))
	}
}

// A packet that may have carried a transport-wide number is never resent plainly, even if subscribe erred. The nonce
// would seal other bytes.
func TestPlainResendOfTheNumbered(t *testing.T) {
	l := newLab(t, 0, 1)
	tracks := watched(false)
	tracks[0].Extensions[rtp.TransportSequence] = 13
	s := l.watch(1, tracks...)
	l.stream(1).all()[0].tracks[1].numbered = true
	p := l.publish(1, 1, simulcast()...)
	p.layer(hiSSRC, 0, 0, vp8(true, true, ""))
	sent := s.media(subVideo)
	if len(sent) != 1 || numberOf(t, sent[0]) < 0 {
		t.Fatalf("%d packets; expected one with a transport-wide number", len(sent))
	}
	l.forget()
	s.nack(subVideo, sent[0].Sequence) // the oracle looks on
	if n := len(s.media(subVideo)); n != 0 {
		t.Errorf("%d packets were resent", n)
	}
	if n := l.drops(DropPlainResend); n != 1 {
		t.Errorf("%d resends were counted as dropped; expected 1", n)
	}
}
