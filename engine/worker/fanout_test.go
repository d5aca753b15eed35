package worker

import (
	"fmt"
	"testing"
	"unsafe"

	"ringcast/engine/port"
	"ringcast/engine/rtp"
)

// The whole way of a packet. It gets the subscriber's payload type, SSRC, MID and extension numbers, and keeps the
// publisher's marker, level and payload. It has nothing that was not negotiated.
func TestPacketToSubscribers(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	with, without := l.watch(1, watched(true)...), l.watch(1, watched(false)...)
	bare := watched(false)
	bare[0].Extensions, bare[1].Extensions = rtp.ExtensionMap{}, rtp.ExtensionMap{}
	third := l.watch(1, bare...)
	l.forget()

	p.send(packet{
		ssrc: audioSSRC, pt: pubOpus, seq: 7, ts: 5000, marker: true,
		ext: []byte{idMID << 4, 'a', idLevel << 4, 0x85}, payload: []byte("opus"),
	})
	p.send(packet{
		ssrc: videoSSRC, pt: pubVP8, seq: 65535, ts: 9000, marker: true,
		ext: []byte{idOrientation << 4, 3, idTransport<<4 | 1, 0x77, 0x77}, payload: vp8(true, true, "key"),
	})
	numbers := rtp.ExtensionMap{rtp.MID: 11, rtp.AudioLevel: 12, rtp.TransportSequence: 13}
	for _, c := range []struct {
		s        *sub
		m        rtp.ExtensionMap
		level    bool
		audioLen int
	}{
		{with, numbers, true, rtp.HeaderLen + 8},
		{without, numbers, true, rtp.HeaderLen + 8},
		{third, rtp.ExtensionMap{}, false, rtp.HeaderLen},
	} {
		audio, video := c.s.media(subAudio), c.s.media(subVideo)
		if len(audio) != 1 || len(video) != 1 {
			t.Fatalf("got %d packets of audio and %d of video; expected one each", len(audio), len(video))
		}
		a, v := audio[0], video[0]
		if a.PayloadType != subOpus || !a.Marker || string(a.payload) != "opus" || a.HeaderLen != c.audioLen {
			t.Errorf("audio: %+v %q", a.Header, a.payload)
		}
		if v.PayloadType != subVP8 || !v.Marker || string(v.payload) != string(vp8(true, true, "key")) {
			t.Errorf("video: %+v %q", v.Header, v.payload)
		}
		var h rtp.Header
		h.Parse(a.data, &c.m)
		level, ok := h.Value(a.data, rtp.AudioLevel)
		if ok != c.level || ok && level[0] != 0x85 {
			t.Errorf("audio level %x (%t)", level, ok)
		}
		if mid, ok := h.Value(a.data, rtp.MID); ok != c.level || ok && string(mid) != "a" {
			t.Errorf("MID %q", mid)
		}
		h.Parse(v.data, &c.m)
		if _, ok := h.Value(v.data, rtp.TransportSequence); ok {
			t.Error("a transport-wide number on a stream without layers to choose from")
		}
		if _, ok := h.Value(v.data, rtp.VideoOrientation); ok {
			t.Error("an orientation that nobody negotiated")
		}
		if v.Padding || v.Sequence >= 1<<15 {
			t.Errorf("the first sequence number is %d; expected less than 2^15", v.Sequence)
		}
	}
}

// All pending packets of a subscriber leave in a row, so that the port can make one message of them.
func TestRunsOfOneSubscriber(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	for range 4 {
		l.watch(1, watched(true)...)
	}
	p.frame(0, 0, true)
	l.forget()
	for seq := uint64(1); seq <= 6; seq++ {
		l.quietly(p.path, p.seal(packet{
			ssrc: videoSSRC, pt: pubVP8, seq: seq, ts: 3000, payload: vp8(seq == 1, false, "aaaa"),
		}))
	}
	l.poll()
	if len(l.sent) != 24 {
		t.Fatalf("%d frames; expected 24", len(l.sent))
	}
	for i, d := range l.sent {
		if i%6 != 0 && d.path != l.sent[i-1].path {
			t.Fatalf("frame %d goes to another subscriber than the one before", i)
		}
	}
}

// A batch that is full stops the walk, and the next goes on where it stopped. Each subscriber gets each packet once.
// Another subscriber comes first each time.
func TestWalkResumes(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	var subs []*sub
	for range 50 {
		subs = append(subs, l.watch(1, watched(true)...))
	}
	p.frame(0, 0, true)
	firsts := make(map[port.Path]bool)
	for turn := range uint64(20) {
		l.forget()
		for i := range uint64(5) {
			seq := 1 + turn*5 + i
			l.quietly(p.path, p.seal(packet{
				ssrc: videoSSRC, pt: pubVP8, seq: seq, ts: uint32(seq), payload: vp8(true, false, fmt.Sprint(seq)),
			}))
		}
		l.poll()
		firsts[l.sent[0].path] = true
		for i, s := range subs {
			got := s.media(subVideo)
			if len(got) != 5 {
				t.Fatalf("turn %d: subscriber %d got %d of 5", turn, i, len(got))
			}
			for j, r := range got {
				if string(r.payload[2:]) != fmt.Sprint(1+turn*5+uint64(j)) {
					t.Fatalf("subscriber %d got %q in place %d", i, r.payload[2:], j)
				}
			}
		}
	}
	if len(firsts) < 10 {
		t.Errorf("%d subscribers came first in 20 turns; expected that it goes round", len(firsts))
	}
}

// A payload type that the subscriber does not have is counted, not sent.
func TestCodecNotNegotiated(t *testing.T) {
	l := newLab(t, 0, 1)
	tracks := published()
	tracks[0].Formats = append(tracks[0].Formats, rtp.Format{
		PayloadType: 98, Codec: rtp.H264, Profile: "42e0/1", Feedback: rtp.PLI,
	})
	p := l.publish(1, 1, tracks...)
	s := l.watch(1, watched(true)...)
	p.frame(0, 0, true)
	l.forget()
	p.send(packet{ssrc: videoSSRC, pt: 98, seq: 1, payload: []byte{0x65, 0x80}})
	if len(s.media(subVideo)) != 0 || l.drops(DropCodec) != 1 {
		t.Errorf("%d packets sent, %d dropped; expected 0 and 1", len(s.media(subVideo)), l.drops(DropCodec))
	}
}

// A worker keeps thousands of each of these. The figures are of 64 bits.
func TestViewerSizes(t *testing.T) {
	for _, x := range []struct {
		name      string
		got, most uintptr
	}{
		{"subscriber", unsafe.Sizeof(subscriber{}), 128},
		{"subscription", unsafe.Sizeof(subscription{}), 112},
		{"span", unsafe.Sizeof(span{}), 48},
		{"repairs", unsafe.Sizeof(repairs{}), 272},
	} {
		if x.got > x.most {
			t.Errorf("a value of type %s takes %d bytes; expected at most %d", x.name, x.got, x.most)
		}
	}
}
