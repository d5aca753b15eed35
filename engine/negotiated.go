package engine

import (
	"encoding/binary"
	"slices"
	"strings"

	"ringcast/engine/rtp"
)

// maxNegotiated bounds the number of kinds of offers that are remembered.
const maxNegotiated = 256

// negotiated holds the tracks that subscribers negotiated, each kind once. Thousands of them offer the same, and a
// session stays small if payload types and extensions are shared. They also share the SSRCs that they are sent. Those
// have to be unique only within a session, since every session has its own keys.
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

// share returns the tracks with the SSRCs that the subscriber will be sent. Subscribers with the same offer share the
// memory, so it must not be written to.
func (n *negotiated) share(tracks []rtp.Track) []rtp.Track {
	for i, k := range n.known {
		if slices.EqualFunc(k, tracks, sameTrack) {
			// The most used ones move to the front.
			if i > 0 {
				n.known[i-1], n.known[i] = n.known[i], n.known[i-1]
			}
			return k
		}
	}
	tracks = slices.Clone(tracks)
	for i := range tracks {
		t := &tracks[i]
		t.MID = strings.Clone(t.MID) // else it would keep the whole offer in memory
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

// sameTrack compares the negotiated facts, which do not include the SSRCs.
func sameTrack(a, b rtp.Track) bool {
	return a.Kind == b.Kind && a.MID == b.MID && a.Extensions == b.Extensions && slices.Equal(a.Formats, b.Formats)
}
