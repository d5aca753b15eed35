package worker

import (
	"encoding/binary"
	"testing"
)

// A publisher's retransmission brings back what was lost, once.
func TestRestoreFromRTX(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	s := l.watch(1, watched(false)...)
	l.forget()
	p.frame(65535, 0, true)
	p.frame(65537, 6000, false)
	lost := packet{
		ssrc: videoRTX, pt: pubRTX, seq: 5, ts: 3000, marker: true,
		payload: append(binary.BigEndian.AppendUint16(nil, 0), vp8(true, false, "lost")...),
	}
	p.send(lost)
	lost.seq = 6
	p.send(lost) // needless
	p.frame(65536, 3000, false)
	got := s.media(subVideo)
	if lost := string(vp8(true, false, "lost")); len(got) != 3 || string(got[2].payload) != lost ||
		got[2].Sequence != got[0].Sequence+1 {
		t.Fatalf("%d packets", len(got))
	}
	if got[2].Timestamp != got[0].Timestamp+3000 || !got[2].Marker || got[2].PayloadType != subVP8 {
		t.Errorf("restored: %+v", got[2].Header)
	}
	if l.counted(ReceivedDuplicates) != 2 {
		t.Errorf("%d duplicates; expected 2", l.counted(ReceivedDuplicates))
	}
}

// Probes of bandwidth move nothing.
func TestProbes(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	s := l.watch(1, watched(false)...)
	l.forget()
	p.frame(0, 0, true)
	for seq := range uint64(5) {
		p.send(packet{ssrc: videoRTX, pt: pubRTX, seq: seq, padding: 200})
		p.send(packet{ssrc: videoSSRC, pt: pubVP8, seq: 1 + seq, padding: 100})
	}
	p.send(packet{ssrc: videoRTX, pt: pubRTX, seq: 5, payload: []byte{1}})
	p.send(packet{ssrc: videoRTX, pt: 33, seq: 6, payload: []byte{1, 2, 3}})
	p.frame(6, 3000, false)
	got := s.media(subVideo)
	if len(got) != 2 || got[1].Sequence != got[0].Sequence+1 {
		t.Errorf("%d packets were sent; padding must leave no gap", len(got))
	}
	if l.drops(DropRTX) != 2 {
		t.Errorf("%d malformed retransmissions; expected 2", l.drops(DropRTX))
	}
}
