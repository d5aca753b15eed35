package worker

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"ringcast/engine/port"
	"ringcast/engine/rtp"
)

// of makes the video of some tracks another codec's.
func of(c rtp.Codec, profile string, tracks []rtp.Track) []rtp.Track {
	for i := range tracks {
		if tracks[i].Kind == rtp.Video {
			tracks[i].Formats[0].Codec, tracks[i].Formats[0].Profile = c, profile
		}
	}
	return tracks
}

// recorded reads packets that real encoders and payloaders made, see package rtp's tests.
func recorded(t testing.TB, name string) (packets [][]byte) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "rtp", "testdata", name+".rtp"))
	if err != nil {
		t.Fatal(err)
	}
	for len(data) > 2 {
		n := int(binary.BigEndian.Uint16(data))
		packets = append(packets, data[2:2+n])
		data = data[2+n:]
	}
	return packets
}

// play sends a recording's packets as they are but for SSRC and payload type, 100 ms a frame. each is called
// before a frame, with its number.
func (p *pub) play(packets [][]byte, each func(frame int)) {
	p.lab.Helper()
	var h rtp.Header
	frame := -1
	last := uint32(0)
	for i, b := range packets {
		if !h.Parse(b, nil) {
			p.lab.Fatalf("packet %d is not RTP", i)
		}
		if frame < 0 || h.Timestamp != last {
			frame, last = frame+1, h.Timestamp
			p.lab.pass(100 * port.Millisecond)
			each(frame)
		}
		p.send(packet{
			ssrc: videoSSRC, pt: pubVP8, seq: uint64(h.Sequence), ts: h.Timestamp, marker: h.Marker,
			payload: b[h.HeaderLen:],
		})
	}
}

// A viewer who comes between keyframes starts with the next one, for frames of several real payloaders.
func TestLateViewerOfRecordings(t *testing.T) {
	for _, c := range []struct {
		name    string
		codec   rtp.Codec
		profile string
		// Frames at which a viewer comes and from which on it is sent. The two that it may also start with
		// for half a second are left out.
		comes, starts int
	}{
		{"vp9-ffmpeg", rtp.VP9, "0", 6, 8},
		{"av1-pion", rtp.AV1, "0", 6, 8},
		{"h264-gst", rtp.H264, "42c0/1", 6, 8},
		{"h264-intra-refresh", rtp.H264, "42c0/1", 10, 16},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, 0, 1)
			p := l.publish(1, 1, of(c.codec, c.profile, published())...)
			var s *sub
			p.play(recorded(t, c.name), func(frame int) {
				switch frame {
				case c.comes:
					l.pass(joinAge)
					s = l.watch(1, of(c.codec, c.profile, watched(true))...)
					l.forget()
				case c.starts:
					if n := len(s.media(subVideo)); n != 0 {
						t.Errorf("%d packets before the keyframe; expected none", n)
					}
				}
			})
			got := s.media(subVideo)
			if len(got) == 0 {
				t.Fatal("the viewer was sent nothing")
			}
			var content rtp.Content
			for _, x := range got {
				if x.Timestamp == got[0].Timestamp {
					content |= rtp.ContentOf(c.codec, x.payload)
				}
			}
			if !content.Starts() {
				t.Errorf("the first frame holds %04b, with which no decoder starts", content)
			}
		})
	}
}

// AV1 payloads of one packet a frame: sequence headers and frames, N as encoders set it.
const (
	av1Key      = "\x20\x02\x08\x00\x30\x10"
	av1KeyN     = "\x28\x02\x08\x00\x30\x10"
	av1Inter    = "\x10\x30\x30"
	av1InterN   = "\x18\x30\x30"
	av1Repeat   = "\x20\x02\x08\x00\x30\x30" // a sequence header before an inter frame
	av1RepeatN  = "\x28\x02\x08\x00\x30\x30"
	av1Header   = "\x10\x08\x00" // a sequence header, its frame follows in another packet
	av1HeaderN  = "\x18\x08\x00"
	av1KeyAlone = "\x10\x30\x10"
)

