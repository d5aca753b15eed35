package watch

import (
	"encoding/binary"
	"testing"
	"time"

	"ringcast/engine/rtp"
	"ringcast/signaling/client"
)

// benchPacket makes packet n of a video, with a transport-wide number.
func benchPacket(b []byte, n int) []byte {
	b = b[:rtp.HeaderLen]
	rtp.FixedHeader{
		Marker: n%8 == 7, Extension: true, PayloadType: 96, Sequence: uint16(n), Timestamp: uint32(n/8) * 3000, SSRC: 7,
	}.Put(b)
	b = append(b, 0xBE, 0xDE, 0, 1, 3<<4|1)
	b = binary.BigEndian.AppendUint16(b, uint16(n))
	b = append(b, 0, 0x10, 1) // VP8: no keyframe
	return b[:cap(b)]
}

// BenchmarkViewer measures the cost of a packet beside SRTP and the kernel. A counted viewer reads the header; a
// sampled one also checks the numbering, frames and stamps.
func BenchmarkViewer(b *testing.B) {
	room := make([]byte, rtp.HeaderLen, 1200)
	for _, sampled := range []bool{false, true} {
		name := map[bool]string{false: "counted", true: "sampled"}[sampled]
		b.Run(name, func(b *testing.B) {
			l, v := benchViewer(b, sampled)
			k := v.negotiated.kinds[96]
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				data := benchPacket(room, i)
				l.now += int64(time.Millisecond)
				if !sampled {
					l.handle(v, 0, data, l.now)
				} else {
					var h rtp.Header
					h.Parse(data, &v.negotiated.extensions)
					l.check(v, &v.tracks[0], k, &h, data, l.now)
				}
				if i%100 == 0 {
					l.out, _ = v.reporter.arrivals.AppendFeedback(l.out[:0], maxCompile, senderSSRC, 7)
				}
			}
		})
	}
}

// benchViewer makes a connected viewer, and a loop without sockets.
func benchViewer(b testing.TB, sampled bool) (*loop, *viewer) {
	b.Helper()
	l, err := newLoop(&run{base: time.Now()})
	if err != nil {
		b.Fatal(err)
	}
	v := &viewer{identity: identity{sampled: sampled}, phase: connected, answer: &client.Answer{Tracks: []rtp.Track{{
		Kind:    rtp.Video,
		Formats: []rtp.Format{{PayloadType: 96, RTX: 97, Codec: rtp.VP8, Feedback: rtp.NACK}},
	}}}}
	v.answer.Tracks[0].Extensions[rtp.TransportSequence] = 3
	v.prepare()
	v.joining.keyframeAt = 1
	return l, v
}

// TestLateLoop counts freezes by arrivals at the machine: a loop that was busy finds many packets at once.
func TestLateLoop(t *testing.T) {
	const interval, wall = time.Second / 30, int64(1e18)
	l, v := benchViewer(t, true)
	v.tracks[0].check.player.whole = true
	frame := func(n int, arrived, read time.Duration) {
		l.now, l.wall = int64(time.Second+read), wall+int64(read)
		for i := range 8 {
			data := benchPacket(make([]byte, rtp.HeaderLen, 1200), 8*n+i)
			var h rtp.Header
			h.Parse(data, &v.negotiated.extensions)
			l.check(v, &v.tracks[0], v.negotiated.kinds[96], &h, data, wall+int64(arrived))
		}
	}
	n := 0
	for ; n < 30; n++ { // those after the first wait for a loop that is busy for a second
		arrived := time.Duration(n) * interval
		frame(n, arrived, max(arrived, min(arrived, 1)*time.Second))
	}
	p := &v.tracks[0].check.player
	if p.frames != 30 || p.freezes != 0 {
		t.Errorf("a busy loop: got %d frames, %d freezes of %v; want 30, 0", p.frames, p.freezes, p.frozen)
	}
	late := time.Duration(n)*interval + 300*time.Millisecond
	frame(n, late, late+time.Second)
	if want := 300*time.Millisecond + interval; p.freezes != 1 || p.frozen != want {
		t.Errorf("a late frame: got %d freezes of %v, want 1 of %v", p.freezes, p.frozen, want)
	}
}
