package directory

import (
	"encoding/json"
	"slices"
)

const (
	// maxNode bounds the description of a node in bytes.
	maxNode = 2 << 10
	// MaxPaths is the most paths in one answer, which so stays below 64 KiB.
	MaxPaths = 96
	// MaxNamed is the most places that a node without room names.
	MaxNamed = 16
)

// Encode returns the form of ReadNode.
func (n Node) Encode() string { return text(n) }

// ReadNode reads the description that a node has of itself.
func ReadNode(text string) (n Node, err error) {
	if len(text) > maxNode {
		return n, errLong
	}
	if err := json.Unmarshal([]byte(text), &n); err != nil {
		return n, err
	}
	if !n.valid() {
		return n, errContent
	}
	return n, nil
}

// EncodePlaces returns the form of ReadPlaces, with at most MaxNamed places.
func EncodePlaces(places []Place) string {
	return text(append([]Place{}, places[:min(len(places), MaxNamed)]...))
}

// ReadPlaces reads the places that a node without room names. Those that are not valid are left out.
func ReadPlaces(text string) (places []Place, err error) {
	if len(text) > maxMessage {
		return nil, errLong
	}
	if err := json.Unmarshal([]byte(text), &places); err != nil {
		return nil, err
	}
	places = places[:min(len(places), MaxNamed)]
	return slices.DeleteFunc(places, func(p Place) bool { return !p.valid() }), nil
}

// Paths are changes of paths, as a node tells a child about the streams that the child pulls from there.
type Paths struct {
	Version int      `json:"v"`
	Must    []string `json:"must,omitempty"`
	// Change is the number of the last change that this answer has. Later ones have higher numbers.
	Change uint64       `json:"change"`
	Paths  []StreamPath `json:"paths,omitempty"`
}

// StreamPath is the path of one stream to the node that tells it. It is empty while the node waits for one.
type StreamPath struct {
	Stream     string     `json:"stream"`
	Generation Generation `json:"gen"`
	Path       Path       `json:"path,omitempty"`
}

// Encode returns the form of ReadPaths.
func (p Paths) Encode() string {
	p.Version = version
	return text(p)
}

// ReadPaths reads an answer of a node with an id. One path that is not valid spoils all: no later answer would repeat
// it.
func ReadPaths(text []byte, from NodeID) (p Paths, err error) {
	if len(text) > maxAnswer {
		return p, errLong
	}
	if err := json.Unmarshal(text, &p); err != nil {
		return p, err
	}
	switch {
	case p.Version < 1 || len(p.Paths) > MaxPaths:
		return p, errContent
	case len(p.Must) > 0:
		return p, errMust
	}
	for _, s := range p.Paths {
		if s.Stream == "" || len(s.Stream) > maxStream || len(s.Path) > 0 && !s.Path.endsAt(from) {
			return p, errContent
		}
	}
	return p, nil
}

// endsAt reports whether the path is a valid one to a node.
func (p Path) endsAt(node NodeID) bool {
	if len(p) == 0 || len(p) > MaxDepth+1 || p[len(p)-1] != node {
		return false
	}
	for i, id := range p {
		if !id.Valid() || p[:i].Has(id) {
			return false
		}
	}
	return true
}

// text is JSON of strings and numbers, which always marshal.
func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}