// Viewers start at AV1's keyframes, not where the encoder sets N, and get N exactly there: Chromium takes it for
// a keyframe.
func TestAV1StartsWhereItsOBUsSay(t *testing.T) {
	for _, c := range []struct {
		name   string
		frames [][]string // the first is there when the viewer comes, long ago
		start  int        // the frame that the viewer starts with, -1 for none
		n      []bool     // N of the packets that it is sent
	}{
		{"N once", [][]string{{av1KeyN}, {av1Inter}, {av1Key}, {av1Inter}}, 2, []bool{true, false}},
		{
			"N at each frame",
			[][]string{{av1KeyN}, {av1InterN}, {av1InterN}, {av1KeyN}, {av1InterN}},
			3,
			[]bool{true, false},
		},
		{
			"N at each sequence header",
			[][]string{{av1KeyN}, {av1RepeatN}, {av1KeyN}, {av1RepeatN}},
			2,
			[]bool{true, false},
		},
		{"sequence headers before inter frames", [][]string{{av1Key}, {av1Repeat}, {av1Repeat}}, -1, nil},
		{"sequence header once", [][]string{{av1Key}, {av1KeyAlone}, {av1Inter}}, 1, []bool{true, false}},
		{"no sequence header ever", [][]string{{av1Inter}, {av1KeyAlone}, {av1Inter}}, -1, nil},
		{
			"sequence header apart",
			[][]string{{av1Key}, {av1HeaderN, av1Inter}, {av1HeaderN, av1KeyAlone}},
			2,
			[]bool{true, false},
		},
		{"sequence header apart, without N", [][]string{{av1Key}, {av1Header, av1KeyAlone}}, 1, []bool{false, false}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, 0, 1)
			p := l.publish(1, 1, of(rtp.AV1, "0", published())...)
			seq := uint64(0)
			var s *sub
			for i, packets := range c.frames {
				for j, payload := range packets {
					p.send(packet{
						ssrc: videoSSRC, pt: pubVP8, seq: seq, ts: uint32(i) * 3000, marker: j == len(packets)-1,
						payload: fmt.Appendf([]byte(payload), "%02d", i),
					})
					seq++
				}
				if i == 0 {
					l.pass(joinAge + port.Second)
					s = l.watch(1, of(rtp.AV1, "0", watched(false))...)
					l.forget()
				}
			}
			got := s.media(subVideo)
			if len(got) != len(c.n) {
				t.Fatalf("%d packets; expected %d", len(got), len(c.n))
			}
			for i, x := range got {
				if n := x.payload[0]&0x08 != 0; n != c.n[i] {
					t.Errorf("packet %d has N %v; expected %v", i, n, c.n[i])
				}
			}
			if c.start < 0 {
				return
			}
			if text := string(got[0].payload[len(got[0].payload)-2:]); text != fmt.Sprintf("%02d", c.start) {
				t.Errorf("the viewer starts with frame %s; expected %02d", text, c.start)
			}
			// A plain resend gives the same bytes; the lab's oracle compares.
			first := got[0]
			l.forget()
			s.nack(subVideo, first.Sequence)
			if again := s.media(subVideo); len(again) != 1 || string(again[0].raw) != string(first.raw) {
				t.Errorf("resent as %d packets, not the same; expected one", len(again))
			}
		})
	}
}

// The parts of a frame's beginning may arrive in any order.
func TestAccessUnitReordered(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, of(rtp.AV1, "0", published())...)
	s := l.watch(1, of(rtp.AV1, "0", watched(true))...)
	l.forget()
	send := func(seq uint64, ts uint32, payload string) {
		p.send(packet{ssrc: videoSSRC, pt: pubVP8, seq: seq, ts: ts, payload: []byte(payload)})
	}
	send(10, 0, av1Inter)
	send(12, 3000, av1KeyAlone)
	if n := len(s.media(subVideo)); n != 0 {
		t.Fatalf("%d packets before the sequence header came; expected none", n)
	}
	send(11, 3000, av1HeaderN)
	got := s.media(subVideo)
	if len(got) != 2 || got[0].Sequence+1 != got[1].Sequence && got[1].Sequence+1 != got[0].Sequence {
		t.Fatalf("%d packets after the sequence header; expected both, in a row", len(got))
	}
	send(13, 6000, av1Inter)
	send(9, 0, av1Key) // late, of an older frame
	if k := l.stream(1).pub.tracks[0].layers[0].history.Key(); !k.Valid || k.Timestamp != 3000 {
		t.Errorf("the keyframe is %+v; expected that of timestamp 3000", k)
	}
}
