package worker

import (
	"slices"
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
	"ringcast/engine/worker/receiver"
)

// relayedLines are the lines of a relay for the tracks of published.
func relayedLines() []rtp.Track {
	v, a := videoOf(subVP8, subRTX), audioOf(subOpus)
	v.SSRC, v.RTXSSRC, a.SSRC = subVideo, subVideoRTX, subAudio
	v.Encodings = []rtp.Encoding{{SSRC: subVideo, RTXSSRC: subVideoRTX}}
	a.Encodings = []rtp.Encoding{{SSRC: subAudio}}
	v.Extensions = rtp.ExtensionMap{rtp.VideoOrientation: 12}
	a.Extensions = rtp.ExtensionMap{rtp.AudioLevel: 12}
	return []rtp.Track{v, a}
}

// relay connects a relay.
func (l *lab) relay(stream bus.StreamID, lines ...rtp.Track) *sub {
	l.Helper()
	s := &sub{party: l.party(api.Subscriber, stream, lines...)}
	s.spec.Relay = true
	s.connect()
	s.fresh()
	s.talker = s.opener
	return s
}

// A relay is sent the publisher's timestamps, markers and extensions, without waiting for a keyframe. Sequence numbers
// keep the gaps, and it is told which packets have not come. These come later, under their numbers.
func TestRelayIsSentRecords(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	p.frame(0, 1000, false)
	s := l.relay(1, relayedLines()...)
	turned := []byte{idOrientation << 4, 3}
	for _, seq := range []uint64{1, 2, 5} {
		p.send(packet{
			ssrc: videoSSRC, pt: pubVP8, seq: seq, ts: 1000 + uint32(seq), marker: seq == 2, ext: turned,
			payload: vp8(true, false, ""),
		})
	}
	got := s.media(subVideo)
	if len(got) != 4 {
		t.Fatalf("%d packets, want 4: from before the relay came, and three", len(got))
	}
	base := got[0].Sequence
	numbers := rtp.ExtensionMap{rtp.VideoOrientation: 12}
	for i, seq := range []uint16{0, 1, 2, 5} {
		r := got[i]
		r.Parse(r.data, &numbers)
		v, ok := r.Value(r.data, rtp.VideoOrientation)
		if r.Sequence != base+seq || r.Timestamp != 1000+uint32(seq) || r.Marker != (seq == 0 || seq == 2) ||
			ok != (seq > 0) || ok && v[0] != 3 {
			t.Errorf("packet %d: %+v, orientation %v", seq, r.Header, v)
		}
	}
	var lacking []uint16
	for _, f := range s.reports() {
		if f.Type == rtcp.LossElsewhere && f.Media == subVideo {
			for x := f.NACKs(); ; {
				seq, ok := x.Next()
				if !ok {
					break
				}
				lacking = append(lacking, seq-base)
			}
		}
	}
	if !slices.Equal(lacking, []uint16{3, 4}) {
		t.Errorf("the relay was told that %v have not come, want 3 and 4", lacking)
	}
	l.forget()
	s.nack(subVideo, base+3)
	if n := len(s.sent()); n > 0 {
		t.Errorf("%d datagrams for a request of a packet that is not there, want none", n)
	}
	p.frame(3, 1003, false)
	if got := s.media(subVideo); len(got) != 1 || got[0].Sequence != base+3 || got[0].Timestamp != 1003 {
		t.Errorf("the packet that came late: %+v, want number %d", got, base+3)
	}
	s.nack(subVideo, base+5)
	if got := s.media(subVideoRTX); len(got) != 1 || got[0].Timestamp != 1005 {
		t.Errorf("a packet that was lost to the relay: %+v, want a retransmission", got)
	}
}

