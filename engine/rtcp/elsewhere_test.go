package rtcp

import (
	"slices"
	"testing"
)

// The packets that a sender lacks itself are read as they were written, also around the wrap of numbers. They are no
// NACK.
func TestLossElsewhere(t *testing.T) {
	want := []uint16{65534, 65535, 0, 16, 40}
	b := AppendLossElsewhere(nil, 7, 9, want)
	if len(b) == 0 || b[0] != 0x87 || b[1] != 205 {
		t.Fatalf("% x, want transport feedback of format 7 (RFC 6642)", b)
	}
	var p Packet
	r := NewReader(b)
	if !r.Next(&p) || p.Type != LossElsewhere || p.SSRC != 7 || p.Media != 9 {
		t.Fatalf("%+v, want LossElsewhere from 7 about 9", p)
	}
	var got []uint16
	for x := p.NACKs(); ; {
		seq, ok := x.Next()
		if !ok {
			break
		}
		got = append(got, seq)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if b := AppendLossElsewhere(nil, 7, 9, nil); len(b) != 0 {
		t.Errorf("% x for no packets, want nothing", b)
	}
	cut := AppendLossElsewhere(nil, 7, 9, want)
	cut = append(cut[:12:12], 1, 2, 3, 4, 5, 6, 7, 8)
	cut[3] = 4
	cut[0] |= 0x20 // padding of 6 bytes leaves half an entry
	cut[len(cut)-1] = 6
	if r := NewReader(cut); r.Next(&p) {
		t.Errorf("a packet with half an entry was read: %+v", p)
	}
}
