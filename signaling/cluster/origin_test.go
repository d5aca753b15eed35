package cluster

import (
	"testing"

	"ringcast/engine/api"
	"ringcast/signaling/cluster/directory"
)

// listed is an engine with a list of streams.
type listed struct {
	*fakeEngine
	streams []api.Stream
}

func (l *listed) Streams() []api.Stream { return l.streams }

// heard is a directory that notes announcements.
type heard struct {
	directory.Directory
	announced []string
}

func (h *heard) Announce(stream string, _ directory.Publisher) directory.Place {
	h.announced = append(h.announced, stream)
	return directory.Place{}
}

// The engine's list is up to a second old, so it may have the stream of a pull that is over. If this node announced the
// stream, the true origin would end its publisher.
func TestPulledStreamIsNotAnnounced(t *testing.T) {
	e := &listed{streams: []api.Stream{
		{Name: "pulled", Publisher: 1, Active: []int{96}, Pulled: true},
		{Name: "ours", Publisher: 2, Active: []int{96}},
		{Name: "silent", Publisher: 3, Active: []int{-1}},
	}}
	d := &heard{}
	NewOrigins(directory.Node{}, &Node{Engine: e, tree: newTree(&Config{}, "self")}).look(d)
	if len(d.announced) != 1 || d.announced[0] != "ours" {
		t.Errorf("announced %v, want only the stream that is published here", d.announced)
	}
}
