package cluster

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	mathrand "math/rand/v2"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"ringcast/engine/api"
	"ringcast/signaling"
	"ringcast/signaling/client"
	"ringcast/signaling/cluster/directory"
	"ringcast/signaling/cluster/secret"
)

// Engine is the part of the media engine that a Node needs.
type Engine interface {
	signaling.Engine
	// Dial opens a session toward another server. Nothing is sent before Answered.
	Dial(ctx context.Context, role api.Role, stream string, d api.Dial) (api.Local, error)
	// Answered gives a dialled session the other server's half.
	Answered(ctx context.Context, id api.SessionID, a api.Answer) error
	// OnMedia registers a function. The engine calls it when a publisher of this server begins to send. From then on
	// Streams has the publisher's packet. The function must not call the engine.
	OnMedia(began func())
}

// NodeConfig is how a Node works.
type NodeConfig struct {
	Config
	// ID is drawn where it is empty.
	ID directory.NodeID
	// Log is slog.Default where nil.
	Log *slog.Logger
	// Transport carries the requests to upstreams. By default it is one without a proxy.
	Transport http.RoundTripper
	// Chance returns a number from 0 up to 1, for waits of which no two should be the same. By default it is random.
	Chance func() float64
}

// A Node is an Engine with streams of other servers.
type Node struct {
	Engine
	id        directory.NodeID
	log       *slog.Logger
	upstreams map[string]*upstream // by stream
	pushes    []*push
	chance    func() float64
	counts    *counts
	// directory finds streams on other nodes, which nodes reaches. Both are nil without a cluster.
	directory directory.Directory
	nodes     http.RoundTripper

	ctx     context.Context // of all pulls and pushes
	end     context.CancelFunc
	running sync.WaitGroup

	mu sync.Mutex // guards the fields below, and those of all pulls and pushes
	// pulls are those that are not over, by stream. followers are by the nodes from which these come.
	pulls     map[string]*pull
	followers map[directory.NodeID]*follower
	tree      tree
	// dialled are the sessions of pulls, viewers those of subscribers. Without a directory, viewers has only those of
	// pulled streams. watching counts viewers by stream.
	dialled  map[api.SessionID]chan<- api.Reason
	viewers  map[api.SessionID]viewing
	watching map[string]int
}

// viewing is a viewer's. child is the node that pulls by it, empty for others.
type viewing struct {
	stream string
	child  directory.NodeID
}

// NewNode makes a Node on top of e, and begins its pushes. It registers with e.OnEnded. Stop ends it.
func NewNode(cfg NodeConfig, e Engine) *Node {
	n := &Node{
		Engine: e, id: cmp.Or(cfg.ID, directory.NodeID(rand.Text())), log: cmp.Or(cfg.Log, slog.Default()),
		upstreams: make(map[string]*upstream), chance: cfg.Chance, counts: newCounts(),
		pulls: make(map[string]*pull), dialled: make(map[api.SessionID]chan<- api.Reason),
		viewers: make(map[api.SessionID]viewing), watching: make(map[string]int),
		followers: make(map[directory.NodeID]*follower),
	}
	n.tree = newTree(&cfg.Config, n.id)
	if n.chance == nil {
		n.chance = mathrand.Float64
	}
	if cfg.Transport == nil {
		cfg.Transport = newTransport()
	}
	for _, r := range cfg.Pulls {
		n.upstreams[r.Stream] = &upstream{
			Remote: r, shown: client.Shown(r.URL), node: n.id, private: cfg.PullPrivate, transport: cfg.Transport,
			verb: "pull",
		}
	}
	for _, r := range cfg.Pushes {
		n.pushes = append(n.pushes, &push{line: line{node: n, counts: &n.counts.pushes, upstream: &upstream{
			Remote: r, shown: client.Shown(r.URL), node: n.id, transport: cfg.Transport, verb: "push",
		}}})
	}
	n.ctx, n.end = context.WithCancel(context.Background())
	e.OnEnded(n.sessionEnded)
	for _, p := range n.pushes {
		n.running.Go(func() { p.wait(n.ctx) })
	}
	return n
}

// Stop ends all pulls and pushes without a word to their upstreams: the engine's end says goodbye to them.
func (n *Node) Stop() {
	n.end()
	n.running.Wait()
}

// pathHeader lists node ids. In a request they are the nodes that wait for the stream, the first of them first. In a
// response they are the stream's path, its origin first.
const pathHeader = "Ringcast-Path"

// readPath reads the header's nodes; ok is false for more than a path may have, and for words that are no ids.
func readPath(h http.Header) (path directory.Path, ok bool) {
	for id := range strings.FieldsSeq(h.Get(pathHeader)) {
		path = append(path, directory.NodeID(id))
		if len(path) > directory.MaxDepth+1 || !path[len(path)-1].Valid() {
			return nil, false
		}
	}
	return path, true
}

func writePath(h http.Header, path directory.Path) {
	words := make([]string, len(path))
	for i, id := range path {
		words[i] = string(id)
	}
	h.Set(pathHeader, strings.Join(words, " "))
}

// Find is the signaling.Finder of the Node: it pulls a stream that an upstream has. It returns when the stream's tracks
// are known. A publisher of this server comes first.
func (n *Node) Find(w http.ResponseWriter, r *http.Request, source netip.Addr, stream string) error {
	waiting, ok := readPath(r.Header)
	if !ok || len(waiting) > directory.MaxDepth || waiting.Has(n.id) {
		return signaling.ErrLoop
	}
	if token, ok := secret.TokenOf(r.Context()); ok && n.directory != nil && !signaling.Forwarded(r) {
		return n.feed(w, r, stream, &token)
	}
	path, err := n.find(r.Context(), stream, waiting, source)
	if err == nil && len(waiting) > 0 {
		if !path.Feeds(waiting[len(waiting)-1]) {
			return signaling.ErrLoop
		}
		writePath(w.Header(), path)
	}
	return err
}

