package worker

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
)

// libwebrtc's two lengths become one, by padding that a receiver removes. Other lengths, and a packet that is alone in
// its frame, stay as they are. A resend equals the packet that was sent.
func TestEvenRuns(t *testing.T) {
	for _, c := range []struct {
		lengths []int
		padded  []bool
	}{
		{[]int{50, 50, 50, 51, 51}, []bool{true, true, true, false, false}},
		{[]int{50, 51}, []bool{true, false}},
		{[]int{50, 51, 50}, []bool{true, false, true}},
		{[]int{51, 50}, []bool{false, false}}, // the last may be shorter as it is
		{[]int{50, 50, 50}, []bool{false, false, false}},
		{[]int{50, 52}, []bool{false, false}},
		{[]int{50, 50, 51, 90, 40, 41}, []bool{true, true, false, false, true, false}},
		{[]int{50}, []bool{false}},
	} {
		t.Run(fmt.Sprint(c.lengths), func(t *testing.T) {
			l := newLab(t, 0, 1)
			l.w.cfg.EvenRuns = true
			p := l.publish(1, 1, published()...)
			plain, rtx := l.watch(1, watched(false)...), l.watch(1, watched(true)...)
			p.frame(0, 0, true)
			l.forget()
			var want [][]byte
			for i, n := range c.lengths {
				payload := append(vp8(i == 0, false, ""), bytes.Repeat([]byte{byte(i + 1)}, n)...)
				want = append(want, payload)
				l.quietly(p.path, p.seal(packet{
					ssrc: videoSSRC, pt: pubVP8, seq: uint64(i + 1), ts: 3000, payload: payload,
				}))
			}
			l.poll()
			check := func(got []received, padded []bool) {
				t.Helper()
				if len(got) != len(want) {
					t.Fatalf("%d packets; expected %d", len(got), len(want))
				}
				for i, r := range got {
					n, ok := r.PaddingLen(r.data)
					if !ok || (n == 1) != padded[i] {
						t.Errorf("packet %d has %d bytes of padding; expected any: %t", i, n, padded[i])
					}
					if !bytes.Equal(r.payload[:len(r.payload)-n], want[i]) {
						t.Errorf("packet %d changed", i)
					}
				}
			}
			sent := plain.media(subVideo)
			check(sent, c.padded)
			check(rtx.media(subVideo), c.padded)

			l.forget()
			var all []uint16
			for _, r := range sent {
				all = append(all, r.Sequence)
			}
			plain.nack(subVideo, all...)
			for i, r := range plain.media(subVideo) {
				if !bytes.Equal(r.raw, sent[i].raw) {
					t.Errorf("the resend of packet %d differs", i)
				}
			}
		})
	}
}

// Frames as publishers cut them, by the lengths of their payloads. Each leaves as one run. Parameter sets make another,
// and so does each further slice: their short packets come first or in between, and padding has 255 bytes at most.
func TestRunsOfPublishers(t *testing.T) {
	for _, c := range []struct {
		publisher string
		lengths   []int
		runs      int
	}{
		{"Chromium 1.5 Mbit/s, VP8", []int{956, 956, 957, 957, 957}, 1},
		{"Chromium, VP8, last packet with extensions", []int{935, 935, 936, 932}, 1},
		{"Chromium, VP9", []int{1029, 1030, 1030}, 1},
		{"Chromium, H.264", []int{1092, 1092, 1092, 1092, 1093}, 1},
		{"Chromium, H.264 with sets", []int{28, 1142, 1142, 1142, 1142, 1142, 1143, 1143, 1135}, 2},
		{"Chromium, AV1", []int{742, 739}, 1},
		{"FFmpeg, VP8", []int{1188, 1188, 818}, 1},
		{"FFmpeg, H.264", []int{1188, 1188, 1188, 1188, 1188, 1188, 743}, 1},
		{"FFmpeg, H.264 of two slices", []int{1188, 1188, 8, 1188, 1188, 1188, 1188, 1110}, 2},
		{"GStreamer, VP9", []int{1188, 1188, 1188, 1188, 679}, 1},
		{"GStreamer, H.264 of two slices and a delimiter", []int{2, 1188, 1188, 382, 1188, 1188, 1007}, 3},
	} {
		t.Run(c.publisher, func(t *testing.T) {
			l := newLab(t, 0, 1)
			l.w.cfg.EvenRuns = true
			p := l.publish(1, 1, published()...)
			l.watch(1, watched(true)...)
			p.frame(0, 0, true)
			l.forget()
			for i, n := range c.lengths {
				l.quietly(p.path, p.seal(packet{
					ssrc: videoSSRC, pt: pubVP8, seq: uint64(i + 1), ts: 3000, payload: make([]byte, n),
				}))
			}
			l.poll()
			var sizes []int
			for _, d := range l.sent {
				sizes = append(sizes, len(d.data))
			}
			if n := runsOf(sizes); len(sizes) != len(c.lengths) || n != c.runs {
				t.Errorf("%d payloads of %d bytes make datagrams of %d: %d runs, want %d",
					len(c.lengths), c.lengths, sizes, n, c.runs)
			}
		})
	}
}

