package signaling

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"unique"

	"github.com/pion/sdp/v3"

	"ringcast/engine/api"
	"ringcast/engine/rtp"
)

// An offer is a peer's session description, checked and put in the engine's words. parseOffer makes it; forPublisher or
// forSubscriber narrows it to the accepted lines and formats; answer writes the result.
type offer struct {
	// allowMixed is a=extmap-allow-mixed at session level.
	allowMixed bool
	// relay is set if the peer wants to be a relay (api.Offer.Relay), by the attribute relayAttribute at session level.
	relay bool
	// bundle are the tags of the BUNDLE group in its order, without those of disabled lines;
	// empty where there is no group.
	bundle []string
	// media are all media lines in order.
	media []media
	// transport is the index of the line whose transport attributes count: the first of the
	// BUNDLE group (RFC 9143).
	transport int

	// manyStreams is set if the live lines belong to more than one MediaStream.
	manyStreams bool

	ice          api.Credentials
	fingerprints []api.Fingerprint
	// passive is set when the peer waits for our ClientHello.
	passive bool
	// credentials are the distinct pairs of all live lines.
	credentials []api.Credentials
}

// media is one media line.
type media struct {
	// name, protocol and list are the parts of the m= line as offered.
	name     string
	protocol []string
	list     []string
	kind     rtp.Kind
	// disabled lines have port 0 and are outside the group; they are answered likewise.
	disabled bool

	mid               string
	direction         sdp.Direction
	rsize, allowMixed bool
	// names are the codecs offered, for people to read.
	names []string
	// faults are why formats of known codecs were left out.
	faults []string
	// formats are those that ringcast forwards, in order of preference.
	formats    []format
	extensions [rtp.NumExtensions]extension
	// encodings are a publisher's layers or its one source; simulcast is set if they are layers with RIDs.
	encodings []rtp.Encoding
	simulcast bool
}

// format is a payload type with the parts of it that an answer repeats.
type format struct {
	rtp.Format
	// encoding is the value of its rtpmap, parameters that of its fmtp.
	encoding, parameters string
	// rtxEncoding and rtxParameters are the same for its retransmissions.
	rtxEncoding, rtxParameters string
}

// extension is an RTP header extension as offered; id 0 is absent.
type extension struct {
	id        uint8
	direction sdp.Direction
}

const (
	maxMID          = 32
	maxRID          = 32
	maxLayers       = 8
	maxFingerprints = 8
)

// transportLine names the line that carries the transport.
func (o *offer) transportLine() transportLine {
	m := &o.media[o.transport]
	return transportLine{kind: m.kind.String(), mid: m.mid}
}

// videoLine is the index of the live video line, or noVideo.
func (o *offer) videoLine() int {
	return slices.IndexFunc(o.media, func(m media) bool { return m.kind == rtp.Video && !m.disabled })
}

// parseOffer reads an offer. known are the shapes to look in; nil for none.
func parseOffer(body []byte, lim Limits, known *shapes) (*offer, error) {
	if err := scan(body, lim); err != nil {
		return nil, err
	}
	shape, identities := separate(body)
	var t *template
	var err error
	if known != nil {
		t, err = known.find(shape)
	} else {
		t, err = parseShape(string(shape))
	}
	if err != nil {
		return nil, err
	}
	return t.instance(identities)
}

// section is the attributes of the session part or of one media part, sorted by name. If an attribute makes sense only
// once, the first of several counts.
type section struct {
	setup, mid, simulcast              string
	direction                          sdp.Direction
	mux, rsize, allowMixed, bundleOnly bool
	iceLite, relay                     bool

	groups, rtpmaps, fmtps, feedback, extmaps, rids, ssrcs, ssrcGroups, msids []string
}

func readSection(attributes []sdp.Attribute) section {
	var s section
	for _, a := range attributes {
		value := strings.TrimSpace(a.Value)
		switch a.Key {
		case "setup":
			s.setup = cmp.Or(s.setup, value)
		case "mid":
			s.mid = cmp.Or(s.mid, value)
		case "simulcast":
			s.simulcast = cmp.Or(s.simulcast, value)
		case "sendrecv", "sendonly", "recvonly", "inactive":
			if direction, err := sdp.NewDirection(a.Key); err == nil && s.direction == 0 {
				s.direction = direction
			}
		case "ice-lite":
			s.iceLite = true
		case relayAttribute:
			s.relay = true
		case "rtcp-mux":
			s.mux = true
		case "rtcp-rsize":
			s.rsize = true
		case "extmap-allow-mixed":
			s.allowMixed = true
		case "bundle-only":
			s.bundleOnly = true
		case "group":
			s.groups = append(s.groups, value)
		case "rtpmap":
			s.rtpmaps = append(s.rtpmaps, value)
		case "fmtp":
			s.fmtps = append(s.fmtps, value)
		case "rtcp-fb":
			s.feedback = append(s.feedback, value)
		case "extmap":
			s.extmaps = append(s.extmaps, value)
		case "rid":
			s.rids = append(s.rids, value)
		case "ssrc":
			s.ssrcs = append(s.ssrcs, value)
		case "msid":
			s.msids = append(s.msids, value)
		case "ssrc-group":
			s.ssrcGroups = append(s.ssrcGroups, value)
		}
	}
	return s
}

