package worker

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"

	"ringcast/engine/port"
	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
)

// Layers that are announced by RID are found by it; once the SSRC is known the RID may go.
func TestSimulcastByRID(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, simulcast()...)
	layers := l.stream(1).pub.tracks[0].layers
	p.layer(hiSSRC, 0, 0, vp8(true, true, "hi"))
	p.layer(loSSRC, 0, 0, vp8(true, true, "lo"))
	for seq := uint64(1); seq < 4; seq++ { // without RID now
		p.send(packet{ssrc: loSSRC, pt: pubVP8, seq: seq, payload: vp8(true, false, "lo")})
	}
	if lo, hi := layers[1].history.Next(), layers[0].history.Next(); lo != 4 || hi != 1 {
		t.Errorf("%d packets in the low layer and %d in the high one; expected 4 and 1", lo, hi)
	}
	// Which layer a source is, cannot be guessed.
	p.send(packet{ssrc: 0xE000, pt: pubVP8, seq: 1, payload: vp8(true, false, "?")})
	p.send(packet{
		ssrc: 0xE001, pt: pubVP8, seq: 1, ext: []byte{idRID<<4 | 1, 'n', 'o'}, payload: vp8(true, false, "?"),
	})
	if l.drops(DropUnbound) != 2 {
		t.Errorf("%d unbound packets; expected 2", l.drops(DropUnbound))
	}
}

// A layer's retransmissions are found by the repaired RID, and restored.
func TestRepairedRID(t *testing.T) {
	for _, twoByte := range []bool{false, true} {
		t.Run(fmt.Sprint("two-byte ", twoByte), func(t *testing.T) {
			l := newLab(t, 0, 1)
			p := l.publish(1, 1, simulcast()...)
			layers := l.stream(1).pub.tracks[0].layers
			p.layer(loSSRC, 10, 0, vp8(true, true, "lo"))
			p.layer(hiSSRC, 20, 0, vp8(true, true, "hi"))
			p.layer(hiSSRC, 22, 6000, vp8(true, false, "hi 22"))
			ext := []byte{idRepaired<<4 | 1, 'h', 'i'}
			if twoByte {
				ext = []byte{idMID, 1, 'v', idRepaired, 2, 'h', 'i'}
			}
			p.send(packet{
				ssrc: 0xF002, pt: pubRTX, seq: 900, ts: 3000, marker: true, ext: ext, twoByte: twoByte,
				payload: append([]byte{0, 21}, vp8(true, false, "hi 21")...),
			})
			h := &layers[0].history
			if h.Next() != 3 {
				t.Fatalf("%d packets in the layer; expected 3", h.Next())
			}
			e, want := h.At(2), string(vp8(true, false, "hi 21"))
			if e.Number != h.At(0).Number+1 || e.PayloadType != pubVP8 || e.Timestamp != 3000 ||
				string(h.Payload(e)) != want {
				t.Errorf("restored: %+v %q", e.Packet, h.Payload(e))
			}
			if l.counted(ReceivedRTX) != 1 {
				t.Error("it was not counted as a retransmission")
			}
		})
	}
}

// A publisher that announces no SSRCs is bound by MID, or by payload types that only one track has.
func TestBindingByMIDAndPayloadType(t *testing.T) {
	for _, mid := range []bool{true, false} {
		l := newLab(t, 0, 1)
		tracks := published()
		tracks[0].Encodings, tracks[1].Encodings = []rtp.Encoding{{}}, []rtp.Encoding{{}}
		p := l.publish(1, 1, tracks...)
		var v, a []byte
		if mid {
			v, a = []byte{idMID << 4, 'v'}, []byte{idMID << 4, 'a'}
		}
		p.send(packet{ssrc: 1, pt: pubVP8, seq: 1, ext: v, payload: vp8(true, true, "")})
		p.send(packet{ssrc: 2, pt: pubOpus, seq: 1, ext: a, payload: []byte("opus")})
		p.send(packet{ssrc: 3, pt: pubRTX, seq: 1, ext: v, payload: append([]byte{0, 0}, vp8(true, false, "")...)})
		x := l.stream(1).pub.tracks
		if x[0].layers[0].history.Next() != 2 || x[1].layers[0].history.Next() != 1 {
			t.Errorf("MID %t: %d packets of video, %d of audio; expected 2 and 1",
				mid, x[0].layers[0].history.Next(), x[1].layers[0].history.Next())
		}
		p.send(packet{ssrc: 4, pt: 77, seq: 1, payload: []byte("what?")})
		p.send(packet{
			ssrc: 5, pt: pubOpus, seq: 1, ext: []byte{idMID << 4, 'v'}, payload: []byte("audio on the video line"),
		})
		if l.drops(DropUnbound)+l.drops(DropPayloadType) != 2 {
			t.Error("foreign payload types were not dropped")
		}
	}
}

