package directory

import (
	"encoding/json"
	"errors"
	"net/url"
	"slices"
)

// version is the version of messages that this code writes. A reader takes later ones too: it ignores fields that it
// does not know, and refuses a message only for a feature in Must.
const version = 1

const (
	// maxMessage bounds a message in bytes.
	maxMessage = 32 << 10
	// maxStream bounds the name of a stream, maxURL a URL and maxRegion a region, in bytes.
	maxStream, maxURL, maxRegion = 128, 512, 64
	// maxPlaces bounds the places of a message. Further ones are ignored.
	maxPlaces = 64
)

// kind names the kind of a message. Others are ignored: a later version may have more.
type kind string

const (
	kindWhere  kind = "where"  // a question: From, Question, Stream
	kindPlaces kind = "places" // its answer: From, Question, Stream, Places
	kindUp     kind = "up"     // an announcement: From, Stream, Places with the origin
	kindGone   kind = "gone"   // its end: From, Stream
	kindBeat   kind = "beat"   // Beat, Viewers
)

// message is all that directories send to each other, as JSON.
type message struct {
	Version int `json:"v"`
	// Must names features that a reader must have to understand the message. Version 1 has none.
	Must []string `json:"must,omitempty"`
	Kind kind     `json:"kind"`
	From NodeID   `json:"from"`
	// Question is random, the same in a question and its answers.
	Question uint64  `json:"q,omitempty,string"`
	Stream   string  `json:"stream,omitempty"`
	Places   []Place `json:"places,omitempty"`
	Beat     *Node   `json:"beat,omitempty"`
	// Viewers are those of streams at From: the streams with the most, as many as there is room for.
	Viewers Viewers `json:"viewers,omitempty"`
}

func (m *message) encode() []byte {
	m.Version = version
	text, err := json.Marshal(m)
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	return text
}

var (
	errLong    = errors.New("the message is too long")
	errKind    = errors.New("the message's kind is not known")
	errMust    = errors.New("the message needs a feature that is not known")
	errContent = errors.New("a field of the message is not valid")
)

// decode reads a message. Places that are not valid are left out.
func decode(text []byte) (message, error) {
	var m message
	if len(text) > maxMessage {
		return m, errLong
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, err
	}
	switch {
	case m.Version < 1 || !m.From.Valid() || len(m.Stream) > maxStream:
		return m, errContent
	case len(m.Must) > 0:
		return m, errMust
	}
	m.Places = m.Places[:min(len(m.Places), maxPlaces)]
	m.Places = slices.DeleteFunc(m.Places, func(p Place) bool { return !p.valid() })
	switch m.Kind {
	case kindWhere, kindPlaces, kindGone:
		if m.Stream == "" {
			return m, errContent
		}
	case kindUp:
		if m.Stream == "" || len(m.Places) != 1 || !m.Places[0].Origin() || m.Places[0].Node != m.From {
			return m, errContent
		}
	case kindBeat:
		if m.Beat == nil || m.Beat.ID != m.From || !m.Beat.valid() {
			return m, errContent
		}
		m.Viewers = m.Viewers.valid()
	default:
		return m, errKind
	}
	return m, nil
}

func (n *Node) valid() bool {
	return n.ID.Valid() && validURL(n.URL) && (n.Public == "" || validURL(n.Public)) && len(n.Region) <= maxRegion
}

func (p *Place) valid() bool {
	return p.Node.Valid() && validURL(p.URL) && len(p.Region) <= maxRegion && p.Generation.Count > 0 &&
		p.Path.endsAt(p.Node)
}

func validURL(text string) bool {
	if len(text) > maxURL {
		return false
	}
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil
}
