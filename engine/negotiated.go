package engine

import (
	"encoding/binary"
	"slices"
	"strings"

	"ringcast/engine/rtp"
)

// maxNegotiated bounds what is remembered of subscribers' offers.
const maxNegotiated = 256

// negotiated is what subscribers negotiated, each kind once: thousands of them offer the same, and with
// payload types and extensions shared a session stays small. They also share the SSRCs that they are
// sent, which need to be unique within a session only: every session has its own keys.
type negotiated struct {
	known        [][]rtp.Track
	ssrcs, rtxes [2]uint32 // by kind
}

func newNegotiated(random func([]byte)) (n negotiated) {
	used := map[uint32]bool{0: true}
	for _, s := range [...]*uint32{&n.ssrcs[0], &n.ssrcs[1], &n.rtxes[0], &n.rtxes[1]} {
		for used[*s] {
			var b [4]byte
			random(b[:])
			*s = binary.BigEndian.Uint32(b[:])
		}
		used[*s] = true
	}
	return n
}

// share returns the tracks with the SSRCs that the subscriber will be sent, in memory that alike
// subscribers have in common. It must not be written to.
func (n *negotiated) share(tracks []rtp.Track) []rtp.Track {
	for i, k := range n.known {
		if slices.EqualFunc(k, tracks, sameTrack) {
			// The most used come to stand in front.
			if i > 0 {
				n.known[i-1], n.known[i] = n.known[i], n.known[i-1]
			}
			return k
		}
	}
	tracks = slices.Clone(tracks)
	for i := range tracks {
		t := &tracks[i]
		t.MID = strings.Clone(t.MID) // not a piece of the whole offer
		t.Formats = slices.Clone(t.Formats)
		t.SSRC, t.RTXSSRC = n.ssrcs[t.Kind], 0
		for j := range t.Formats {
			t.Formats[j].Profile = strings.Clone(t.Formats[j].Profile)
			if t.Formats[j].RTX != 0 {
				t.RTXSSRC = n.rtxes[t.Kind]
			}
		}
	}
	if len(n.known) < maxNegotiated {
		n.known = append(n.known, tracks)
	}
	return tracks
}

// sameTrack compares what was negotiated, which does not include the SSRCs.
func sameTrack(a, b rtp.Track) bool {
	return a.Kind == b.Kind && a.MID == b.MID && a.Extensions == b.Extensions && slices.Equal(a.Formats, b.Formats)
}
