package client

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/pion/sdp/v3"

	"ringcast/engine/api"
	"ringcast/engine/rtp"
)

// maxCandidates is the most candidates that an answer keeps: each may cost the caller a socket.
const maxCandidates = 32

// Answer is the server's half of a session.
type Answer struct {
	ICE          api.Credentials
	Fingerprints []api.Fingerprint
	// Server is set when we are to be the DTLS server: the peer is the client (a=setup:active).
	Server bool
	// Candidates are the UDP addresses to check, the one with the highest priority first; at most 32.
	Candidates []netip.AddrPort
	// Tracks are the media lines that the server accepted, with the formats in its order. Their SSRCs are those of
	// the answer, if it has any.
	Tracks []rtp.Track
}

// Track finds the track of a kind, or nil.
func (a *Answer) Track(k rtp.Kind) *rtp.Track {
	for i := range a.Tracks {
		if a.Tracks[i].Kind == k {
			return &a.Tracks[i]
		}
	}
	return nil
}

// ParseAnswer reads an answer. The errors wrap ErrAnswer or ErrCodec.
func ParseAnswer(body []byte) (*Answer, error) {
	var d sdp.SessionDescription
	if err := d.Unmarshal(body); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	p := answerParser{answer: &Answer{}}
	p.transport(d.Attributes)
	refused := ""
	for _, m := range d.MediaDescriptions {
		if m.MediaName.Media != "audio" && m.MediaName.Media != "video" {
			continue
		}
		t, accepted := parseMedia(m)
		if !accepted {
			refused = m.MediaName.Media
			continue
		}
		p.transport(m.Attributes)
		p.answer.Tracks = append(p.answer.Tracks, t)
	}
	a := p.answer
	a.Candidates = p.best()
	switch {
	case len(a.Tracks) == 0 && refused == "":
		return nil, fmt.Errorf("%w: no media line", ErrAnswer)
	case len(a.Tracks) == 0 || refused == "video" && a.Track(rtp.Video) == nil:
		return nil, fmt.Errorf("%w: the answer accepts none of the %s formats that were offered",
			ErrCodec, refused)
	case a.ICE.Ufrag == "" || a.ICE.Password == "":
		return nil, fmt.Errorf("%w: no ice-ufrag and ice-pwd", ErrAnswer)
	case len(a.Fingerprints) == 0:
		return nil, fmt.Errorf("%w: no fingerprint", ErrAnswer)
	case len(a.Candidates) == 0:
		return nil, fmt.Errorf("%w: no UDP candidate with an address; expected all of the server's candidates",
			ErrAnswer)
	}
	return a, nil
}

type answerParser struct {
	answer     *Answer
	candidates []candidate
}

type candidate struct {
	priority uint64
	address  netip.AddrPort
}

// best returns the addresses of the candidates, the one with the highest priority first.
func (p *answerParser) best() (addresses []netip.AddrPort) {
	slices.SortStableFunc(p.candidates, func(a, b candidate) int { return cmp.Compare(b.priority, a.priority) })
	for _, c := range p.candidates {
		if len(addresses) == maxCandidates {
			break
		}
		if !slices.Contains(addresses, c.address) {
			addresses = append(addresses, c.address)
		}
	}
	return addresses
}

// transport reads the attributes of ICE and DTLS, which stand at either level. The first media line counts: all are
// bundled.
func (p *answerParser) transport(attributes []sdp.Attribute) {
	a := p.answer
	var fingerprints []api.Fingerprint
	for _, x := range attributes {
		switch x.Key {
		case "ice-ufrag":
			a.ICE.Ufrag = cmp.Or(a.ICE.Ufrag, x.Value)
		case "ice-pwd":
			a.ICE.Password = cmp.Or(a.ICE.Password, x.Value)
		case "setup":
			a.Server = x.Value == "active"
		case "fingerprint":
			if algorithm, value, ok := strings.Cut(x.Value, " "); ok {
				f := api.Fingerprint{Algorithm: strings.ToLower(algorithm), Value: strings.TrimSpace(value)}
				fingerprints = append(fingerprints, f)
			}
		case "candidate":
			if c, ok := parseCandidate(x.Value); ok {
				p.candidates = append(p.candidates, c)
			}
		}
	}
	if len(a.Fingerprints) == 0 {
		a.Fingerprints = fingerprints
	}
}

// parseCandidate reads a candidate of component 1 over UDP (RFC 8839 section 5.1). One with a name in place of an
// address is skipped.
func parseCandidate(value string) (c candidate, ok bool) {
	f := strings.Fields(value)
	if len(f) < 8 || f[1] != "1" || !strings.EqualFold(f[2], "udp") {
		return c, false
	}
	priority, err := strconv.ParseUint(f[3], 10, 32)
	if err != nil {
		return c, false
	}
	address, err := netip.ParseAddr(f[4])
	address = address.Unmap()
	if err != nil || address.IsUnspecified() { // systems take it for themselves
		return c, false
	}
	port, err := strconv.ParseUint(f[5], 10, 16)
	if err != nil || port == 0 {
		return c, false
	}
	return candidate{priority, netip.AddrPortFrom(address, uint16(port))}, true
}

