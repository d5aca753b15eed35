package worker

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"ringcast/engine/rtp"
)

// shaped makes a header for a subscriber with an extension map and a MID, of a packet with these stored extensions. It
// parses the header. If a transport-wide number was negotiated, the packet carries one.
func shaped(t *testing.T, mid string, m rtp.ExtensionMap, stored []byte) (rtp.Header, []byte) {
	t.Helper()
	sh := &shape{mid: mid, extensions: m}
	var x template
	rtp.FixedHeader{
		Marker: true, PayloadType: 99, Sequence: 0x1234, Timestamp: 0x56789ABC, SSRC: 0xDEF01234,
	}.Put(x.bytes[:])
	sh.writeExtensions(&x, stored)
	h, packet := parsed(t, &m, x.plain(nil))
	if v, ok := h.Value(packet, rtp.TransportSequence); ok {
		t.Errorf("the header without a transport-wide number has %x", v)
	}
	if m[rtp.TransportSequence] == 0 {
		return h, packet
	}
	plain, without := h, packet
	h, packet = parsed(t, &m, x.numbered(nil, 0xABCD))
	if v, _ := h.Value(packet, rtp.TransportSequence); string(v) != "\xab\xcd" {
		t.Errorf("the transport-wide number is %x; expected abcd", v)
	}
	for e := range rtp.NumExtensions {
		got, _ := h.Value(packet, e)
		if want, _ := plain.Value(without, e); e != rtp.TransportSequence && !bytes.Equal(got, want) {
			t.Errorf("with a transport-wide number, %s is %x; expected %x as without", e.URI(), got, want)
		}
	}
	return h, packet
}

// parsed adds a payload to a header, and parses the packet.
func parsed(t *testing.T, m *rtp.ExtensionMap, header []byte) (h rtp.Header, packet []byte) {
	t.Helper()
	packet = append(bytes.Clone(header), "payload"...)
	if !h.Parse(packet, m) {
		t.Fatalf("the header does not parse: %x", packet)
	}
	if string(packet[h.HeaderLen:]) != "payload" {
		t.Fatalf("the header has %d bytes, the parser sees %d", len(header), h.HeaderLen)
	}
	return h, packet
}

// stored returns extensions in the form in which the history keeps them.
func stored(pairs ...any) (b []byte) {
	for i := 0; i < len(pairs); i += 2 {
		v := pairs[i+1].(string)
		b = append(b, byte(pairs[i].(rtp.Extension)), byte(len(v)))
		b = append(b, v...)
	}
	return b
}