// 65,000 SSRCs of a publisher: few are taken, memory stays flat.
func TestManySSRCs(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	p.frame(0, 0, true)
	live := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	// GCM's seals are independent of earlier ones, so one sealer serves all sources.
	for ssrc := range uint32(500) {
		l.quietly(p.path, p.seal(packet{ssrc: 1_000_000 + ssrc, pt: 77, seq: 1, payload: []byte{1}}))
	}
	before := live()
	for ssrc := range uint32(65_000) {
		l.quietly(p.path, p.seal(packet{ssrc: 2_000_000 + ssrc, pt: pubVP8, seq: 1, payload: []byte{1}}))
	}
	if after := live(); after > before+1<<20 {
		t.Errorf("memory grew by %d bytes", after-before)
	}
	if n := len(l.w.sessions[p.spec.ID].pub.sources); n > maxSources {
		t.Errorf("%d sources", n)
	}
	if l.drops(DropSSRCs) < 64_000 {
		t.Errorf("%d packets were over the cap", l.drops(DropSSRCs))
	}
	l.poll()
	p.frame(1, 0, false)
	if h := &l.stream(1).pub.tracks[0].layers[0].history; h.Next() != 2 {
		t.Errorf("the honest source has %d packets; expected 2", h.Next())
	}
}

// A publisher that changes its SSRC now and then goes on for days. A packet of a forgotten source that was recorded is
// not recorded again.
func TestSSRCChangesForDays(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	var first []byte
	const changes = 3 * 24 * 60 / 10
	for i := range uint32(changes) {
		x := packet{
			ssrc: 0x70000 + i, pt: pubVP8, seq: 7, ts: 5, ext: []byte{idMID << 4, 'v'}, payload: vp8(true, true, "key"),
		}
		data := p.seal(x)
		if i == 0 {
			first = data
		}
		taken := l.counted(ReceivedRTP)
		l.receive(p.path, data)
		if l.counted(ReceivedRTP) != taken+1 {
			t.Fatalf("the packet under SSRC %d of %d was not taken: %v", i+1, changes, l.w.counters.Drops)
		}
		if h := &l.stream(1).pub.tracks[0].layers[0].history; h.Next() == h.First() {
			t.Fatalf("the packet under SSRC %d of %d is not in the layer's history", i+1, changes)
		}
		for range 20 {
			l.pass(29 * port.Second)
			l.receive(p.path, p.check())
		}
	}
	if n := len(l.w.sessions[p.spec.ID].pub.sources); n > maxSources {
		t.Errorf("%d sources are bound, want at most %d", n, maxSources)
	}
	replayed := l.drops(DropReplay)
	l.receive(p.path, first)
	if n := l.drops(DropReplay) - replayed; n != 1 {
		t.Errorf("a packet of a forgotten source was counted as replayed %d times, want once", n)
	}
}

// A layer that goes on under another SSRC breaks its numbering, and goes on.
func TestSSRCChange(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	s := l.watch(1, watched(false)...)
	l.forget()
	p.frame(1000, 0, true)
	p.send(packet{
		ssrc: 0xA999, pt: pubVP8, seq: 7, ts: 5, ext: []byte{idMID << 4, 'v'}, payload: vp8(true, true, "new"),
	})
	p.send(packet{ssrc: 0xA999, pt: pubVP8, seq: 8, ts: 3005, payload: vp8(true, false, "new")})
	got := s.media(subVideo)
	if len(got) != 3 || got[2].Sequence != got[0].Sequence+2 || int32(got[1].Timestamp-got[0].Timestamp) <= 0 {
		t.Errorf("%d packets across a change of SSRC", len(got))
	}
	s.rtcp(appendPLI())
	l.pass(2 * port.Second)
	for _, f := range p.asked() {
		if f.Media == videoSSRC {
			t.Error("feedback still goes to the old SSRC")
		}
	}
}