// readLines reads the m= lines and decides which of them are live.
func (o *offer) readLines(descriptions []*sdp.MediaDescription, sections []section, shared section) error {
	group := bundleGroup(shared.groups)
	var live [2]int
	for i, d := range descriptions {
		m, s := &o.media[i], &sections[i]
		*m = media{
			name:       d.MediaName.Media,
			protocol:   d.MediaName.Protos,
			list:       d.MediaName.Formats,
			mid:        s.mid,
			direction:  cmp.Or(s.direction, shared.direction, sdp.DirectionSendRecv),
			rsize:      s.rsize || shared.rsize,
			allowMixed: s.allowMixed,
		}
		if m.mid != "" {
			if !validToken(m.mid, maxMID) {
				return malformed("a=mid:%s; expected a token of at most %d characters", quote(m.mid), maxMID)
			}
			m.mid = unique.Make(m.mid).Value()
			if slices.ContainsFunc(o.media[:i], func(e media) bool { return e.mid == m.mid }) {
				return malformed("a=mid:%s names two media lines; expected one", m.mid)
			}
		}
		// Port 0 rejects a line, unless it is part of a bundle and shares another's port.
		if d.MediaName.Port.Value == 0 && !s.bundleOnly && (m.mid == "" || !slices.Contains(group, m.mid)) {
			m.disabled = true
			continue
		}
		switch m.name {
		case "audio":
			m.kind = rtp.Audio
		case "video":
			m.kind = rtp.Video
		default:
			return unacceptable("media line %d is m=%s; expected audio and video only", i+1, m.name)
		}
		if live[m.kind]++; live[m.kind] > 1 {
			return unacceptable("more than one %s line; expected at most one audio and one video line", m.name)
		}
		if protocol := strings.Join(m.protocol, "/"); !strings.HasSuffix(protocol, "RTP/SAVPF") {
			return unacceptable("m=%s has protocol %s; expected UDP/TLS/RTP/SAVPF", m.name, quote(protocol))
		}
		if !s.mux && !shared.mux {
			return unacceptable("m=%s has no a=rtcp-mux; expected RTP and RTCP on one port", m.name)
		}
	}
	if live == [2]int{} {
		return unacceptable("every media line is disabled by port 0; expected a live audio or video line")
	}
	return nil
}

// bundleGroup are the tags of the first BUNDLE group.
func bundleGroup(groups []string) []string {
	for _, g := range groups {
		if fields := strings.Fields(g); len(fields) > 1 && strings.EqualFold(fields[0], "BUNDLE") {
			return fields[1:]
		}
	}
	return nil
}

// readBundle orders the live lines' tags as the group has them, and finds the line that speaks for
// the transport.
func (o *offer) readBundle(shared section) error {
	lines := 0
	for i := range o.media {
		if !o.media[i].disabled {
			if lines++; lines == 1 {
				o.transport = i
			}
		}
	}
	for _, mid := range bundleGroup(shared.groups) {
		i := slices.IndexFunc(o.media, func(m media) bool { return !m.disabled && m.mid == mid })
		if i < 0 || slices.Contains(o.bundle, mid) {
			continue
		}
		if len(o.bundle) == 0 {
			o.transport = i
		}
		o.bundle = append(o.bundle, o.media[i].mid)
	}
	if lines > 1 && len(o.bundle) != lines {
		return unacceptable("the media lines are not all in one a=group:BUNDLE; expected one transport for all of them")
	}
	return nil
}

