package signaling

import (
	"slices"
	"strings"

	"ringcast/engine/rtp"
)

// A relay is a viewer that is another node, which serves the stream further. It asks for that by relayAttribute, an
// attribute of our own at session level. The answer announces layers by RIDs, as publishers do. A group has their SSRCs
// in the same order (SIM, as Chromium once had it):
//
//	a=rid:h send
//	a=rid:l send
//	a=simulcast:send h;l
//	a=ssrc-group:SIM 1 2
//	a=ssrc-group:FID 1 3
//	a=ssrc-group:FID 2 4
const relayAttribute = "ringcast-relay"

// layers announces the layers of a relay's track, if it has any.
func (t *text) layers(all []rtp.Encoding) {
	var rids, ssrcs []string
	for _, e := range all {
		if e.RID == "" || e.SSRC == 0 {
			return
		}
		rids, ssrcs = append(rids, e.RID), append(ssrcs, decimal(e.SSRC))
	}
	for _, rid := range rids {
		t.attribute("rid", rid, " send")
	}
	t.attribute("simulcast", "send ", strings.Join(rids, ";"))
	t.attribute("ssrc-group", "SIM ", strings.Join(ssrcs, " "))
}

// relayed reads the layers of a media part of an answer to a relay, nil where it has none.
func (s *section) relayed() ([]rtp.Encoding, error) {
	rids, err := sendRIDs(s.rids)
	if err != nil {
		return nil, err
	}
	layers, err := simulcastLayers(s.simulcast, rids)
	if err != nil || len(layers) == 0 {
		return nil, err
	}
	groups, err := s.groupsOf("SIM")
	if err != nil {
		return nil, err
	}
	if len(groups) != 1 || len(groups[0]) != len(layers) {
		return nil, malformed("%d layers without as many SSRCs; expected one a=ssrc-group:SIM with those", len(layers))
	}
	resends, err := s.groupsOf("FID")
	if err != nil {
		return nil, err
	}
	all := make([]rtp.Encoding, len(layers))
	for i, ssrc := range groups[0] {
		if ssrc == 0 || slices.Contains(groups[0][:i], ssrc) {
			return nil, malformed("SSRC %d of a layer; expected one above 0 for each", ssrc)
		}
		all[i] = rtp.Encoding{RID: strings.Clone(layers[i]), SSRC: ssrc}
		for _, pair := range resends {
			if len(pair) == 2 && pair[0] == ssrc {
				all[i].RTXSSRC = pair[1]
			}
		}
	}
	return all, nil
}

// groupsOf returns the SSRCs of all groups of a kind.
func (s *section) groupsOf(kind string) (groups [][]uint32, err error) {
	for _, v := range s.ssrcGroups {
		fields := strings.Fields(v)
		if len(fields) == 0 || fields[0] != kind {
			continue
		}
		var group []uint32
		for _, text := range fields[1:] {
			ssrc, err := parseSSRC(text)
			if err != nil {
				return nil, err
			}
			group = append(group, ssrc)
		}
		groups = append(groups, group)
	}
	return groups, nil
}
