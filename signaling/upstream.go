package signaling

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"

	"ringcast/engine/api"
	"ringcast/engine/rtp"
)

// ErrUpstream is wrapped by errors of Config.Find: the stream is at another server that cannot be reached or used.
var ErrUpstream = errors.New("the stream is at a server that cannot be used")

// ErrLoop is wrapped by errors of Config.Find: the request comes from a server that would get the stream from itself.
var ErrLoop = errors.New("the stream would come from the server that asks for it")

// ErrUnknown is wrapped by errors of Config.Find: other servers may have the stream, but did not answer in time.
var ErrUnknown = errors.New("other servers did not say in time whether they have the stream")

// A Finder brings a stream that is published on another server to the engine, if it is not there already. source is
// the client's address, which the request does not have if it came over a proxy. A Finder may add headers to the
// answer. Its errors are those of Engine.Subscribe, ErrUpstream, ErrUnknown and ErrLoop.
type Finder func(w http.ResponseWriter, r *http.Request, source netip.Addr, stream string) error

// ReadMedia reads the media lines of a server's answer to an offer of ours that receives. It sets CompoundRTCP, and
// Tracks as a publisher's. An answer with formats or extensions that were not offered is an error.
func ReadMedia(offered, answered []byte) (a api.Answer, err error) {
	ours, theirs, err := readAnswer(offered, answered)
	if err != nil {
		return a, err
	}
	a.CompoundRTCP = theirs.offer.compound()
	if a.Tracks, err = theirs.offer.forPublisher(); err != nil || !ours.offer.relay {
		return a, err
	}
	track := 0
	for i := range theirs.sections {
		if theirs.offer.media[i].disabled {
			continue
		}
		layers, err := theirs.sections[i].relayed()
		if err != nil {
			return a, err
		}
		if layers != nil {
			a.Tracks[track].Encodings = layers
		}
		track++
	}
	return a, nil
}

// ErrCodec is wrapped by an error of ReadReceiver: the server accepts no format that the stream has.
var ErrCodec = errors.New("codec refused")

// ReadReceiver reads the media lines of a server's answer to an offer of ours that sends s. It sets CompoundRTCP, and
// Tracks as a subscriber's. An answer with formats or extensions that were not offered is an error.
func ReadReceiver(offered, answered []byte, s api.Stream) (a api.Answer, err error) {
	_, theirs, err := readAnswer(offered, answered)
	if err != nil {
		return a, err
	}
	a.CompoundRTCP = theirs.offer.compound()
	a.Tracks, err = theirs.offer.forSubscriber(s)
	if p := (*problem)(nil); errors.As(err, &p) && p.kind == kindCodec {
		err = fmt.Errorf("%w: %w", ErrCodec, err)
	}
	return a, err
}

// readAnswer reads an offer of ours and a server's answer, which must keep to it.
func readAnswer(offered, answered []byte) (ours, theirs *template, err error) {
	if ours, err = readShape(offered); err != nil {
		return nil, nil, fmt.Errorf("our offer: %w", err)
	}
	if theirs, err = readShape(answered); err != nil {
		return nil, nil, err
	}
	lines := theirs.offer.media
	if len(lines) != len(ours.offer.media) {
		return nil, nil, malformed("%d media lines; expected %d, as offered", len(lines), len(ours.offer.media))
	}
	theirs.offer.manyStreams = false // which matters to a publisher's offer only
	for i := range lines {
		if err := lines[i].within(&ours.offer.media[i]); err != nil {
			return nil, nil, err
		}
	}
	return ours, theirs, nil
}

// readShape parses a description without its transport.
func readShape(body []byte) (*template, error) {
	if err := scan(body, Limits{}.withDefaults()); err != nil {
		return nil, err
	}
	shape, _ := separate(body)
	return parseShape(string(shape))
}

// within checks that a line of an answer keeps to the line that was offered (RFC 3264 section 6.1).
func (m *media) within(offered *media) error {
	if m.name != offered.name {
		return malformed("m=%s where m=%s was offered; expected the lines as offered", m.name, offered.name)
	}
	for _, f := range m.formats {
		known := slices.ContainsFunc(offered.formats, func(o format) bool {
			return o.PayloadType == f.PayloadType && o.Codec == f.Codec && (f.RTX == 0 || f.RTX == o.RTX)
		})
		if !known {
			return unacceptable("m=%s has %s as payload type %d, which was not offered; expected formats of the offer",
				m.name, formatName(f.Format), f.PayloadType)
		}
	}
	for e, x := range m.extensions {
		if x.id != 0 && x.id != offered.extensions[e].id {
			return unacceptable("extension %s has number %d; expected %d, as offered", rtp.Extension(e).URI(), x.id,
				offered.extensions[e].id)
		}
	}
	return nil
}
