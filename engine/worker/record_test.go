package worker

import (
	"testing"

	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
	"ringcast/engine/worker/receiver"
)

// A publisher that alternates payload types does not flood the controller.
func TestFormatChangesAreFew(t *testing.T) {
	l := newLab(t, 0, 1)
	tracks := published()
	other := tracks[0].Formats[0]
	other.PayloadType, other.RTX = 98, 99
	tracks[0].Formats = append(tracks[0].Formats, other)
	p := l.publish(1, 1, tracks...)
	for seq := range uint64(1000) {
		p.send(packet{ssrc: videoSSRC, pt: uint8(96 + seq%2*2), seq: seq, payload: vp8(true, false, "")})
	}
	if n := len(l.said(bus.KindFormatActive)); n > 20 {
		t.Errorf("%d messages to the controller for 1000 packets", n)
	}
}

// Padding after a payload is cut off.
func TestPaddingIsCut(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	s := l.watch(1, watched(false)...)
	l.forget()
	p.send(packet{ssrc: videoSSRC, pt: pubVP8, seq: 0, payload: vp8(true, true, "key"), padding: 9})
	if got := s.media(subVideo); len(got) != 1 || string(got[0].payload) != string(vp8(true, true, "key")) ||
		got[0].Padding {
		t.Errorf("with padding: %d packets", len(got))
	}
	for n := range 256 { // every padding count on short packets
		b := []byte{1, 2, byte(n)}
		raw := make([]byte, rtp.HeaderLen, 64)
		rtp.FixedHeader{
			Marker: false, PayloadType: pubVP8, Sequence: uint16(300 + n), Timestamp: 0, SSRC: videoSSRC,
		}.Put(raw)
		raw[0] |= 0x20
		l.receive(p.path, p.sealer.SealRTP(raw, len(raw), b, uint64(300+n)))
	}
	if l.drops(DropRTP) != 256-3 {
		t.Errorf("%d of 253 bad padding counts were dropped", l.drops(DropRTP))
	}
}

// A loss is asked for after its own pause, however long an older one's is by then.
func TestNACKOfANewLoss(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	p.frame(0, 0, true)
	p.frame(2, 0, false) // 1 never comes
	l.pass(500 * port.Millisecond)
	p.asked()
	p.frame(4, 0, false)
	p.sound(0, 0)
	p.sound(2, 0)
	l.pass(receiver.NACKDelay)
	all := p.asked()
	if v, a := seqs(all, videoSSRC), seqs(all, audioSSRC); len(v) == 0 || v[len(v)-1] != 3 || len(a) != 1 {
		t.Errorf("after %v s asked for %v of video and %v of audio; expected 3 and 1", receiver.NACKDelay.Seconds(), v,
			a)
	}
}
