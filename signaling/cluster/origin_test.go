package cluster

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"ringcast/engine/api"
	"ringcast/signaling/cluster/directory"
)

// listed is an engine with a list of streams.
type listed struct {
	*fakeEngine
	streams []api.Stream
	began   func()
}

func (l *listed) Streams() []api.Stream { return l.streams }

func (l *listed) OnMedia(f func()) { l.began = f }

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

// A viewer elsewhere may come right after the publisher's first packet. So the stream is announced without a wait for
// the next look.
func TestAnnouncedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, d := &listed{fakeEngine: newFakeEngine()}, &heard{}
		n := &Node{Engine: e, tree: newTree(&Config{}, "self"), watching: map[string]int{}}
		o := NewOrigins(directory.Node{}, n)
		ctx, end := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			o.Run(ctx, d)
		}()
		defer func() { end(); <-ended }()
		for i, name := range []string{"one", "two"} {
			time.Sleep(originInterval + 2*originRest)
			synctest.Wait()
			e.streams = append(slices.Clone(e.streams), api.Stream{Name: name, Publisher: 1, Active: []int{96}})
			e.began()
			time.Sleep(originRest)
			synctest.Wait()
			if len(d.announced) != i+1 {
				t.Fatalf("got %v %v after the first packet of %s, want it among them", d.announced, originRest, name)
			}
		}
	})
}
