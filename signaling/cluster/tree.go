package cluster

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"ringcast/engine/api"
	"ringcast/signaling/cluster/directory"
)

// defaultFanout is Config.Fanout where that is 0.
const defaultFanout = 16

// A tree has this node's places in the trees of streams. It has a branch for each stream that is published here, or
// pulled from another node. The node's mutex guards it.
type tree struct {
	self     directory.Node
	fanout   int
	branches map[string]*branch
	children map[directory.NodeID]*child
	// changes counts the changes of all paths. changed is closed at the next.
	changes uint64
	changed chan struct{}
}

// A branch is a Branch with the number of its last change.
type branch struct {
	*directory.Branch
	change uint64
}

// A child is a node that pulls streams from this one. Its session of a stream is 0 between its offer and our answer.
type child struct {
	node     directory.Node
	sessions map[string]api.SessionID // by stream
}

func newTree(cfg *Config, id directory.NodeID) tree {
	return tree{
		self:   directory.Node{ID: id, URL: cfg.URL, Public: cfg.Public, Region: cfg.Region},
		fanout: cmp.Or(cfg.Fanout, defaultFanout), branches: make(map[string]*branch),
		children: make(map[directory.NodeID]*child), changed: make(chan struct{}),
	}
}

// alter makes a change of a stream's path, which its children get.
func (t *tree) alter(stream string, change func(*directory.Branch)) {
	b := t.branches[stream]
	if b == nil {
		b = &branch{Branch: directory.NewBranch(t.self, t.fanout)}
		t.branches[stream] = b
	}
	before, g := b.Path()
	change(b.Branch)
	if path, now := b.Path(); !slices.Equal(path, before) || now != g {
		t.changes++
		b.change = t.changes
		close(t.changed)
		t.changed = make(chan struct{})
	}
	t.prune(stream)
}

// prune forgets a branch without path and children.
func (t *tree) prune(stream string) {
	b := t.branches[stream]
	if b == nil {
		return
	}
	t.expire(stream, b)
	if path, _ := b.Path(); len(path) > 0 || len(b.Children()) > 0 {
		return
	}
	for _, c := range t.children {
		if _, ok := c.sessions[stream]; ok {
			return
		}
	}
	delete(t.branches, stream)
}

// expire takes the places of nodes that are silent. A session may go on without a place, until somebody needs that.
func (t *tree) expire(stream string, b *branch) {
	for _, id := range b.Expire(time.Now()) {
		if session, ok := t.session(id, stream); ok && session == 0 { // its offer has come to nothing
			t.forget(id, stream)
		}
	}
}

func (t *tree) session(id directory.NodeID, stream string) (session api.SessionID, ok bool) {
	if c := t.children[id]; c != nil {
		session, ok = c.sessions[stream]
	}
	return session, ok
}

func (t *tree) forget(id directory.NodeID, stream string) {
	c := t.children[id]
	if delete(c.sessions, stream); len(c.sessions) == 0 {
		delete(t.children, id)
	}
}

// count returns the number of children of all streams, and the most of one stream.
func (t *tree) count() (all, most int) {
	for stream, b := range t.branches {
		t.expire(stream, b)
		n := len(b.Children())
		all, most = all+n, max(most, n)
	}
	return all, most
}

// path is the path of a stream from its origin to this node, empty without one.
func (t *tree) path(stream string) directory.Path {
	if b := t.branches[stream]; b != nil {
		path, _ := b.Path()
		return path
	}
	return nil
}

// follow takes the path of an upstream. A publisher of this node's own comes first.
func (t *tree) follow(stream string, g directory.Generation, path directory.Path) (err error) {
	if len(t.path(stream)) != 1 {
		t.alter(stream, func(b *directory.Branch) { err = b.Follow(g, path) })
	}
	return err
}

// lose takes the end of a pull.
func (t *tree) lose(stream string) {
	if len(t.path(stream)) > 1 {
		t.alter(stream, (*directory.Branch).Lose)
	}
}

