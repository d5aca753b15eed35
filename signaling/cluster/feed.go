package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"ringcast/engine/api"
	"ringcast/signaling/cluster/directory"
	"ringcast/signaling/cluster/secret"
)

// Headers of pulls between nodes, beside pathHeader. childHeader has the description of the node that asks. In the
// answer are the generation, and the number of the last change that the path has. Instead a refusal may name places.
const (
	childHeader      = "Ringcast-Child"
	generationHeader = "Ringcast-Generation"
	changeHeader     = "Ringcast-Change"
	placesHeader     = "Ringcast-Places"
	// proofHeader marks a pull that ends with its first packet (Node.Serves).
	proofHeader = "Ringcast-Proof"
)

// PathPaths is where a node's children ask for the changes of their streams' paths, after the one of a number. The
// answer waits until there are some, for holdSpan at most.
const PathPaths = "/paths"

const (
	holdSpan = 2 * time.Second
	// pathsSpan bounds such a request. pathsPause is the pause after it, and pathsRest that after one that failed.
	pathsSpan  = 5 * time.Second
	pathsPause = 10 * time.Millisecond
	pathsRest  = 500 * time.Millisecond
)

// feed gives another node a place below this one, and the path of the stream. A node without room names others.
func (n *Node) feed(w http.ResponseWriter, r *http.Request, stream string, token *secret.NodeToken) error {
	requester, err := directory.ReadNode(r.Header.Get(childHeader))
	if err != nil || string(requester.ID) != token.Issuer {
		n.counts.refused.WithLabelValues("unknown node").Inc()
		return api.ErrNoPublisher
	}
	way := (*directory.Branch).Adopt
	if r.Header.Get(proofHeader) != "" {
		way = (*directory.Branch).Prove
	}
	n.mu.Lock()
	a, err := n.tree.adopt(stream, requester, way)
	n.mu.Unlock()
	for _, session := range a.replaced {
		n.Engine.End(session, api.ReasonReplaced)
	}
	h := w.Header()
	if err == nil {
		writePath(h, a.path)
		h.Set(generationHeader, a.generation.String())
		h.Set(changeHeader, strconv.FormatUint(a.change, 10))
		return nil
	}
	reason, public := "no path", api.ErrNoPublisher
	switch {
	case errors.Is(err, directory.ErrFanout):
		reason, public = "no room", api.ErrFull
		h.Set(placesHeader, directory.EncodePlaces(n.nearest(a.others, requester.Region)))
	case errors.Is(err, directory.ErrLoop):
		reason = "loop"
	case errors.Is(err, directory.ErrDepth):
		reason = "depth"
	}
	n.counts.refused.WithLabelValues(reason).Inc()
	return public
}

// nearest orders places for a node in a region, with the loads of their last beats. Nodes that drain are left out.
func (n *Node) nearest(places []directory.Place, region string) []directory.Place {
	beats := make(map[directory.NodeID]directory.Node)
	for _, beat := range n.directory.Nodes() {
		beats[beat.ID] = beat
	}
	var named []directory.Place
	for _, p := range places {
		if beat, ok := beats[p.Node]; ok {
			p.Load = beat.Load
		}
		if !beats[p.Node].Draining {
			named = append(named, p)
		}
	}
	directory.Order(named, region, rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())))
	return named
}

// childOf is the node that a relay's request comes from, empty for others.
func childOf(ctx context.Context, relay bool) directory.NodeID {
	if token, ok := secret.TokenOf(ctx); ok && relay {
		return directory.NodeID(token.Issuer)
	}
	return ""
}

// places implements directory.Local.
func (n *Node) places(stream string, asker directory.NodeID) []directory.Place {
	n.mu.Lock()
	var places []directory.Place
	if b := n.tree.branches[stream]; b != nil {
		n.tree.expire(stream, b)
		places = b.Where(asker)
	}
	n.mu.Unlock()
	if len(places) == 0 || places[0].Node == n.id {
		return places
	}
	return n.nearest(places, "")
}

// published makes this node the origin of a stream.
func (n *Node) published(stream string, g directory.Generation) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tree.alter(stream, func(b *directory.Branch) { b.Publish(g) })
}

// ServePaths answers the children of this node. It is for the listener of other nodes.
func (n *Node) ServePaths(w http.ResponseWriter, r *http.Request) {
	token, ok := secret.TokenOf(r.Context())
	after, err := strconv.ParseUint(r.URL.Query().Get("after"), 10, 64)
	if !ok || err != nil || r.Method != http.MethodGet {
		http.Error(w, "GET with the number of a change expected, from another node", http.StatusBadRequest)
		return
	}
	id, now := directory.NodeID(token.Issuer), time.Now()
	n.mu.Lock()
	lost := n.tree.hear(now, id)
	n.mu.Unlock()
	for _, session := range lost {
		n.Engine.End(session, api.ReasonReplaced)
	}
	news, err := n.newsFor(r.Context(), id, after)
	if err != nil {
		n.mu.Lock()
		n.tree.broke(now, id)
		n.mu.Unlock()
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, news.Encode()) // a child that is gone needs no answer
}

