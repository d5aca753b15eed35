package worker

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
	"ringcast/engine/worker/receiver"
)

// announce adds parameter sets to the video's format, as offers have them.
func announce(t *testing.T, sprop string, tracks []rtp.Track) []rtp.Track {
	t.Helper()
	for item := range strings.SplitSeq(sprop, ",") {
		unit, err := base64.StdEncoding.DecodeString(item)
		if err != nil {
			t.Fatal(err)
		}
		f := &tracks[0].Formats[0]
		f.Sets += string(binary.BigEndian.AppendUint16(nil, uint16(len(unit)))) + string(unit)
	}
	return tracks
}

// contentsOf returns the contents of packets.
func contentsOf(c rtp.Codec, packets []received) (all []rtp.Content) {
	for _, x := range packets {
		all = append(all, rtp.ContentOf(c, x.payload))
	}
	return all
}

// A stream's parameter sets stand only in its offer. A viewer who comes late gets them before the keyframe that it
// starts with, in as many packets as the mode asks for.
func TestAnnouncedSetsComeBeforeKeyframes(t *testing.T) {
	const h264 = "Z0LACtoQmwEQAAADABAAAAMBSPEiag==,aM4DnIA="
	const h265 = "QAEMAf//AWAAAAMAkAAAAwAAAwAeugJA,QgEBAWAAAAMAkAAAAwAAAwAeoCCBBZbpKTC8BaAgAAADACAAAAMBQQ==,RAHAcYES"
	for _, c := range []struct {
		name           string
		codec          rtp.Codec
		profile, sprop string
		packets        int // of sets
	}{
		{"h264-ffmpeg", rtp.H264, "42c0/1", h264, 1},
		{"h264-ffmpeg", rtp.H264, "42c0/0", h264, 2},
		{"h265-ffmpeg", rtp.H265, "1", h265, 1},
	} {
		t.Run(c.name+" "+c.profile, func(t *testing.T) {
			l := newLab(t, 0, 1)
			p := l.publish(1, 1, announce(t, c.sprop, of(c.codec, c.profile, published()))...)
			early := l.watch(1, of(c.codec, c.profile, watched(false))...)
			l.forget()
			var late *sub
			packets := recorded(t, c.name)
			p.play(packets, func(frame int) {
				if frame == 5 {
					l.pass(joinAge)
					late = l.watch(1, of(c.codec, c.profile, watched(false))...)
				}
			})
			const keyframes = 3
			all := early.media(subVideo)
			if got, want := len(all), len(packets)+keyframes*c.packets; got != want {
				t.Errorf("%d packets to an early viewer of %d sent; expected %d", got, len(packets), want)
			}
			got := late.media(subVideo)
			for i := range got[1:] {
				if got[i+1].Sequence != got[i].Sequence+1 {
					t.Errorf("sequence number %d follows %d", got[i+1].Sequence, got[i].Sequence)
				}
			}
			start := contentsOf(c.codec, got)
			for range c.packets {
				if start[0] != rtp.HasSets {
					t.Fatalf("the late viewer begins with %04b; expected %d packets of sets and the keyframe",
						start, c.packets)
				}
				start = start[1:]
			}
			if start[0] != rtp.HasKey {
				t.Fatalf("after the sets comes %04b; expected the keyframe", start)
			}
			first, key := got[0], got[c.packets]
			if first.Timestamp != key.Timestamp || first.Marker || first.PayloadType != key.PayloadType {
				t.Errorf("the sets' header is %+v; expected the keyframe's %+v without marker",
					first.Header, key.Header)
			}
			// A plain resend gives the same bytes; the lab's oracle compares.
			l.forget()
			late.nack(subVideo, first.Sequence)
			if again := late.media(subVideo); len(again) != 1 || string(again[0].raw) != string(first.raw) {
				t.Errorf("the sets are resent as %d packets, or others; expected the same one", len(again))
			}
			if n := l.counted(KeyframesCompleted); n != keyframes {
				t.Errorf("%d keyframes completed; expected %d", n, keyframes)
			}
		})
	}
}

// H.264 units of short tests: sets of id 0 that texts tell apart, and slices.
const (
	spsA, ppsA = "\x67\x42\xc0\x0a\x80A", "\x68\xc0A"
	spsB, ppsB = "\x67\x42\xc0\x0a\x80BB", "\x68\xc0B"
	idr, slice = "\x65\x88\x84", "\x41\x9a\x02"
)