func TestHeaderForms(t *testing.T) {
	level := stored(rtp.AudioLevel, "\x8a", rtp.VideoOrientation, "\x01", rtp.PlayoutDelay, "abc", rtp.ColorSpace,
		"wxyz")
	for _, c := range []struct {
		name    string
		mid     string
		m       rtp.ExtensionMap
		stored  []byte
		profile int // -1: no block
		want    map[rtp.Extension]string
	}{
		{"nothing negotiated", "0", rtp.ExtensionMap{}, level, -1, nil},
		{"MID", "0", rtp.ExtensionMap{rtp.MID: 4}, nil, 0xBEDE, map[rtp.Extension]string{rtp.MID: "0"}},
		{
			"transport", "0",
			rtp.ExtensionMap{rtp.TransportSequence: 3},
			nil, 0xBEDE,
			nil,
		},
		{"all, one byte", "audio", rtp.ExtensionMap{
			rtp.MID: 1, rtp.TransportSequence: 2, rtp.AudioLevel: 3, rtp.VideoOrientation: 4, rtp.PlayoutDelay: 5,
			rtp.ColorSpace: 14,
		}, level, 0xBEDE, map[rtp.Extension]string{
			rtp.MID: "audio", rtp.AudioLevel: "\x8a", rtp.VideoOrientation: "\x01", rtp.PlayoutDelay: "abc",
			rtp.ColorSpace: "wxyz",
		}},
		{"number 15", "0", rtp.ExtensionMap{rtp.MID: 15}, nil, 0x1000, map[rtp.Extension]string{rtp.MID: "0"}},
		{
			"number 255", "0",
			rtp.ExtensionMap{rtp.MID: 1, rtp.AudioLevel: 255},
			level, 0x1000,
			map[rtp.Extension]string{rtp.MID: "0", rtp.AudioLevel: "\x8a"},
		},
		{
			"MID of 16", strings.Repeat("m", 16),
			rtp.ExtensionMap{rtp.MID: 1},
			nil, 0xBEDE,
			map[rtp.Extension]string{rtp.MID: strings.Repeat("m", 16)},
		},
		{
			"MID of 17", strings.Repeat("m", 17),
			rtp.ExtensionMap{rtp.MID: 1},
			nil, 0x1000,
			map[rtp.Extension]string{rtp.MID: strings.Repeat("m", 17)},
		},
		{"MID of 32 and all else", strings.Repeat("m", 32), rtp.ExtensionMap{
			rtp.MID: 1, rtp.TransportSequence: 2, rtp.AudioLevel: 3, rtp.VideoOrientation: 4, rtp.PlayoutDelay: 5,
			rtp.ColorSpace: 6,
		}, level, 0x1000, map[rtp.Extension]string{
			rtp.MID: strings.Repeat("m", 32), rtp.AudioLevel: "\x8a", rtp.VideoOrientation: "\x01",
			rtp.PlayoutDelay: "abc", rtp.ColorSpace: "wxyz",
		}},
		{
			"only some negotiated", "0",
			rtp.ExtensionMap{rtp.PlayoutDelay: 9},
			level, 0xBEDE,
			map[rtp.Extension]string{rtp.PlayoutDelay: "abc"},
		},
		{"an empty value", "0", rtp.ExtensionMap{rtp.AudioLevel: 9}, stored(rtp.AudioLevel, ""), -1, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, packet := shaped(t, c.mid, c.m, c.stored)
			if !h.Marker || h.PayloadType != 99 {
				t.Error("marker or payload type changed")
			}
			switch {
			case c.profile < 0:
				if h.HeaderLen != rtp.HeaderLen || packet[0]&0x10 != 0 {
					t.Errorf("a block of extensions where there should be none: %x", packet)
				}
			case binary.BigEndian.Uint16(packet[rtp.HeaderLen:]) != uint16(c.profile):
				t.Errorf("the profile is %x; expected %x", packet[rtp.HeaderLen:][:2], c.profile)
			}
			for e := range rtp.NumExtensions {
				v, ok := h.Value(packet, e)
				want, wanted := c.want[e]
				if e == rtp.TransportSequence {
					continue
				}
				if ok != wanted || string(v) != want {
					t.Errorf("%s is %q (%t); expected %q (%t)", e.URI(), v, ok, want, wanted)
				}
			}
		})
	}
}

// The longest header has room in a template.
func TestHeaderNeverOutgrowsItsRoom(t *testing.T) {
	var m rtp.ExtensionMap
	for e := range m {
		m[e] = uint8(200 + e)
	}
	full := stored(rtp.AudioLevel, strings.Repeat("a", 14), rtp.VideoOrientation, strings.Repeat("b", 14),
		rtp.PlayoutDelay, strings.Repeat("c", 14), rtp.ColorSpace, strings.Repeat("d", 14))
	if len(full) != maxExtensions {
		t.Fatalf("%d bytes are stored; expected the most, %d", len(full), maxExtensions)
	}
	h, packet := shaped(t, strings.Repeat("m", maxMID), m, full)
	if h.HeaderLen > maxHeader {
		t.Errorf("the header has %d bytes of %d", h.HeaderLen, maxHeader)
	}
	for _, e := range forwarded {
		if v, ok := h.Value(packet, e); !ok || len(v) != 14 {
			t.Errorf("%s was left out though there is room", e.URI())
		}
	}
}