// sendUnder sends some frames of the video under an SSRC, a keyframe first, numbered from next on.
func (p *pub) sendUnder(ssrc uint32, next map[uint32]uint64, n int) {
	p.lab.Helper()
	for i := range n {
		seq := next[ssrc]
		next[ssrc]++
		p.send(packet{
			ssrc: ssrc, pt: pubVP8, seq: seq, ts: ssrc + uint32(seq)*3000, marker: true,
			ext: []byte{idMID << 4, 'v'}, payload: vp8(true, i == 0, fmt.Sprint(ssrc, seq)),
		})
		p.lab.pass(10 * port.Millisecond)
	}
}

// A publisher goes from one SSRC to another and back: viewers play on each time. Late packets of the source that was
// left do not bring it back.
func TestSSRCChangesBack(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	s := l.watch(1, watched(false)...)
	const a, b = videoSSRC, 0xA999
	next := map[uint32]uint64{a: 60_000, b: 7}
	send := func(ssrc uint32, n int) { p.sendUnder(ssrc, next, n) }
	l.forget()
	sent := 0
	for round := range 3 {
		send(a, 25)
		send(b, 5)
		late := next[a] + 3
		p.send(packet{ssrc: a, pt: pubVP8, seq: late, payload: vp8(true, true, "late")})
		send(b, 25)
		sent += 55
		if n := l.drops(DropLate); n != uint64(round+1) {
			t.Fatalf("round %d: %d late packets were dropped; expected one a round", round, n)
		}
		next[a] = late + 1
	}
	got := s.media(subVideo)
	if len(got) != sent {
		t.Fatalf("%d packets of %d reached the viewer", len(got), sent)
	}
	// A short visit to b: a goes on before its packets can be told from late ones.
	send(a, 25)
	send(b, 3)
	send(a, 40)
	l.pass(port.Second) // a keyframe is asked for meanwhile
	if n := count(p.asked(), rtcp.PLI); n == 0 {
		t.Error("no keyframe was asked for after a short visit")
	}
	before := len(s.media(subVideo))
	send(a, 10)
	if n := len(s.media(subVideo)) - before; n != 10 {
		t.Errorf("%d packets of 10 after a short visit", n)
	}
	// Both at once: the present one stays.
	epoch := l.stream(1).pub.tracks[0].layers[0].epoch
	for range 60 {
		send(b, 1)
		send(a, 1)
	}
	if n := l.stream(1).pub.tracks[0].layers[0].epoch - epoch; n > 1 {
		t.Errorf("two sources that send at once took %d turns", n)
	}
	got = got[:sent]
	for i := 1; i < len(got); i++ {
		if got[i].Sequence != got[i-1].Sequence+1 || int32(got[i].Timestamp-got[i-1].Timestamp) <= 0 {
			t.Fatalf("packet %d: sequence %d after %d, timestamp %d after %d",
				i, got[i].Sequence, got[i-1].Sequence, got[i].Timestamp, got[i-1].Timestamp)
		}
	}
}

