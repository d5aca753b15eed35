package signaling

import (
	"bytes"
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/pion/sdp/v3"

	"ringcast/engine/api"
)

// An offer has two parts. Its shape is all that other offers of the same browser and page share: lines, formats,
// extensions. The rest belongs to one peer: credentials, fingerprints, addresses. A shape is parsed once, and may serve
// thousands of viewers.

// personal are the attributes whose values are no part of the shape. The candidates and the address of RTCP in an offer
// have no meaning here: checks show where a peer is.
var personal = []string{"candidate", "fingerprint", "ice-pwd", "ice-ufrag", "rtcp"}

// An identity is one peer's own values in the session part or in one media part. The first ufrag and password count.
type identity struct {
	ice          api.Credentials
	fingerprints []string
}

// separate divides an offer that scan has passed. The identities are the session part's and then, in order, those of
// the media lines. Personal lines stay in the shape without their values, so that both together are as valid as the
// offer.
func separate(body []byte) (shape []byte, identities []identity) {
	shape = make([]byte, 0, len(body)+2)
	identities = make([]identity, 1, 4)
	for len(body) > 0 {
		line := nextLine(&body)
		switch {
		case bytes.HasPrefix(line, []byte("m=")):
			identities = append(identities, identity{})
			shape = appendMediaLine(shape, line)
		case bytes.HasPrefix(line, []byte("a=")):
			name, value, valued := bytes.Cut(line[2:], []byte(":"))
			if !valued || !identities[len(identities)-1].take(string(name), value) {
				shape = append(shape, line...)
				break
			}
			kept := line[:len(line)-len(value)]
			// The number of candidates differs from peer to peer.
			if string(name) == "candidate" && bytes.HasSuffix(shape, []byte("\r\na=candidate:\r\n")) {
				continue
			}
			shape = append(shape, kept...)
		case isOrigin(line):
			shape = append(shape, "o=- 0 0 IN IP4 0.0.0.0"...)
		case isConnection(line):
			shape = append(shape, "c=IN IP4 0.0.0.0"...)
		default:
			shape = append(shape, line...)
		}
		shape = append(shape, "\r\n"...)
	}
	return shape, identities
}

// take keeps the value of a personal attribute. It reports false for any other.
func (id *identity) take(name string, value []byte) bool {
	if !slices.Contains(personal, name) {
		return false
	}
	value = bytes.TrimSpace(value)
	switch name {
	case "ice-ufrag":
		id.ice.Ufrag = cmp.Or(id.ice.Ufrag, string(value))
	case "ice-pwd":
		id.ice.Password = cmp.Or(id.ice.Password, string(value))
	case "fingerprint":
		id.fingerprints = append(id.fingerprints, string(value))
	}
	return true
}

// appendMediaLine adds an m= line with port 9 for any but 0, which refuses the line.
func appendMediaLine(shape, line []byte) []byte {
	media, rest, _ := bytes.Cut(line, []byte(" "))
	port, rest, _ := bytes.Cut(rest, []byte(" "))
	if n, err := strconv.ParseUint(string(port), 10, 16); err != nil || n == 0 {
		return append(shape, line...)
	}
	shape = append(append(shape, media...), " 9 "...)
	return append(shape, rest...)
}

// isOrigin reports whether a line is an o= line in its usual form (RFC 8866 section 5.2). Any other is left to the
// parser.
func isOrigin(line []byte) bool {
	text, ok := strings.CutPrefix(string(line), "o=")
	fields := strings.Split(text, " ")
	if !ok || len(fields) != 6 || fields[0] == "" || fields[3] != "IN" {
		return false
	}
	for _, f := range fields[1:3] {
		if _, err := strconv.ParseUint(f, 10, 63); err != nil {
			return false
		}
	}
	return isAddress(fields[4:])
}

// isConnection reports whether a line is a c= line in its usual form (RFC 8866 section 5.7).
func isConnection(line []byte) bool {
	text, ok := strings.CutPrefix(string(line), "c=IN ")
	return ok && isAddress(strings.Split(text, " "))
}

// isAddress reports whether two fields are the type of an address and an address.
func isAddress(fields []string) bool {
	if len(fields) != 2 || fields[0] != "IP4" && fields[0] != "IP6" {
		return false
	}
	_, err := netip.ParseAddr(fields[1])
	return err == nil
}

// A template is a parsed shape. Offers are made of it, and nobody writes to it.
type template struct {
	offer    offer
	shared   section
	sections []section
}

// parseShape parses a shape.
func parseShape(shape string) (*template, error) {
	var d sdp.SessionDescription
	if err := d.UnmarshalString(shape); err != nil {
		const most = 200
		return nil, malformed("not a session description; expected one of RFC 8866: %.*s", most, err.Error())
	}
	if len(d.MediaDescriptions) == 0 {
		return nil, malformed("no media line; expected m=audio, m=video or both")
	}
	t := &template{shared: readSection(d.Attributes), sections: make([]section, len(d.MediaDescriptions))}
	for i, m := range d.MediaDescriptions {
		t.sections[i] = readSection(m.Attributes)
	}
	o := &t.offer
	o.allowMixed, o.relay, o.media = t.shared.allowMixed, t.shared.relay, make([]media, len(t.sections))
	if err := o.readLines(d.MediaDescriptions, t.sections, t.shared); err != nil {
		return nil, err
	}
	if err := o.readBundle(t.shared); err != nil {
		return nil, err
	}
	mediaStream := ""
	for i := range o.media {
		if o.media[i].disabled {
			continue
		}
		for _, msid := range t.sections[i].msids {
			// A dash is a track without a MediaStream (RFC 8830).
			if id, _, _ := strings.Cut(msid, " "); id != "-" {
				o.manyStreams = o.manyStreams || mediaStream != "" && id != mediaStream
				mediaStream = id
			}
		}
		if err := o.media[i].read(&t.sections[i], &t.shared); err != nil {
			return nil, err
		}
	}
	return t, o.checkNumbers()
}

// instance returns the offer of a peer with this shape, to be narrowed.
func (t *template) instance(identities []identity) (*offer, error) {
	// The parser takes an m= after the end of a c= or t= line for a line of its own.
	if len(identities) != 1+len(t.sections) {
		return nil, malformed("an m= stands within another line; expected each at the beginning of a line")
	}
	o := t.offer
	o.media = slices.Clone(o.media)
	for i := range o.media {
		m := &o.media[i]
		m.formats, m.encodings = slices.Clone(m.formats), slices.Clone(m.encodings)
	}
	return &o, o.readTransport(t, identities)
}

const (
	// maxShapes bounds the shapes that are remembered, and maxShapeSize the text of each. Together they are some
	// megabytes at most.
	maxShapes    = 64
	maxShapeSize = 16 << 10
)

// shapes remembers the shapes of subscribers' offers. Those of publishers name their sources, so no two are the same.
// The zero value is ready.
type shapes struct {
	mu    sync.Mutex
	known map[string]*template
}

// find returns the template of a shape.
func (s *shapes) find(shape []byte) (*template, error) {
	s.mu.Lock()
	t := s.known[string(shape)]
	s.mu.Unlock()
	if t != nil {
		return t, nil
	}
	t, err := parseShape(string(shape))
	if err != nil || len(shape) > maxShapeSize {
		return t, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known = make(map[string]*template)
	}
	// Any may give way: a peer that makes up shapes only costs the others what they would cost anyway.
	for known := range s.known {
		if len(s.known) < maxShapes {
			break
		}
		delete(s.known, known)
	}
	s.known[string(shape)] = t
	return t, nil
}