// A mediaLine gathers the attributes of a media line. The maps are by payload type, as text.
type mediaLine struct {
	track                  rtp.Track
	inactive, bundleOnly   bool
	feedback               map[string]rtp.Feedback
	encodings, retransmits map[string]string // of rtpmap, and by apt
}

// parseMedia reads a media line and reports whether the server accepted it.
func parseMedia(m *sdp.MediaDescription) (t rtp.Track, accepted bool) {
	line := mediaLine{
		feedback: map[string]rtp.Feedback{}, encodings: map[string]string{}, retransmits: map[string]string{},
	}
	line.track.Kind = rtp.Audio
	if m.MediaName.Media == "video" {
		line.track.Kind = rtp.Video
	}
	for _, a := range m.Attributes {
		line.attribute(a)
	}
	if line.inactive || m.MediaName.Port.Value == 0 && !line.bundleOnly {
		return line.track, false
	}
	for _, pt := range m.MediaName.Formats {
		if f, ok := line.format(pt); ok {
			line.track.Formats = append(line.track.Formats, f)
		}
	}
	return line.track, len(line.track.Formats) > 0
}

func (m *mediaLine) attribute(a sdp.Attribute) {
	first, rest, _ := strings.Cut(a.Value, " ")
	switch a.Key {
	case "inactive":
		m.inactive = true
	case "bundle-only":
		m.bundleOnly = true
	case "mid":
		m.track.MID = a.Value
	case "rtpmap":
		m.encodings[first] = rest
	case "fmtp":
		if of, ok := strings.CutPrefix(strings.TrimSpace(rest), "apt="); ok {
			m.retransmits[of] = cmp.Or(m.retransmits[of], first)
		}
	case "rtcp-fb":
		m.feedback[first] |= feedbackOf(rest)
	case "ssrc":
		m.track.SSRC = cmp.Or(m.track.SSRC, parseSSRC(first))
	case "ssrc-group":
		if ssrcs := strings.Fields(rest); first == "FID" && len(ssrcs) == 2 {
			m.track.SSRC = cmp.Or(parseSSRC(ssrcs[0]), m.track.SSRC)
			m.track.RTXSSRC = cmp.Or(parseSSRC(ssrcs[1]), m.track.RTXSSRC)
		}
	case "extmap":
		id, _, _ := strings.Cut(first, "/")
		n, err := strconv.ParseUint(id, 10, 8)
		uri, _, _ := strings.Cut(rest, " ")
		if e, known := rtp.ExtensionByURI(uri); known && err == nil {
			m.track.Extensions[e] = uint8(n)
		}
	}
}

// parseSSRC returns 0 for a text that is no SSRC.
func parseSSRC(text string) uint32 {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}

// format reads a payload type of the media line; ok is false for RTX and for codecs that package rtp does not know.
func (m *mediaLine) format(text string) (f rtp.Format, ok bool) {
	pt, err := strconv.ParseUint(text, 10, 7)
	codec := codecOf(m.encodings[text])
	if err != nil || codec == rtp.UnknownCodec || codec.Kind() != m.track.Kind {
		return f, false
	}
	f = rtp.Format{PayloadType: uint8(pt), Codec: codec, Feedback: m.feedback[text] | m.feedback["*"]}
	rtx := m.retransmits[text]
	n, err := strconv.ParseUint(rtx, 10, 7)
	if name, _, _ := strings.Cut(m.encodings[rtx], "/"); err == nil && strings.EqualFold(name, "rtx") {
		f.RTX = uint8(n)
	}
	return f, true
}

func feedbackOf(value string) rtp.Feedback {
	switch strings.TrimSpace(value) {
	case "nack":
		return rtp.NACK
	case "nack pli":
		return rtp.PLI
	case "ccm fir":
		return rtp.FIR
	case "transport-cc":
		return rtp.TransportCC
	}
	return 0
}

func codecOf(encoding string) rtp.Codec {
	name, _, _ := strings.Cut(encoding, "/")
	c, _ := CodecByName(name)
	return c
}

// CodecByName finds a codec by the name that SDP gives it, in any case.
func CodecByName(name string) (rtp.Codec, bool) {
	for _, c := range []rtp.Codec{rtp.Opus, rtp.VP8, rtp.VP9, rtp.H264, rtp.H265, rtp.AV1} {
		if strings.EqualFold(c.String(), name) {
			return c, true
		}
	}
	return rtp.UnknownCodec, false
}