func stapA(units ...string) string {
	s := "\x78"
	for _, u := range units {
		s += string([]byte{0, byte(len(u))}) + u
	}
	return s
}

// Sets come before a keyframe if it lacks them, once, and the latest.
func TestSetsOfKeyframes(t *testing.T) {
	sets := stapA(spsA, ppsA)
	for _, c := range []struct {
		name   string
		frames [][]string // one payload a packet
		want   []string   // payloads to a viewer
		counts [2]uint64  // completed, incomplete
	}{
		{
			"sent once",
			[][]string{{sets, idr}, {slice}, {idr}, {slice}, {idr}},
			[]string{sets, idr, slice, sets, idr, slice, sets, idr},
			[2]uint64{2, 0},
		},
		{
			"sent with each",
			[][]string{{sets, idr}, {slice}, {sets, idr}},
			[]string{sets, idr, slice, sets, idr},
			[2]uint64{},
		},
		{
			"in the keyframe's packet",
			[][]string{{stapA(spsA, ppsA, idr)}, {stapA(spsA, ppsA, idr)}},
			[]string{stapA(spsA, ppsA, idr), stapA(spsA, ppsA, idr)},
			[2]uint64{},
		},
		{
			"in packets of their own",
			[][]string{{spsA, ppsA, idr}, {spsA, ppsA, idr}, {idr}},
			[]string{spsA, ppsA, idr, spsA, ppsA, idr, sets, idr},
			[2]uint64{1, 0},
		},
		{
			"with a timestamp of their own",
			[][]string{{spsA, ppsA}, {idr}},
			[]string{sets, idr}, // a viewer starts with the second frame
			[2]uint64{1, 0},
		},
		{
			"before other frames",
			[][]string{{sets, idr}, {sets, slice}, {idr}},
			[]string{sets, idr, sets, slice, sets, idr},
			[2]uint64{1, 0},
		},
		{
			"changed",
			[][]string{{sets, idr}, {stapA(spsB, ppsB), idr}, {idr}},
			[]string{sets, idr, stapA(spsB, ppsB), idr, stapA(spsB, ppsB), idr},
			[2]uint64{1, 0},
		},
		{
			"one of two sent",
			[][]string{{sets, idr}, {ppsB, idr}, {idr}},
			[]string{sets, idr, ppsB, spsA, idr, stapA(spsA, ppsB), idr},
			[2]uint64{2, 0},
		},
		{
			"a new sequence set alone",
			[][]string{{sets, idr}, {spsB, idr}},
			[]string{sets, idr, spsB, idr},
			[2]uint64{0, 1},
		},
		{
			"several slices",
			[][]string{{sets, idr}, {idr, "\x65\x08\x84", idr}},
			[]string{sets, idr, sets, idr, "\x65\x08\x84", idr},
			[2]uint64{1, 0},
		},
		{
			"fragments",
			[][]string{{sets, idr}, {"\x7c\x85\x88\x84", "\x7c\x05\x88\x84", "\x7c\x45\x88\x84"}},
			[]string{sets, idr, sets, "\x7c\x85\x88\x84", "\x7c\x05\x88\x84", "\x7c\x45\x88\x84"},
			[2]uint64{1, 0},
		},
		{
			"recovery point",
			[][]string{{sets, idr}, {"\x06\x06\x01\xc4\x80", slice}},
			[]string{sets, idr, sets, "\x06\x06\x01\xc4\x80", slice},
			[2]uint64{1, 0},
		},
		{"never sent", [][]string{{idr}, {slice}}, []string{idr, slice}, [2]uint64{0, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, 0, 1)
			p := l.publish(1, 1, of(rtp.H264, "42c0/1", published())...)
			s := l.watch(1, of(rtp.H264, "42c0/1", watched(true))...)
			l.forget()
			seq := uint64(65530) // soon around
			for i, frame := range c.frames {
				for j, payload := range frame {
					p.send(packet{
						ssrc: videoSSRC, pt: pubVP8, seq: seq, ts: uint32(i) * 3000, marker: j == len(frame)-1,
						payload: []byte(payload),
					})
					seq++
				}
			}
			var got []string
			for _, x := range s.media(subVideo) {
				got = append(got, string(x.payload))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("the viewer was sent\n%q; expected\n%q", got, c.want)
			}
			if counts := [2]uint64{l.counted(KeyframesCompleted), l.counted(KeyframesLacking)}; counts != c.counts {
				t.Errorf("completed and incomplete: %d; expected %d", counts, c.counts)
			}
		})
	}
}