// At another publication a relay's sequence numbers jump by more than can be asked for, and its timestamps are the new
// ones at once. With other layers its session ends.
func TestRelayOfAnotherPublication(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	s := l.relay(1, relayedLines()...)
	p.frame(0, 1000, true)
	first := s.media(subVideo)[0]
	p = l.publish(1, 2, published()...)
	l.forget()
	p.frame(7, 0x80000000, true)
	got := s.media(subVideo)
	if len(got) != 1 || got[0].Sequence-first.Sequence <= receiver.MaxGap || got[0].Timestamp != 0x80000000 {
		t.Errorf("%+v after number %d, want a jump and the publisher's timestamp", got, first.Sequence)
	}
	layers := published()
	layers[0].Encodings = []rtp.Encoding{{RID: "h"}, {RID: "l"}}
	p = l.publish(1, 3, layers...)
	p.sound(0, 0)
	ended := l.said(bus.KindSessionEnded)
	if len(ended) != 1 || ended[0].ID != s.spec.ID || ended[0].Reason != api.ReasonLayers {
		t.Errorf("%v, want the end of session %d for other layers", ended, s.spec.ID)
	}
}

// Each keyframe request of a relay counts, however many there are. The publisher is asked once a second.
func TestRelayAsksForKeyframes(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	s := l.relay(1, relayedLines()...)
	p.frame(0, 0, true)
	l.pass(port.Second)
	p.frame(1, 90000, false)
	if n := count(p.asked(), rtcp.PLI); n != 0 {
		t.Errorf("the publisher was asked for %d keyframes by a relay that asked for none", n)
	}
	requests := 0
	for i := range 100 {
		s.rtcp(appendPLI())
		if i == 0 && count(p.asked(), rtcp.PLI) != 1 {
			t.Error("the first request did not go on at once")
		}
		l.pass(100 * port.Millisecond)
		if n := count(p.asked(), rtcp.PLI); n > 0 || i == 0 {
			requests++
			p.frame(uint64(i+2), uint32(i+2)*90000, true)
		}
	}
	if requests < 7 || requests > 11 {
		t.Errorf("%d requests in 10 s, want about one a second", requests)
	}
}

// A packet is sent on to relays without allocations, and so is the word of those that have not come.
func TestNoAllocationsOfRelays(t *testing.T) {
	s := newStage(t, 1)
	sub := s.subscriber(0)
	sub.relay = true
	sub.tracks[0].spec.Encodings = []rtp.Encoding{{}}
	sub.tracks[0].numbered = false
	for _, p := range s.packets(2000) {
		s.publish(p)
		s.drain()
	}
	packets := s.packets(2 * (allocationRuns + 1))
	i, frames := 0, 0
	check(t, func() {
		s.publish(packets[i])
		i += 2
		frames += s.drain()
	})
	if frames < 2*allocationRuns {
		t.Errorf("%d frames of %d packets with a gap before each, want two each", frames, allocationRuns)
	}
}

// A publisher's word that it lacks packets puts off the requests for these.
func TestExcusedPackets(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	p.frame(0, 0, true)
	p.frame(3, 9000, false)
	p.rtcp(rtcp.AppendLossElsewhere(nil, videoSSRC, videoSSRC, []uint16{1}))
	l.pass(200 * port.Millisecond)
	if got := seqs(p.asked(), videoSSRC); slices.Contains(got, 1) || !slices.Contains(got, 2) {
		t.Errorf("asked for %v, want 2 alone", got)
	}
	l.pass(port.Second)
	if got := seqs(p.asked(), videoSSRC); !slices.Contains(got, 1) {
		t.Errorf("asked for %v later, want 1 among them", got)
	}
	// Of unknown sources, or too many: counted.
	p.rtcp(rtcp.AppendLossElsewhere(nil, 5, 5, []uint16{1}))
	many := make([]uint16, 0, 300)
	for i := range 300 {
		many = append(many, uint16(i*20))
	}
	for range 40 {
		b := rtcp.AppendLossElsewhere(make([]byte, 0, 1500), videoSSRC, videoSSRC, many)
		l.receive(p.path, p.sealer.SealRTCP(b))
	}
	if l.drops(DropRTCPFlood) == 0 {
		t.Error("12,000 packets were excused in one second")
	}
}