// runsOf is the number of messages that a socket port makes of datagrams to one peer. A message has equal datagrams, of
// which the last may be shorter.
func runsOf(sizes []int) (runs int) {
	open := 0 // size of the run that may go on
	for _, n := range sizes {
		if n > open {
			runs++
			open = n
		} else if n < open {
			open = 0
		}
	}
	return runs
}

// Parts of a frame that come after its first part was sent change nothing that was settled for the first.
func TestEvenSettlesOnce(t *testing.T) {
	l := newLab(t, 0, 1)
	l.w.cfg.EvenRuns = true
	p := l.publish(1, 1, published()...)
	s := l.watch(1, watched(false)...)
	p.frame(0, 0, true)
	l.forget()
	for i, n := range []int{50, 50, 51, 51} {
		p.send(packet{
			ssrc: videoSSRC, pt: pubVP8, seq: uint64(i + 1), ts: 3000,
			payload: append(vp8(i == 0, false, ""), make([]byte, n)...),
		})
	}
	late := l.watch(1, watched(false)...) // starts at the keyframe, from the history
	for i, got := range [][]received{s.media(subVideo), late.media(subVideo)[1:]} {
		if len(got) != 4 {
			t.Fatalf("subscriber %d got %d packets; expected 4", i, len(got))
		}
		for j, r := range got {
			if r.Padding {
				t.Errorf("subscriber %d got packet %d with padding", i, j)
			}
		}
	}
}

// Two late packets of a frame, and a NACK for them, come in one batch. The NACK is older than the packets, so only the
// walk seals them. A later NACK brings the same bytes again.
func TestResendOfLatePackets(t *testing.T) {
	l := newLab(t, 0, 1)
	l.w.cfg.EvenRuns = true
	p := l.publish(1, 1, published()...)
	s := l.watch(1, watched(false)...)
	p.frame(0, 0, true)
	part := func(seq uint64, n int) []byte {
		payload := append(vp8(seq == 1, false, ""), bytes.Repeat([]byte{byte(seq)}, n)...)
		return p.seal(packet{ssrc: videoSSRC, pt: pubVP8, seq: seq, ts: 3000, payload: payload})
	}
	late := [][]byte{part(3, 50), part(4, 51)}
	for _, b := range [][]byte{part(1, 50), part(2, 50), part(5, 51)} {
		l.quietly(p.path, b)
	}
	l.poll()
	got := s.media(subVideo)
	if len(got) != 4 {
		t.Fatalf("%d packets before the batch; want 4", len(got))
	}
	base := got[0].Sequence
	for _, b := range late {
		l.quietly(p.path, b)
	}
	l.quietly(s.path, s.seal(appendNACK([]uint16{base + 3, base + 4})))
	l.poll()
	if n := l.counted(SentRTX); n != 0 {
		t.Errorf("%d packets were resent that had just come; want none", n)
	}
	l.now += lateSpan
	s.nack(subVideo, base+3, base+4)
	if n := l.counted(SentRTX); n != 2 {
		t.Errorf("%d packets were resent; want 2", n)
	}
	if l.reuses != 0 {
		t.Errorf("%d nonces were used for two things; want none", l.reuses)
	}
}