// An adoption is the place below this node that another one has got.
type adoption struct {
	path       directory.Path
	generation directory.Generation
	// change is the number of the last change that the path has.
	change uint64
	// replaced are the sessions that the node had before.
	replaced []api.SessionID
	// others are the places to ask where there is no room.
	others []directory.Place
}

// adopt gives a node a place below this one, in the way of Branch.Adopt or Branch.Prove.
func (t *tree) adopt(
	stream string, n directory.Node, way func(*directory.Branch, time.Time, directory.Node) error,
) (a adoption, err error) {
	b := t.branches[stream]
	if b == nil {
		return a, directory.ErrNoPath
	}
	t.expire(stream, b)
	if err := way(b.Branch, time.Now(), n); err != nil {
		if errors.Is(err, directory.ErrFanout) {
			a.others = b.Places(n.ID)
		}
		return a, err
	}
	for id, c := range t.children {
		if old, pulls := c.sessions[stream]; pulls && c.node.URL == n.URL { // it may have been started again
			if old != 0 {
				a.replaced = append(a.replaced, old)
			}
			t.forget(id, stream)
		}
	}
	if t.children[n.ID] == nil {
		t.children[n.ID] = &child{n, make(map[string]api.SessionID)}
	}
	t.children[n.ID].sessions[stream] = 0
	a.path, a.generation = b.Path()
	a.change = t.changes
	return a, nil
}

// enter notes the session of a node that was adopted. It reports false if the node has lost its place in the meantime.
func (t *tree) enter(stream string, id directory.NodeID, session api.SessionID) bool {
	offered, ok := t.session(id, stream)
	if ok = ok && offered == 0; ok {
		t.children[id].sessions[stream] = session
	}
	return ok
}

// leave takes the end of a node's session, or with 0 that of its offer.
func (t *tree) leave(stream string, id directory.NodeID, session api.SessionID) {
	if last, ok := t.session(id, stream); !ok || last != session { // it has another by now
		return
	}
	t.forget(id, stream)
	if b := t.branches[stream]; b != nil {
		b.Leave(id)
		t.prune(stream)
	}
}

// hear notes that a node is there. A place that it had lost is its own again, if there is room. It returns the sessions
// for which there is none.
func (t *tree) hear(now time.Time, id directory.NodeID) (lost []api.SessionID) {
	c := t.children[id]
	if c == nil {
		return nil
	}
	for stream, session := range c.sessions {
		b := t.branches[stream]
		if b == nil || session == 0 {
			continue
		}
		if _, ok := b.Child(id); ok {
			b.Heard(now, id)
		} else if err := b.Adopt(now, c.node); err != nil && !errors.Is(err, directory.ErrNoPath) {
			lost = append(lost, session)
		}
	}
	return lost
}

// broke notes that a node's request broke off, by which it was heard at a time.
func (t *tree) broke(heard time.Time, id directory.NodeID) {
	c := t.children[id]
	if c == nil {
		return
	}
	for stream := range c.sessions {
		if b := t.branches[stream]; b != nil {
			b.Broke(time.Now(), heard, id)
		}
	}
}

// news are the changes after one that a node's streams have.
func (t *tree) news(id directory.NodeID, after uint64) directory.Paths {
	news := directory.Paths{Change: t.changes}
	c := t.children[id]
	if c == nil {
		return news
	}
	var changed []string
	for stream := range c.sessions {
		if b := t.branches[stream]; b != nil && b.change > after {
			changed = append(changed, stream)
		}
	}
	slices.SortFunc(changed, func(x, y string) int { return cmp.Compare(t.branches[x].change, t.branches[y].change) })
	if len(changed) > directory.MaxPaths {
		changed = changed[:directory.MaxPaths]
		news.Change = t.branches[changed[directory.MaxPaths-1]].change
	}
	for _, stream := range changed {
		path, g := t.branches[stream].Path()
		news.Paths = append(news.Paths, directory.StreamPath{Stream: stream, Generation: g, Path: path})
	}
	return news
}