// readTransport reads ICE and DTLS parameters. identities are the session part's and those of the media lines.
func (o *offer) readTransport(t *template, identities []identity) error {
	all, identities := identities[0], identities[1:]
	for i := range o.media {
		own := identities[i].ice
		ufrag, password := cmp.Or(own.Ufrag, all.ice.Ufrag), cmp.Or(own.Password, all.ice.Password)
		if o.media[i].disabled || ufrag == "" && i != o.transport {
			continue
		}
		switch {
		case ufrag == "":
			return malformed("no a=ice-ufrag; expected one on the line that carries the transport, or for the session")
		case !validCredential(ufrag, minUfrag):
			return malformed("a=ice-ufrag is %s; expected %d to 256 characters", quote(ufrag), minUfrag)
		case password == "":
			return malformed("no a=ice-pwd; expected one beside a=ice-ufrag:%s", quote(ufrag))
		case !validCredential(password, minPassword):
			return malformed("a=ice-pwd has %d characters; expected %d to 256", len(password), minPassword)
		}
		c := api.Credentials{Ufrag: ufrag, Password: password}
		if known := slices.Index(o.credentials, c); known >= 0 {
			c = o.credentials[known]
		} else {
			c = api.Credentials{Ufrag: strings.Clone(ufrag), Password: strings.Clone(password)}
			o.credentials = append(o.credentials, c)
		}
		if i == o.transport {
			o.ice = c
		}
	}

	s, shared := &t.sections[o.transport], &t.shared
	if s.iceLite || shared.iceLite {
		return unacceptable("a=ice-lite: the server is ICE-lite too, so neither would send a check; " +
			"expected a full ICE agent (RFC 8445 section 2.5)")
	}
	fingerprints := identities[o.transport].fingerprints
	if len(fingerprints) == 0 {
		fingerprints = all.fingerprints
	}
	if err := o.readFingerprints(fingerprints); err != nil {
		return err
	}
	switch setup := cmp.Or(s.setup, shared.setup); setup {
	case "actpass", "active", "": // RFC 4145 section 4: unsaid is active
	case "passive":
		o.passive = true
	case "holdconn":
		return unacceptable("a=setup:holdconn; expected actpass, active or passive")
	default:
		return malformed("a=setup:%s; expected actpass, active or passive", quote(setup))
	}
	return nil
}

// hashes are the algorithms that a certificate may be named with, and how many bytes each yields.
var hashes = []struct {
	name string
	size int
}{{"sha-256", 32}, {"sha-384", 48}, {"sha-512", 64}}

func (o *offer) readFingerprints(values []string) error {
	if len(values) == 0 {
		return malformed("no a=fingerprint; expected one on the line that carries the transport, or for the session")
	}
	if len(values) > maxFingerprints {
		return tooMuch("too many fingerprints; expected at most %d fingerprints", maxFingerprints)
	}
	for _, v := range values {
		name, value, ok := strings.Cut(v, " ")
		value = strings.TrimSpace(value)
		if !ok || !validToken(name, maxMID) {
			return malformed("a=fingerprint:%s; expected a hash and its value", quote(v))
		}
		for _, h := range hashes {
			if !strings.EqualFold(name, h.name) {
				continue
			}
			if !validHash(value, h.size) {
				return malformed("a=fingerprint:%s; expected %d pairs of hexadecimal digits joined by colons", quote(v),
					h.size)
			}
			o.fingerprints = append(o.fingerprints,
				api.Fingerprint{Algorithm: h.name, Value: strings.ToUpper(strings.Clone(value))})
		}
	}
	if len(o.fingerprints) == 0 {
		return unacceptable("a=fingerprint:%s; expected sha-256, sha-384 or sha-512", quote(values[0]))
	}
	return nil
}

