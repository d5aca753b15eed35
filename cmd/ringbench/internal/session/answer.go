package session

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/pion/sdp/v3"

	"ringcast/engine/api"
	"ringcast/engine/rtp"
)

// ErrCodec is wrapped by the error for an answer that takes a media line without a codec of ours, or
// refuses it.
var ErrCodec = errors.New("codec refused")

// ErrAnswer is wrapped by the error for an answer that makes no sense.
var ErrAnswer = errors.New("unusable answer")

// Answer is the server's side of a session.
type Answer struct {
	ICE          api.Credentials
	Fingerprints []Fingerprint
	// Server says that the peer will be DTLS client (a=setup:active), and we its server.
	Server bool
	// Candidates are the UDP addresses to try, the most preferred first.
	Candidates []netip.AddrPort
	// Tracks are the media lines that the server takes, with the formats in its order. Their SSRCs are
	// those that the answer tells, if it tells any.
	Tracks []rtp.Track
}

// Fingerprint is a certificate's digest in SDP's form (RFC 8122).
type Fingerprint struct{ Algorithm, Value string }

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
	p.common(d.Attributes)
	refused := ""
	for _, m := range d.MediaDescriptions {
		if m.MediaName.Media != "audio" && m.MediaName.Media != "video" {
			continue
		}
		t, taken := p.media(m)
		if !taken {
			refused = m.MediaName.Media
			continue
		}
		p.common(m.Attributes)
		p.answer.Tracks = append(p.answer.Tracks, t)
	}
	a := p.answer
	slices.SortStableFunc(p.candidates, func(a, b candidate) int { return cmp.Compare(b.priority, a.priority) })
	for _, c := range p.candidates {
		if !slices.Contains(a.Candidates, c.address) {
			a.Candidates = append(a.Candidates, c.address)
		}
	}
	switch {
	case len(a.Tracks) == 0 || refused == "video" && a.Track(rtp.Video) == nil:
		return nil, fmt.Errorf("%w: the answer takes none of the %s formats that were offered", ErrCodec, cmp.Or(refused, "media"))
	case a.ICE.Ufrag == "" || a.ICE.Password == "":
		return nil, fmt.Errorf("%w: no ice-ufrag and ice-pwd", ErrAnswer)
	case len(a.Fingerprints) == 0:
		return nil, fmt.Errorf("%w: no fingerprint", ErrAnswer)
	case len(a.Candidates) == 0:
		return nil, fmt.Errorf("%w: no UDP candidate with an address; the server must answer with all its candidates", ErrAnswer)
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

// common reads what may stand at either level. Of the media lines the first counts: they are bundled.
func (p *answerParser) common(attributes []sdp.Attribute) {
	a := p.answer
	var fingerprints []Fingerprint
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
				fingerprints = append(fingerprints, Fingerprint{strings.ToLower(algorithm), strings.TrimSpace(value)})
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

// parseCandidate reads a candidate of component 1 over UDP (RFC 8839 section 5.1). Names instead of
// addresses are left out.
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
	if err != nil || address.IsUnspecified() {
		return c, false
	}
	port, err := strconv.ParseUint(f[5], 10, 16)
	if err != nil || port == 0 {
		return c, false
	}
	return candidate{priority, netip.AddrPortFrom(address.Unmap(), uint16(port))}, true
}

// media reads a media line; false if the server does not take it.
func (p *answerParser) media(m *sdp.MediaDescription) (t rtp.Track, taken bool) {
	t.Kind = rtp.Audio
	if m.MediaName.Media == "video" {
		t.Kind = rtp.Video
	}
	bundleOnly := false
	feedback := map[string]rtp.Feedback{}
	encodings, parameters := map[string]string{}, map[string]string{}
	for _, a := range m.Attributes {
		pt, rest, _ := strings.Cut(a.Value, " ")
		switch a.Key {
		case "inactive":
			return t, false
		case "bundle-only":
			bundleOnly = true
		case "mid":
			t.MID = a.Value
		case "rtpmap":
			encodings[pt] = rest
		case "fmtp":
			parameters[pt] = rest
		case "rtcp-fb":
			feedback[pt] |= feedbackOf(rest)
		case "ssrc":
			if n, err := strconv.ParseUint(pt, 10, 32); err == nil && t.SSRC == 0 {
				t.SSRC = uint32(n)
			}
		case "ssrc-group":
			if ssrcs := strings.Fields(rest); pt == "FID" && len(ssrcs) == 2 {
				for i, into := range []*uint32{&t.SSRC, &t.RTXSSRC} {
					if n, err := strconv.ParseUint(ssrcs[i], 10, 32); err == nil {
						*into = uint32(n)
					}
				}
			}
		case "extmap":
			id, _, _ := strings.Cut(pt, "/")
			n, err := strconv.ParseUint(id, 10, 8)
			uri, _, _ := strings.Cut(rest, " ")
			if e, known := rtp.ExtensionByURI(uri); known && err == nil {
				t.Extensions[e] = uint8(n)
			}
		}
	}
	if m.MediaName.Port.Value == 0 && !bundleOnly {
		return t, false
	}
	for _, text := range m.MediaName.Formats {
		pt, err := strconv.ParseUint(text, 10, 7)
		codec := codecOf(encodings[text])
		if err != nil || codec == rtp.UnknownCodec || codec.Kind() != t.Kind {
			continue
		}
		f := rtp.Format{PayloadType: uint8(pt), Codec: codec, Feedback: feedback[text] | feedback["*"]}
		for rtx, name := range encodings {
			if n, err := strconv.ParseUint(rtx, 10, 7); err == nil && strings.HasPrefix(strings.ToLower(name), "rtx/") &&
				strings.TrimSpace(parameters[rtx]) == "apt="+text {
				f.RTX = uint8(n)
			}
		}
		t.Formats = append(t.Formats, f)
	}
	return t, len(t.Formats) > 0
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