// The retransmissions' SSRC is kept across a change of the media's: its packets then belong to the new source. A
// retransmission of the old one's packets, whose numbers have nothing to do with the new ones, breaks nothing.
func TestRTXAcrossSSRCChange(t *testing.T) {
	for _, known := range []bool{true, false} { // whether RTX was heard of before the change
		l := newLab(t, 0, 1)
		p := l.publish(1, 1, published()...)
		s := l.watch(1, watched(false)...)
		l.forget()
		p.frame(1000, 0, true)
		again := func(seq uint64, osn uint16, text string) {
			p.send(packet{
				ssrc: videoRTX, pt: pubRTX, seq: seq, ts: 6000, marker: true,
				payload: append(binary.BigEndian.AppendUint16(nil, osn), vp8(true, false, text)...),
			})
		}
		if known {
			p.frame(1002, 6000, false)
			again(1, 1001, "of the old")
		}
		before := len(s.media(subVideo))
		p.newSSRC(0xA999, 100, 500_000, true)
		again(2, 1003, "late, of the old")
		p.newSSRC(0xA999, 102, 506_000, false)
		again(3, 101, "of the new")
		got := s.media(subVideo)[before:]
		if len(got) != 3 || string(got[2].payload) != string(vp8(true, false, "of the new")) {
			t.Fatalf("RTX known before %t: %d packets after the change; expected 3", known, len(got))
		}
		if got[2].Sequence != got[0].Sequence+1 || got[1].Sequence != got[0].Sequence+2 {
			t.Errorf("RTX known before %t: sequence numbers %d, %d, %d",
				known, got[0].Sequence, got[1].Sequence, got[2].Sequence)
		}
		if l.drops(DropRTX) != 1 {
			t.Errorf("RTX known before %t: %d retransmissions were dropped; expected the old one's",
				known, l.drops(DropRTX))
		}
		// A source of retransmissions of its own takes over.
		p.send(packet{
			ssrc: 0xA99A, pt: pubRTX, seq: 9, ts: 6000, ext: []byte{idMID << 4, 'v'},
			payload: append(binary.BigEndian.AppendUint16(nil, 99), vp8(true, false, "of the new's own")...),
		})
		again(4, 98, "of nobody")
		if l.drops(DropLate) != 1 || l.counted(ReceivedRTX) != 3+uint64(map[bool]int{true: 1}[known]) {
			t.Errorf("RTX known before %t: %d late, %d retransmissions",
				known, l.drops(DropLate), l.counted(ReceivedRTX))
		}
	}
}

// newSSRC sends one frame of the video under another SSRC.
func (p *pub) newSSRC(ssrc uint32, seq uint64, ts uint32, key bool) {
	p.lab.Helper()
	p.send(packet{
		ssrc: ssrc, pt: pubVP8, seq: seq, ts: ts, ext: []byte{idMID << 4, 'v'}, payload: vp8(true, key, "new source"),
	})
}

// A layer went on under another SSRC. Late packets of the old one have another numbering. They must not move the new
// one's.
func TestLatePacketOfOldSSRC(t *testing.T) {
	for name, old := range map[string]uint64{"ahead": 20_000, "after": 10, "near": 103} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, 0, 1)
			p := l.publish(1, 1, published()...)
			s := l.watch(1, watched(false)...)
			p.frame(old, 0, true)
			p.newSSRC(0xA999, 100, 500, true)
			p.frame(old+1, 3000, false) // late
			// later still
			p.send(packet{
				ssrc: videoRTX, pt: pubRTX, seq: 1, ts: 1500,
				payload: append([]byte{byte((old + 2) >> 8), byte(old + 2)}, vp8(true, false, "old")...),
			})
			l.forget()
			for seq := uint64(101); seq < 110; seq++ {
				p.newSSRC(0xA999, seq, uint32(seq)*3000, false)
			}
			if n := len(s.media(subVideo)); n != 9 {
				t.Errorf("%d packets of 9 of the new source passed", n)
			}
			for _, r := range s.media(subVideo) {
				if string(r.payload[2:]) != "new source" {
					t.Errorf("%q was sent after the new source", r.payload[2:])
				}
			}
		})
	}
}

// A sender report of the old SSRC is not the new one's clock.
func TestLateReportOfOldSSRC(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	p.frame(0, 0, true)
	p.newSSRC(0xA999, 100, 500_000_000, true)
	p.report(videoSSRC, 90)
	if x := l.stream(1).pub.tracks[0].layers[0]; x.upstream.reported || x.clock.RTP != 500_000_000 {
		t.Errorf("the layer's clock is the old source's: %+v", x.clock)
	}
}

// A retransmission may come before the first packet of its layer. The packet that it restored stays.
func TestRTXBeforeFirstPacket(t *testing.T) {
	l := newLab(t, 0, 1)
	tracks := published()
	tracks[0].Encodings[0].SSRC = 0
	p := l.publish(1, 1, tracks...)
	p.send(packet{ssrc: videoRTX, pt: pubRTX, seq: 1, ts: 0, payload: append([]byte{0, 7}, vp8(true, true, "key")...)})
	p.frame(8, 3000, false)
	if h := &l.stream(1).pub.tracks[0].layers[0].history; h.Next()-h.First() != 2 || !h.Key().Valid {
		t.Errorf("%d packets are held, keyframe %t; expected both", h.Next()-h.First(), h.Key().Valid)
	}
}