func validHash(value string, size int) bool {
	if len(value) != 3*size-1 {
		return false
	}
	for i := range len(value) {
		c := value[i] | 0x20 // lower case; a digit stays as it is
		if i%3 == 2 {
			if value[i] != ':' {
				return false
			}
		} else if (c < '0' || c > '9' || value[i] != c) && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// read reads a live line's media attributes.
func (m *media) read(s, shared *section) error {
	if err := m.readFormats(s); err != nil {
		return err
	}
	if err := m.readExtensions(s.extmaps); err != nil {
		return err
	}
	if err := m.readExtensions(shared.extmaps); err != nil {
		return err
	}
	return m.readEncodings(s)
}

// readExtensions notes the extensions that we know; those of the media part come first and win.
func (m *media) readExtensions(extmaps []string) error {
	for _, v := range extmaps {
		fields := strings.Fields(v)
		if len(fields) < 2 {
			return malformed("a=extmap:%s; expected a number and a URI", quote(v))
		}
		number, suffix, directed := strings.Cut(fields[0], "/")
		id, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return malformed("a=extmap:%s; expected a number and a URI", quote(v))
		}
		direction := sdp.DirectionSendRecv
		if directed {
			if direction, err = sdp.NewDirection(suffix); err != nil {
				return malformed("a=extmap:%s; expected a direction after the slash", quote(v))
			}
		}
		e, known := rtp.ExtensionByURI(fields[1])
		// 0 and 15 mean something else in one-byte headers, and numbers above 255 are offers
		// to be given another (RFC 8285).
		if !known || id == 0 || id == 15 || id > 255 || direction == sdp.DirectionInactive {
			continue
		}
		if m.extensions[e].id == 0 {
			m.extensions[e] = extension{uint8(id), direction}
		}
	}
	return nil
}

// readEncodings finds a publisher's encodings: its simulcast layers if it announces some, else its SSRC, else one that
// only the MID will identify.
func (m *media) readEncodings(s *section) error {
	rids, err := sendRIDs(s.rids)
	if err != nil {
		return err
	}
	layers, err := simulcastLayers(s.simulcast, rids)
	if err != nil {
		return err
	}
	// Without the extension nothing would distinguish the layers. An answer that is silent about simulcast makes the
	// publisher send one layer (RFC 8853).
	if len(layers) > 0 && m.extensions[rtp.RID].id != 0 {
		m.simulcast = true
		for _, rid := range layers {
			m.encodings = append(m.encodings, rtp.Encoding{RID: unique.Make(rid).Value()})
		}
		return nil
	}

	var e rtp.Encoding
	for _, v := range s.ssrcs {
		text, _, _ := strings.Cut(v, " ")
		ssrc, err := parseSSRC(text)
		if err != nil {
			return err
		}
		if e.SSRC == 0 {
			e.SSRC = ssrc
		}
	}
	for _, v := range s.ssrcGroups {
		fields := strings.Fields(v)
		if len(fields) != 3 || fields[0] != "FID" {
			continue
		}
		if e.SSRC, err = parseSSRC(fields[1]); err != nil {
			return err
		}
		if e.RTXSSRC, err = parseSSRC(fields[2]); err != nil {
			return err
		}
		break
	}
	m.encodings = []rtp.Encoding{e}
	return nil
}

func parseSSRC(text string) (uint32, error) {
	ssrc, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0, malformed("SSRC %s; expected a number below 2^32", quote(text))
	}
	return uint32(ssrc), nil
}

// sendRIDs are the restriction identifiers of the layers that the peer sends.
func sendRIDs(values []string) ([]string, error) {
	var rids []string
	for _, v := range values {
		fields := strings.Fields(v)
		if len(fields) < 2 || !validRID(fields[0]) {
			return nil, malformed("a=rid:%s; expected letters and digits, at most %d, and a direction", quote(v),
				maxRID)
		}
		if fields[1] == "send" {
			rids = append(rids, fields[0])
		}
	}
	return rids, nil
}

func validRID(rid string) bool {
	return validToken(rid, maxRID) && !strings.ContainsAny(rid, "!#$%&'*+.^`{|}~")
}

// simulcastLayers is the send part of a=simulcast (RFC 8853): of alternatives the first,
// whether it starts paused or not. Identifiers without an a=rid do not count.
func simulcastLayers(value string, rids []string) ([]string, error) {
	fields := strings.Fields(value)
	if len(fields)%2 != 0 {
		return nil, malformed("a=simulcast:%s; expected pairs of a direction and a list", quote(value))
	}
	var layers []string
	for i := 0; i < len(fields); i += 2 {
		if fields[i] != "send" {
			continue
		}
		for layer := range strings.SplitSeq(fields[i+1], ";") {
			for rid := range strings.SplitSeq(layer, ",") {
				rid = strings.TrimPrefix(rid, "~")
				if slices.Contains(rids, rid) && !slices.Contains(layers, rid) {
					layers = append(layers, rid)
					break
				}
			}
		}
	}
	if len(layers) > maxLayers {
		return nil, unacceptable("%d simulcast layers; expected at most %d", len(layers), maxLayers)
	}
	return layers, nil
}

// checkNumbers refuses numbers that mean two things: the lines share one transport, so payload types,
// extension numbers and SSRCs must tell them apart (RFC 9143).
func (o *offer) checkNumbers() error {
	var types [128]bool
	var ids [256]string
	var ssrcs []uint32
	for i := range o.media {
		m := &o.media[i]
		for _, f := range m.formats {
			for _, t := range []uint8{f.PayloadType, f.RTX} {
				if t != 0 && types[t] {
					return malformed("payload type %d is used for two formats; expected one", t)
				}
				types[t] = true
			}
		}
		for e, x := range m.extensions {
			uri := rtp.Extension(e).URI()
			if x.id != 0 && ids[x.id] != "" && ids[x.id] != uri {
				return malformed("a=extmap:%d stands for two extensions; expected one", x.id)
			}
			ids[x.id] = uri
		}
		for _, e := range m.encodings {
			for _, ssrc := range []uint32{e.SSRC, e.RTXSSRC} {
				if ssrc != 0 && slices.Contains(ssrcs, ssrc) {
					return malformed("a=ssrc:%d is used twice; expected one source", ssrc)
				}
				ssrcs = append(ssrcs, ssrc)
			}
		}
	}
	return nil
}