func TestForwardedExtensionsAreChosen(t *testing.T) {
	var m rtp.ExtensionMap
	for e := range m {
		m[e] = uint8(1 + e)
	}
	b := make([]byte, rtp.HeaderLen)
	rtp.FixedHeader{Marker: false, Extension: true, PayloadType: 96, Sequence: 0, Timestamp: 0, SSRC: 0}.Put(b)
	var ext []byte
	for e := range m {
		ext = append(ext, m[e]<<4|1, 'v', byte(e))
	}
	for len(ext)%4 != 0 {
		ext = append(ext, 0)
	}
	b = append(b, 0xBE, 0xDE, 0, byte(len(ext)/4))
	b = append(b, ext...)
	var h rtp.Header
	if !h.Parse(b, &m) {
		t.Fatal("the packet does not parse")
	}
	var room [maxExtensions]byte
	got := forwardedExtensions(room[:0], &h, b)
	want := stored(rtp.AudioLevel, "v\x04", rtp.VideoOrientation, "v\x05", rtp.PlayoutDelay, "v\x06", rtp.ColorSpace,
		"v\x07")
	if !bytes.Equal(got, want) {
		t.Errorf("kept %x; expected %x: nothing of the publisher's clock or layers", got, want)
	}
	if got := forwardedExtensions(make([]byte, 0, 5), &h, b); len(got) != 4 {
		t.Errorf("in 5 bytes of room %d were kept", len(got))
	}
}

// Subscriptions that negotiated the same share a shape, others do not. A shape ends with its last subscription.
func TestShapesAreShared(t *testing.T) {
	st := &stream{}
	a := watched(true)[0]
	b := watched(true)[0]
	b.SSRC++ // the subscriber's own
	c := watched(true)[0]
	c.MID = "other"
	d := watched(true)[0]
	d.Extensions[rtp.MID] = 14
	e := watched(true)[0]
	e.Formats = append([]rtp.Format(nil), e.Formats...)
	e.Formats[0].RTX = 0
	sa := st.shapeOf(&a)
	if st.shapeOf(&b) != sa {
		t.Error("equal subscribers do not share a shape")
	}
	for name, x := range map[string]*rtp.Track{"MID": &c, "extensions": &d, "RTX": &e} {
		if st.shapeOf(x) == sa {
			t.Errorf("subscribers that differ in %s share a shape", name)
		}
	}
	if len(st.shapes) != 4 {
		t.Errorf("%d shapes; expected 4", len(st.shapes))
	}
	st.leaveShape(sa)
	if st.shapeOf(&a) != sa {
		t.Error("a shape in use was thrown away")
	}
	st.leaveShape(sa)
	st.leaveShape(sa)
	if len(st.shapes) != 3 {
		t.Errorf("%d shapes; expected the unused one to be gone", len(st.shapes))
	}
}

// A stream holds headers for a few shapes only. Subscribers of other shapes are served like all.
func TestShapesAreBounded(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	var subs []*sub
	for i := range 3 * maxShapes {
		v := watched(i%2 == 0)
		v[0].MID = strings.Repeat("x", 1+i)
		subs = append(subs, l.watch(1, v...))
	}
	if n := len(l.stream(1).shapes); n > maxShapes {
		t.Errorf("%d shapes hold headers; the bound is %d", n, maxShapes)
	}
	l.forget()
	for seq := range uint64(5) {
		p.frame(seq, uint32(seq)*3000, seq == 0)
	}
	for i, s := range subs {
		m := rtp.ExtensionMap{rtp.MID: 11}
		got := s.media(subVideo)
		if len(got) != 5 {
			t.Fatalf("subscriber %d got %d of 5 packets", i, len(got))
		}
		for _, r := range got {
			var h rtp.Header
			if h.Parse(r.data, &m); i < maxMID {
				if mid, ok := h.Value(r.data, rtp.MID); !ok || string(mid) != s.spec.Tracks[0].MID {
					t.Errorf("subscriber %d has the MID %q", i, mid)
				}
			}
		}
	}
}
