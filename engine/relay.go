package engine

import (
	"encoding/binary"
	"slices"
	"strings"

	"ringcast/engine/api"
	"ringcast/engine/rtp"
)

// A relay is a subscriber that is another node. Its session has a line for each layer, so a worker serves each layer as
// a subscription of its own. Outside of the engine these lines are the Encodings of the lines that the relay offered.

// unrelayed are the extensions that relays are not sent. Their layers are known by SSRC, and packets carry no numbers.
var unrelayed = [...]rtp.Extension{rtp.MID, rtp.RID, rtp.RepairedRID, rtp.TransportSequence}

// spread returns a line for each layer that the stream's publisher has of the offered lines. A line that is not
// published has one layer without a RID.
func (c *controller) spread(st *stream, offered []rtp.Track) (lines []rtp.Track) {
	used := map[uint32]bool{0: true}
	ssrc := func() (s uint32) {
		for used[s] {
			var b [4]byte
			c.random(b[:])
			s = binary.BigEndian.Uint32(b[:])
		}
		used[s] = true
		return s
	}
	for i := range offered {
		t := offered[i]
		t.MID = strings.Clone(t.MID) // else it would keep the whole offer in memory
		t.Formats = slices.Clone(t.Formats)
		resends := false
		for j := range t.Formats {
			f := &t.Formats[j]
			f.Profile, f.Sets, f.Feedback = strings.Clone(f.Profile), "", f.Feedback&^rtp.TransportCC
			resends = resends || f.RTX != 0
		}
		for _, e := range unrelayed {
			t.Extensions[e] = 0
		}
		for _, rid := range st.rids(t.Kind) {
			t.SSRC, t.RTXSSRC = ssrc(), 0
			if resends {
				t.RTXSSRC = ssrc()
			}
			t.Encodings = []rtp.Encoding{{RID: rid, SSRC: t.SSRC, RTXSSRC: t.RTXSSRC}}
			lines = append(lines, t)
		}
	}
	return lines
}

// rids returns the RIDs of the layers that are published of a kind, an empty one if there are none.
func (st *stream) rids(k rtp.Kind) (rids []string) {
	if st.live != nil {
		tracks := st.live.spec.Tracks
		if i := slices.IndexFunc(tracks, func(t rtp.Track) bool { return t.Kind == k }); i >= 0 {
			for _, e := range tracks[i].Encodings {
				rids = append(rids, e.RID)
			}
		}
	}
	if len(rids) == 0 {
		rids = []string{""}
	}
	return rids
}

// gather makes a relay's lines those of its offer again: the layers of a line are its encodings.
func gather(lines []rtp.Track) (tracks []rtp.Track) {
	for _, t := range lines {
		if n := len(tracks); n > 0 && tracks[n-1].MID == t.MID {
			tracks[n-1].Encodings = append(tracks[n-1].Encodings, t.Encodings...)
			continue
		}
		t.Encodings = slices.Clone(t.Encodings)
		t.SSRC, t.RTXSSRC = 0, 0
		tracks = append(tracks, t)
	}
	return tracks
}

// tracksFor returns a subscriber's lines with the SSRCs that it will be sent.
func (c *controller) tracksFor(st *stream, p *api.Offer) []rtp.Track {
	if p.Relay {
		return c.spread(st, p.Tracks)
	}
	return c.negotiated.share(p.Tracks)
}

// audience is the number of a stream's viewers. Relays are none.
func (st *stream) audience() int { return len(st.viewers) - st.relays }