// While packets are missing or late nothing is put in: numbers are given away, or what is missing may be newer
// sets. In any case numbers stay dense and in order.
func TestSetsUnderLossAndReordering(t *testing.T) {
	sets := stapA(spsA, ppsA)
	type arrival struct {
		seq, ts int
		payload string
	}
	begin := []arrival{{0, 0, sets}, {1, 0, idr}, {2, 1, slice}, {3, 1, slice}}
	for _, c := range []struct {
		name     string
		arrivals []arrival // after begin
		complete uint64
	}{
		{"in order", []arrival{{4, 2, idr}, {5, 2, idr}}, 1},
		{"a packet is missing before", []arrival{{5, 2, idr}, {6, 3, slice}}, 0},
		{"it comes later, with newer sets", []arrival{{5, 2, idr}, {4, 2, stapA(spsB, ppsB)}, {6, 3, idr}}, 1},
		{"the keyframe begins late", []arrival{{5, 2, slice}, {4, 2, idr}, {6, 3, slice}}, 0},
		{
			"a packet of the frame before is late",
			[]arrival{{5, 2, slice}, {6, 3, idr}, {4, 2, slice}, {7, 3, slice}},
			1,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, 0, 1)
			p := l.publish(1, 1, of(rtp.H264, "42c0/1", published())...)
			s := l.watch(1, of(rtp.H264, "42c0/1", watched(true))...)
			l.forget()
			for _, x := range append(slices.Clone(begin), c.arrivals...) {
				p.send(packet{
					ssrc: videoSSRC, pt: pubVP8, seq: uint64(x.seq), ts: uint32(x.ts) * 3000,
					payload: fmt.Appendf([]byte(x.payload), "%02d", x.seq),
				})
			}
			if n := l.counted(KeyframesCompleted); n != c.complete {
				t.Errorf("%d keyframes completed; expected %d", n, c.complete)
			}
			got := s.media(subVideo)
			slices.SortFunc(got, func(a, b received) int { return int(int16(a.Sequence - b.Sequence)) })
			last := -1
			for _, x := range got {
				if string(x.payload) == sets || string(x.payload) == stapA(spsB, ppsB) {
					continue // put in
				}
				var seq int
				if _, err := fmt.Sscanf(string(x.payload[len(x.payload)-2:]), "%02d", &seq); err != nil || seq <= last {
					t.Errorf("packet %d is sent after packet %d: %q", seq, last, x.payload)
				}
				last = seq
			}
		})
	}
}

// Each simulcast layer has its own sets, and announced ones are of none of them in particular.
func TestSetsOfLayers(t *testing.T) {
	l := newLab(t, 0, 1)
	tracks := announce(t, "Z0LACtoQmwEQAAADABAAAAMBSPEiag==,aM4DnIA=", of(rtp.H264, "42c0/1", published()))
	tracks[0].Encodings = []rtp.Encoding{{SSRC: 1, RID: "l"}, {SSRC: 2, RID: "h"}, {SSRC: 3, RID: "x"}}
	p := l.publish(1, 1, tracks...)
	send := func(ssrc uint32, seq uint64, ts uint32, payload string) {
		p.send(packet{ssrc: ssrc, pt: pubVP8, seq: seq, ts: ts, payload: []byte(payload)})
	}
	for ssrc, sets := range []string{1: stapA(spsA, ppsA), 2: stapA(spsB, ppsB)} {
		if ssrc == 0 {
			continue
		}
		send(uint32(ssrc), 0, 0, sets)
		send(uint32(ssrc), 1, 0, idr)
		send(uint32(ssrc), 2, 3000, idr)
	}
	send(3, 0, 0, idr)
	for i, want := range []string{stapA(spsA, ppsA), stapA(spsB, ppsB), ""} {
		h := &l.stream(1).pub.tracks[0].layers[i].history
		got := string(h.Payload(h.At(h.Next() - min(2, h.Next()))))
		if want == "" && h.Next() != 1 || want != "" && got != want {
			t.Errorf("layer %d has %q before its last keyframe, of %d packets; expected %q", i, got, h.Next(), want)
		}
	}
}