// newsFor waits for changes after one.
func (n *Node) newsFor(ctx context.Context, id directory.NodeID, after uint64) (directory.Paths, error) {
	hold := time.NewTimer(holdSpan)
	defer hold.Stop()
	for {
		n.mu.Lock()
		news, changed := n.tree.news(id, after), n.tree.changed
		n.mu.Unlock()
		if len(news.Paths) > 0 {
			return news, nil
		}
		select {
		case <-changed:
		case <-hold.C:
			return news, nil
		case <-ctx.Done():
			return news, ctx.Err()
		case <-n.ctx.Done():
			return news, api.ErrClosing
		}
	}
}

// A follower asks an upstream for the changes of paths, while this node pulls streams from there. The node's mutex
// guards it.
type follower struct {
	pulls int
	// after is the number of the last change that is known. ask ends the request that runs.
	after uint64
	ask   context.CancelFunc
	stop  context.CancelFunc
}

// follow takes the path of a stream that a pull has just opened, and follows its changes until unfollow.
func (n *Node) follow(p *pull, l *link) {
	up := p.upstream
	n.take(p, l.generation, l.path[:len(l.path)-1])
	f := n.followers[up.peer]
	if f == nil {
		ctx, stop := context.WithCancel(n.ctx)
		f = &follower{after: l.change, ask: func() {}, stop: stop}
		n.followers[up.peer] = f
		n.running.Go(func() { n.listenTo(ctx, f, up.peer, up.base) })
	}
	f.pulls++
	if l.change < f.after { // a request that runs may leave out what has changed since then
		f.after = l.change
		f.ask()
	}
}

func (n *Node) unfollow(p *pull) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tree.lose(p.upstream.Stream)
	f := n.followers[p.upstream.peer]
	if f == nil {
		return
	}
	if f.pulls--; f.pulls == 0 {
		f.stop()
		delete(n.followers, p.upstream.peer)
	}
}

// take takes the path of a pull's upstream. The pull ends if it leads back here. The caller holds the mutex.
func (n *Node) take(p *pull, g directory.Generation, path directory.Path) {
	err := n.tree.follow(p.upstream.Stream, g, path)
	result := "followed"
	switch {
	case err != nil:
		result = "unusable"
		select {
		case p.astray <- fmt.Errorf("%w: %w", errEnded, err):
		default:
		}
	case len(path) == 0:
		result = "lost"
	default:
		p.path = path.Extend(n.id)
	}
	n.counts.paths.WithLabelValues(result).Inc()
}

// listenTo is a follower's goroutine.
func (n *Node) listenTo(ctx context.Context, f *follower, peer directory.NodeID, base string) {
	for ctx.Err() == nil {
		n.mu.Lock()
		asked, cancel := context.WithTimeout(ctx, pathsSpan)
		after := f.after
		f.ask = cancel
		n.mu.Unlock()
		news, err := n.askPaths(asked, peer, base, after)
		cancel()
		n.mu.Lock()
		again := f.after < after
		if err == nil && !again {
			f.after = news.Change
			for _, s := range news.Paths {
				if p := n.pulls[s.Stream]; p != nil && p.phase == open && p.upstream.peer == peer {
					n.take(p, s.Generation, s.Path)
				}
			}
		}
		n.mu.Unlock()
		pause := pathsPause
		if err != nil && !again && ctx.Err() == nil {
			n.log.Debug("no news of paths", "node", string(peer), "error", err)
			n.counts.paths.WithLabelValues("failed").Inc()
			pause = pathsRest
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

var errPaths = errors.New("the node told no paths")

// askPaths sends a request of a follower.
func (n *Node) askPaths(
	ctx context.Context, peer directory.NodeID, base string, after uint64,
) (directory.Paths, error) {
	url := base + PathPaths + "?after=" + strconv.FormatUint(after, 10)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return directory.Paths{}, err
	}
	answer, err := n.nodes.RoundTrip(r)
	if err != nil {
		return directory.Paths{}, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	switch {
	case err != nil:
		return directory.Paths{}, err
	case answer.StatusCode != http.StatusOK:
		return directory.Paths{}, fmt.Errorf("%w: %s", errPaths, answer.Status)
	}
	return directory.ReadPaths(text, peer)
}