// find returns the path of a stream that the engine has, from its origin to this node.
func (n *Node) find(
	ctx context.Context, stream string, waiting directory.Path, source netip.Addr,
) (directory.Path, error) {
	up := n.upstreams[stream]
	alone := n.directory == nil || len(waiting) > 0 // a node that asks has looked for the stream itself
	if up == nil && alone && !n.pulling(stream) {
		return directory.Path{n.id}, nil
	}
	if p, path := n.openPull(stream); p != nil {
		return path, nil
	}
	if _, published := n.Engine.Stream(stream); published {
		return directory.Path{n.id}, nil
	}
	if up != nil {
		return n.join(ctx, []*upstream{up}, stream, waiting)
	}
	var found []*upstream
	if !n.pulling(stream) {
		var err error
		if found, err = n.search(ctx, stream, source); err != nil {
			return nil, err
		}
	}
	return n.join(ctx, found, stream, waiting)
}

// openPull finds the open pull of a stream, and keeps it open for a viewer who is about to subscribe.
func (n *Node) openPull(stream string) (*pull, directory.Path) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.pulls[stream]
	if p == nil || p.phase != open {
		return nil, nil
	}
	p.asked = time.Now()
	return p, p.path
}

// begin starts the pull of a stream from one of the upstreams next. The caller holds the mutex.
func (n *Node) begin(last *upstream, next []*upstream, claimed directory.Path) *pull {
	p := &pull{
		line: line{node: n, upstream: last, counts: &n.counts.pulls}, next: next, claimed: claimed,
		news: make(chan directory.Place, 1), settled: make(chan struct{}), astray: make(chan error, 1),
		tried: make(map[directory.NodeID]bool),
	}
	n.pulls[last.Stream] = p
	n.running.Go(func() {
		defer p.deafen()
		p.run(n.ctx, p)
	})
	return p
}

// join waits for the stream's pull, which it begins if there is none. ups may be empty where there was one.
func (n *Node) join(
	ctx context.Context, ups []*upstream, stream string, waiting directory.Path,
) (directory.Path, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ctx.Err() != nil {
		return nil, api.ErrClosing
	}
	p := n.pulls[stream]
	if p == nil && len(ups) == 0 { // the pull has just ended
		return nil, api.ErrNoPublisher
	}
	if p == nil {
		p = n.begin(ups[0], ups, waiting)
	}
	p.waiting++
	for p.phase == connecting {
		settled := p.settled
		n.mu.Unlock()
		select {
		case <-settled:
		case <-ctx.Done():
		}
		n.mu.Lock()
		if ctx.Err() != nil {
			break
		}
	}
	p.waiting--
	switch {
	case p.phase == open:
		p.asked = time.Now()
		return p.path, nil
	case p.phase == resting:
		return nil, p.failure
	}
	return nil, ctx.Err()
}

// Subscribe counts the viewers.
func (n *Node) Subscribe(ctx context.Context, stream string, o api.Offer) (api.Local, error) {
	child := childOf(ctx, o.Relay)
	o.Elsewhere = n.elsewhere(stream)
	local, err := n.Engine.Subscribe(ctx, stream, o)
	if err != nil {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.tree.leave(stream, child, 0)
		return local, err
	}
	n.mu.Lock()
	counts := n.directory != nil || n.pulls[stream] != nil
	if counts {
		n.watching[stream]++
		n.viewers[local.ID] = viewing{stream, child}
	}
	placed := child == "" || n.tree.enter(stream, child, local.ID)
	n.mu.Unlock()
	if !placed {
		n.Engine.Close(local.ID)
		return api.Local{}, api.ErrBusy
	}
	if !counts {
		return local, nil
	}
	// It may have ended before it was in the table.
	if _, live := n.Engine.View(local.ID); !live {
		n.viewerEnded(local.ID)
	}
	return local, nil
}

// sessionEnded is called by the engine, for all sessions.
func (n *Node) sessionEnded(id api.SessionID, why api.Reason) {
	n.viewerEnded(id)
	n.mu.Lock()
	defer n.mu.Unlock()
	if ended := n.dialled[id]; ended != nil {
		delete(n.dialled, id)
		ended <- why // which has room for one
	}
}

func (n *Node) viewerEnded(id api.SessionID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	v, ok := n.viewers[id]
	if !ok {
		return
	}
	delete(n.viewers, id)
	n.tree.leave(v.stream, v.child, id)
	if n.watching[v.stream]--; n.watching[v.stream] == 0 {
		delete(n.watching, v.stream)
	}
	if p := n.pulls[v.stream]; p != nil {
		p.asked = time.Now()
	}
}

// A call is a session that this node has dialled.
type call struct {
	id    api.SessionID
	ended <-chan api.Reason
}

// dial opens a session of the engine and watches for its end.
func (n *Node) dial(ctx context.Context, role api.Role, stream string, d api.Dial) (call, api.Local, error) {
	local, err := n.Engine.Dial(ctx, role, stream, d)
	if err != nil {
		return call{}, local, err
	}
	ended := make(chan api.Reason, 1)
	n.mu.Lock()
	n.dialled[local.ID] = ended
	n.mu.Unlock()
	return call{local.ID, ended}, local, nil
}

// hangUp ends a session.
func (n *Node) hangUp(c call) {
	n.mu.Lock()
	delete(n.dialled, c.id)
	n.mu.Unlock()
	n.Engine.Close(c.id)
}

// errPublished is the failure of a pull whose stream has a publisher here.
var errPublished = errors.New("the stream has a publisher here")