// After a break in the numbering a source need not send its sets again.
func TestSetsOutliveARestart(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, of(rtp.H264, "42c0/1", published())...)
	s := l.watch(1, of(rtp.H264, "42c0/1", watched(true))...)
	send := func(seq uint64, ts uint32, payload string) {
		p.send(packet{ssrc: videoSSRC, pt: pubVP8, seq: seq, ts: ts, payload: []byte(payload)})
	}
	send(0, 0, stapA(spsA, ppsA))
	send(1, 0, idr)
	l.forget()
	send(2+2*receiver.MaxGap, 90_000, idr)
	if got := contentsOf(rtp.H264, s.media(subVideo)); !slices.Equal(got, []rtp.Content{rtp.HasSets, rtp.HasKey}) {
		t.Errorf("after a break the viewer got %04b; expected sets and a keyframe", got)
	}
}

// A stream may begin with packets in another order: then the keyframe's numbers are given away, too.
func TestSetsAtAReorderedBeginning(t *testing.T) {
	l := newLab(t, 0, 1)
	const sprop = "Z0LACtoQmwEQAAADABAAAAMBSPEiag==,aM4DnIA="
	p := l.publish(1, 1, announce(t, sprop, of(rtp.H264, "42c0/1", published()))...)
	s := l.watch(1, of(rtp.H264, "42c0/1", watched(true))...)
	l.forget()
	for _, seq := range []uint64{8, 7} {
		payload := idr
		if seq == 8 {
			payload = "\x65\x08\x84" // the keyframe's second slice
		}
		p.send(packet{ssrc: videoSSRC, pt: pubVP8, seq: seq, payload: []byte(payload)})
	}
	got := s.media(subVideo)
	if len(got) != 2 || got[0].Sequence == got[1].Sequence {
		t.Errorf("%d packets; expected both of the keyframe, apart", len(got))
	}
	if n := l.counted(KeyframesLacking); n != 1 {
		t.Errorf("%d keyframes counted as incomplete; expected 1", n)
	}
}

// Another worker's viewers get what the owner put in.
func TestSetsAreReplicated(t *testing.T) {
	l := newLab(t, 0, 2)
	const sprop = "Z0LACtoQmwEQAAADABAAAAMBSPEiag==,aM4DnIA="
	p := l.publish(1, 1, announce(t, sprop, of(rtp.H264, "42c0/1", published()))...)
	l.tell(from(1, bus.Follow(0, everything(1, 1), 1)))
	l.pass(port.Second)
	l.forget()
	p.send(packet{ssrc: videoSSRC, pt: pubVP8, seq: 0, payload: []byte(idr)})
	got := l.brought(bus.KindPacket)
	if len(got) != 2 || rtp.ContentOf(rtp.H264, got[0].Data) != rtp.HasSets ||
		got[1].Packet.Number != got[0].Packet.Number+1 {
		t.Errorf("the follower got %d packets; expected the sets and the keyframe", len(got))
	}
}