// Sequence numbers and SRTP go on across 2^16, at the publisher and at the subscriber.
func TestRollover(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	s := l.watch(1, watched(false)...)
	l.forget()
	const packets = 70_000
	seen := 0
	for seq := range uint64(packets) {
		l.now += 100 * port.Microsecond
		p.send(packet{
			ssrc: videoSSRC, pt: pubVP8, seq: 30_000 + seq, ts: uint32(seq), payload: vp8(true, seq%4000 == 0, ""),
		})
		for _, d := range s.sent() {
			if rtp.IsRTCP(d.data) {
				continue
			}
			data, result := s.opener.OpenRTP(d.data)
			if result != 0 || len(data) < rtp.HeaderLen {
				t.Fatalf("packet %d does not open: %v", seq, result)
			}
			if ts := binary.BigEndian.Uint32(data[4:]); seen > 0 && ts == 0 {
				t.Fatal("a timestamp went back to 0")
			}
			seen++
		}
		l.forget()
	}
	if seen != packets {
		t.Errorf("%d packets of %d arrived", seen, packets)
	}
	if n := p.lab.w.counters.Drops; n != [NumDropReasons]uint64{} {
		t.Errorf("drops: %v", n)
	}
}

// A packet that would not fit a datagram to any subscriber is dropped; the next ones pass.
func TestTooLong(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	s := l.watch(1, watched(true)...)
	l.forget()
	p.frame(0, 0, true)
	p.send(packet{ssrc: videoSSRC, pt: pubVP8, seq: 1, payload: append(vp8(true, false, ""), make([]byte, 1440)...)})
	p.frame(2, 3000, false)
	if got := s.media(subVideo); len(got) != 2 || l.drops(DropTooLong) != 1 {
		t.Errorf("%d packets passed, %d were too long; expected 2 and 1", len(got), l.drops(DropTooLong))
	}
}

// Packets as long as GStreamer's payloaders make them by default (an MTU of 1,400 bytes) fit.
func TestLongPacketsPass(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	s := l.watch(1, watched(true)...)
	l.forget()
	p.send(packet{
		ssrc: videoSSRC, pt: pubVP8, seq: 1,
		payload: append(vp8(true, true, ""), make([]byte, 1400-rtp.HeaderLen-2)...),
	})
	if got := s.media(subVideo); len(got) != 1 {
		t.Errorf("an RTP packet of 1,400 bytes was not forwarded (too long: %d)", l.drops(DropTooLong))
	}
}

// TestWorn sets the index of a viewer's media, or of its retransmissions, near its last. The session ends there, and
// nothing more is sealed. The other viewer stays.
func TestWorn(t *testing.T) {
	for name, index := range map[string]func(*subscription, uint64){
		"media": func(t *subscription, last uint64) {
			t.span.sequence += last - t.highest
			t.highest = last
		},
		"retransmissions": func(t *subscription, last uint64) { t.rtx = last },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, 0, 1)
			p := l.publish(1, 1, published()...)
			worn, other := l.watch(1, watched(true)...), l.watch(1, watched(true)...)
			p.frame(0, 0, true)
			track := &l.w.sessions[worn.spec.ID].sub.tracks[1] // video
			index(track, lastIndex)

			before := l.counted(SentRTP)
			p.frame(1, 3000, false)
			if n := l.counted(SentRTP) - before; n != 2 || len(l.said(bus.KindSessionEnded)) != 0 {
				t.Fatalf("at the last index %d packets were sent, want one to each viewer", n)
			}
			worn.nack(subVideo, uint16(track.highest))
			for seq := range uint64(3) {
				before = l.counted(SentRTP)
				p.frame(2+seq, uint32(6000+3000*seq), false)
				if n := l.counted(SentRTP) - before; n != 1 {
					t.Errorf("beyond the last index %d packets were sent, want one to the other viewer", n)
				}
			}
			m := l.said(bus.KindSessionEnded)
			if len(m) != 1 || m[0].ID != worn.spec.ID || m[0].Reason != api.ReasonWorn {
				t.Errorf("ended: %+v, want session %d, worn", m, worn.spec.ID)
			}
			if l.w.sessions[other.spec.ID].ending {
				t.Error("the other session ends, too")
			}
		})
	}
}
