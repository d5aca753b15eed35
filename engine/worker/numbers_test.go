package worker

import (
	"encoding/binary"
	"slices"
	"testing"

	"ringcast/engine/adapt"
	"ringcast/engine/bus"
	"ringcast/engine/rtp"
)

// numberOf is the transport-wide number of a packet that a subscriber got, or -1.
func numberOf(t *testing.T, r received) int {
	t.Helper()
	var h rtp.Header
	h.Parse(r.data, &rtp.ExtensionMap{rtp.MID: 11, rtp.TransportSequence: 13})
	v, ok := h.Value(r.data, rtp.TransportSequence)
	if !ok {
		return -1
	}
	return int(binary.BigEndian.Uint16(v))
}

// numbersOf are the transport-wide numbers of packets, those without left out, less the first of all.
func numbersOf(t *testing.T, all []received) (numbers []int) {
	t.Helper()
	first := -1
	for _, r := range all {
		n := numberOf(t, r)
		if n >= 0 && first < 0 {
			first = n
		}
		if n >= 0 {
			numbers = append(numbers, int(uint16(n-first)))
		}
	}
	return numbers
}

// Video and its retransmissions carry transport-wide numbers while the track has several layers, sound never.
func TestNumbersWhereLayersAre(t *testing.T) {
	l := newLab(t, 0, 1)
	s := l.watch(1, watched(true)...)
	for i, c := range []struct {
		layered bool
		want    []int
	}{{true, []int{0, 1, 2, 3, 4, 5}}, {false, nil}, {true, []int{0, 1, 2, 3, 4, 5}}} {
		l.forget()
		tracks := published()
		if c.layered {
			tracks[0] = simulcast()[0]
		}
		p := l.publish(1, bus.Generation(1+i), tracks...)
		for seq := range uint64(4) {
			if p.sound(seq, uint32(seq)*960); c.layered {
				p.layer(hiSSRC, seq, uint32(seq)*3000, vp8(true, seq == 0, ""))
			} else {
				p.frame(seq, uint32(seq)*3000, seq == 0)
			}
		}
		video, audio := s.media(subVideo), s.media(subAudio)
		if len(video) != 4 || len(audio) != 4 {
			t.Fatalf("publication %d: %d packets of video and %d of audio; expected 4 each", i, len(video), len(audio))
		}
		s.nack(subVideo, video[1].Sequence, video[3].Sequence)
		again := s.media(subVideoRTX)
		if len(again) != 2 {
			t.Fatalf("publication %d: %d packets came by RTX; expected 2", i, len(again))
		}
		if got := numbersOf(t, slices.Concat(video, again)); !slices.Equal(got, c.want) {
			t.Errorf("publication %d, layers %t: the video's numbers are %v; expected %v", i, c.layered, got, c.want)
		}
		if got := numbersOf(t, audio); got != nil {
			t.Errorf("publication %d: the audio has numbers", i)
		}
	}
}

// A viewer with RTX for one format and none for another never gets numbers, while its publisher changes formats. A
// plain resend has the same bytes. A resend by RTX has no number either.
func TestNumbersNeedRTXForEveryFormat(t *testing.T) {
	l := newLab(t, 0, 1)
	v := watched(true)
	v[0].Formats = append(v[0].Formats, rtp.Format{
		PayloadType: 122, Codec: rtp.H264, Profile: "42e0/1", Feedback: rtp.NACK | rtp.PLI,
	})
	s := l.watch(1, v...)
	tracks := simulcast()
	tracks[0].Formats = append(tracks[0].Formats, rtp.Format{
		PayloadType: 98, Codec: rtp.H264, Profile: "42e0/1", Feedback: rtp.NACK | rtp.PLI,
	})
	p := l.publish(1, 1, tracks...)
	for round := range uint64(3) {
		seq := 2 * round
		l.forget()
		p.layer(hiSSRC, seq, uint32(seq)*3000, vp8(true, true, ""))
		p.send(packet{ssrc: hiSSRC, pt: 98, seq: seq + 1, ts: uint32(seq+1) * 3000, marker: true, payload: key264})
		sent := s.media(subVideo)
		if len(sent) != 2 || sent[0].PayloadType != subVP8 || sent[1].PayloadType != 122 {
			t.Fatalf("round %d: got %d packets; expected one of each format", round, len(sent))
		}
		l.forget()
		s.nack(subVideo, sent[0].Sequence, sent[1].Sequence)
		plain, again := s.media(subVideo), s.media(subVideoRTX)
		if len(plain) != 1 || string(plain[0].raw) != string(sent[1].raw) {
			t.Errorf("round %d: %d packets came plainly; expected one with the same bytes", round, len(plain))
		}
		if len(again) != 1 || binary.BigEndian.Uint16(again[0].payload) != sent[0].Sequence {
			t.Errorf("round %d: %d packets came by RTX; expected the other", round, len(again))
		}
		if got := numbersOf(t, slices.Concat(sent, plain, again)); got != nil {
			t.Errorf("round %d: numbers %v; expected none", round, got)
		}
	}
}

// key264 is an IDR slice of H.264.
var key264 = []byte{0x65, 0x80}

// A fill knows its packets, their size, and the number of the first.
func TestFillSummary(t *testing.T) {
	l := newLab(t, 0, 1)
	s := l.watch(1, watched(true)...)
	p := l.publish(1, 1, simulcast()...)
	p.layer(hiSSRC, 0, 0, vp8(true, true, ""))
	sub := l.stream(1).all()[0]
	first := sub.transport
	for seq := range uint64(5) {
		l.quietly(p.path, p.seal(packet{
			ssrc: hiSSRC, pt: pubVP8, seq: 1 + seq, ts: 3000, payload: vp8(seq == 0, false, "abcd"),
		}))
	}
	v := &sub.tracks[1]
	x := fill{delivery: delivery{t: v, span: v.present(), numbered: sub.numbersNext(l.now, v)}, first: sub.transport}
	x.end = v.have().history.Next()
	route, _ := l.w.route(sub.session)
	l.forget()
	if !l.w.write(l.now, sub, &x, route, &l.out) {
		t.Error("there was no room for the fill")
	}
	l.take()
	sent := s.media(subVideo)
	if len(sent) != 5 {
		t.Fatalf("%d packets were sent; expected 5", len(sent))
	}
	want := adapt.Fill{Packets: 5, Size: len(sent[0].raw), First: first, Numbered: true}
	if got := x.summary(); got != want {
		t.Errorf("the fill is %+v; expected %+v", got, want)
	}
	if got := numberOf(t, sent[0]); got != int(first) {
		t.Errorf("the first packet has the number %d; expected %d", got, first)
	}
}