// FuzzVideo records any payloads of any video codec in any order. Numbers must be given away once, what subscribers
// are sent must open, and no nonce may seal two texts.
func FuzzVideo(f *testing.F) {
	op := func(seq, ts byte, payload string) []byte {
		return append([]byte{seq, ts, byte(len(payload))}, payload...)
	}
	sets := stapA(spsA, ppsA)
	f.Add(byte(rtp.H264-rtp.VP8), slices.Concat(op(1, 1, sets), op(1, 0, idr), op(1, 1, slice), op(1, 1, idr)))
	f.Add(byte(rtp.H264-rtp.VP8)|0x80, slices.Concat(op(1, 1, sets), op(1, 0, idr), op(1, 1, idr), op(2, 1, idr),
		op(0xFF, 0, stapA(spsB, ppsB)), op(3, 1, idr)))
	f.Add(byte(rtp.H265-rtp.VP8), slices.Concat(op(1, 1, "\x40\x01\x0c\x01"), op(1, 0, "\x26\x01\xaf\x08")))
	f.Add(byte(rtp.AV1-rtp.VP8), slices.Concat(op(1, 1, av1HeaderN), op(1, 0, av1KeyAlone), op(1, 1, av1InterN),
		op(3, 1, av1Key), op(0xFE, 0xFF, av1Inter)))
	f.Add(byte(rtp.VP9-rtp.VP8), slices.Concat(op(1, 1, "\x08\x82\x49"), op(1, 1, "\x08\x86\x49")))
	for _, name := range []string{"h264-gst", "h265-ffmpeg", "av1-pion"} {
		var script []byte
		for _, p := range recorded(f, name)[:12] {
			script = append(script, op(1, 1-p[1]>>7, string(p[rtp.HeaderLen:]))...)
		}
		f.Add(byte(rtp.H264-rtp.VP8)|0x20, script)
	}
	f.Fuzz(func(t *testing.T, kind byte, script []byte) {
		c := rtp.VP8 + rtp.Codec(kind&0x1F)%(rtp.AV1-rtp.VP8+1)
		profile := map[rtp.Codec]string{rtp.H264: "42c0/1", rtp.H265: "1", rtp.VP9: "0", rtp.AV1: "0"}[c]
		if c == rtp.H264 && kind&0x80 != 0 {
			profile = "42c0/0"
		}
		l := newLab(t, 0, 1)
		tracks := of(c, profile, published())
		if kind&0x20 != 0 {
			tracks[0].Formats[0].Sets = "\x00\x06" + spsA + "\x00\x03" + ppsA
		}
		p := l.publish(1, 1, tracks...)
		s := l.watch(1, of(c, profile, watched(kind&0x40 != 0))...)
		h := &l.stream(1).pub.tracks[0].layers[0].history
		seq, ts := uint64(1000), uint32(0)
		for n := 0; len(script) >= 3 && n < 100; n++ {
			size := min(int(script[2]), len(script)-3)
			seq += uint64(int64(int8(script[0])))
			ts += uint32(int32(int8(script[1]))) * 3000
			p.send(packet{ssrc: videoSSRC, pt: pubVP8, seq: seq & 0x7FFF, ts: ts, payload: script[3 : 3+size]})
			script = script[3+size:]
			s.nack(subVideo, uint16(n))
		}
		given := make(map[uint64]bool)
		for i := h.First(); i < h.Next(); i++ {
			if n := h.At(i).Number; given[n] {
				t.Fatalf("number %d is given away twice", n)
			} else {
				given[n] = true
			}
		}
	})
}

// A keyframe without a sequence header is given the latest, in its own packet, unless a newer one may be missing.
func TestAV1SequenceHeaderSentOnce(t *testing.T) {
	const other = "\x20\x02\x08\x01\x30\x10" // another sequence header and a keyframe
	for _, c := range []struct {
		name    string
		packets map[int]string // by sequence number
		want    string         // the last
		counts  [2]uint64      // completed, incomplete
	}{
		{
			"the latest",
			map[int]string{0: av1Key, 1: other, 2: av1KeyAlone},
			"\x28\x02\x08\x01\x30\x10",
			[2]uint64{1, 0},
		},
		{"two packets", map[int]string{0: av1Key, 1: "\x50\x30\x10"}, "\x68\x02\x08\x00\x30\x10", [2]uint64{1, 0}},
		{"one may be missing", map[int]string{0: av1Key, 2: av1KeyAlone}, av1KeyAlone, [2]uint64{0, 1}},
		{
			"no room in the header",
			map[int]string{0: av1Key, 1: "\x30\x01\x28\x01\x28\x30\x10"},
			"\x30\x01\x28\x01\x28\x30\x10",
			[2]uint64{0, 1},
		},
		{
			"no room in the packet",
			map[int]string{0: av1Key, 1: av1KeyAlone + strings.Repeat("x", maxSent-maxHeader-2-maxTag-5)},
			"",
			[2]uint64{0, 1},
		},
		{
			"too long to be kept",
			map[int]string{0: "\x20\x42\x08" + strings.Repeat("x", 65) + "\x30\x10", 1: av1KeyAlone},
			av1KeyAlone,
			[2]uint64{0, 1},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, 0, 1)
			p := l.publish(1, 1, of(rtp.AV1, "0", published())...)
			for seq := range 3 {
				if payload, ok := c.packets[seq]; ok {
					p.send(packet{
						ssrc: videoSSRC, pt: pubVP8, seq: uint64(seq), ts: uint32(seq) * 3000, payload: []byte(payload),
					})
				}
			}
			h := &l.stream(1).pub.tracks[0].layers[0].history
			if got := string(h.Payload(h.At(h.Next() - 1))); c.want != "" && got != c.want {
				t.Errorf("recorded %x; expected %x", got, c.want)
			}
			if counts := [2]uint64{l.counted(KeyframesCompleted), l.counted(KeyframesLacking)}; counts != c.counts {
				t.Errorf("completed and incomplete: %d; expected %d", counts, c.counts)
			}
		})
	}
}
