package cluster

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"time"

	"ringcast/engine/api"
	"ringcast/signaling"
	"ringcast/signaling/client"
	"ringcast/signaling/cluster/directory"
)

// Join gives the node a directory, and the transport to other nodes. It comes before the first request.
func (n *Node) Join(d directory.Directory, nodes http.RoundTripper) { n.directory, n.nodes = d, nodes }

// pulling reports whether there is a pull of the stream.
func (n *Node) pulling(stream string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.pulls[stream] != nil
}

// search finds the upstreams of a stream in the cluster, the best first.
func (n *Node) search(ctx context.Context, stream string, source netip.Addr) ([]*upstream, error) {
	answer := n.directory.Where(ctx, stream, source)
	switch {
	case answer.Verdict == directory.Busy:
		return nil, api.ErrBusy
	case answer.Verdict == directory.Unknown:
		return nil, signaling.ErrUnknown
	case answer.Verdict != directory.Found || len(answer.Places) == 0:
		return nil, api.ErrNoPublisher
	}
	found := make([]*upstream, len(answer.Places))
	for i, place := range answer.Places {
		found[i] = n.upstreamAt(place, stream)
	}
	return found, nil
}

// upstreamAt is a place as an upstream.
func (n *Node) upstreamAt(place directory.Place, stream string) *upstream {
	return &upstream{
		Remote: Remote{Stream: stream, URL: place.URL + "/whep/" + stream}, shown: place.URL, node: n.id,
		peer: place.Node, base: place.URL, generation: place.Generation, child: n.tree.self.Encode(),
		private: true, transport: n.nodes, verb: "pull",
	}
}

// Lost reports to the node that a stream has no publisher here any more. It may be elsewhere: a pull waits for it
// while there are viewers.
func (n *Node) Lost(stream string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.tree.path(stream)) == 1 {
		n.tree.alter(stream, (*directory.Branch).Lose)
	}
	if n.watching[stream] > 0 && n.pulls[stream] == nil && n.upstreams[stream] == nil && n.ctx.Err() == nil {
		n.begin(&upstream{Remote: Remote{Stream: stream}, node: n.id, peer: n.id, verb: "pull"}, nil, nil)
	}
}

// aim sets the upstream of an attempt. Where none is left, the directory is asked: the stream may be elsewhere by now.
func (p *pull) aim(ctx context.Context) error {
	if len(p.next) == 0 && p.upstream.peer == "" {
		return nil
	}
	if len(p.next) == 0 {
		next, err := p.node.search(ctx, p.upstream.Stream, netip.Addr{})
		if err != nil {
			return err
		}
		p.next = next
		p.tried = make(map[directory.NodeID]bool)
	}
	p.node.mu.Lock()
	p.upstream = p.next[0]
	p.node.mu.Unlock()
	p.next = p.next[1:]
	p.tried[p.upstream.peer] = true
	return nil
}

// detour takes the places that an upstream without room has named, to be tried first. It reports false where the
// upstream failed for another reason, or too many were tried.
func (p *pull) detour(err error) bool {
	var refusal *client.Refusal
	if !errors.As(err, &refusal) || p.upstream.peer == "" || refusal.Header.Get(placesHeader) == "" {
		return false
	}
	named, err := directory.ReadPlaces(refusal.Header.Get(placesHeader))
	if err != nil {
		return false
	}
	var next []*upstream
	for _, place := range named {
		if !p.tried[place.Node] && len(p.tried) < maxTries {
			next = append(next, p.node.upstreamAt(place, p.upstream.Stream))
			p.tried[place.Node] = true
		}
	}
	p.next = append(next, p.next...)
	return len(next) > 0
}

// listen waits for news of the stream, from now until deafen. It asks for streams of this cluster alone.
func (p *pull) listen() {
	if p.deaf == nil && p.upstream.peer != "" {
		p.deaf = p.node.directory.Watch(p.upstream.Stream, p.hear)
	}
}

// hear keeps the latest place that the directory found.
func (p *pull) hear(found directory.Place) {
	select {
	case <-p.news:
	default:
	}
	select {
	case p.news <- found:
	default:
	}
}

// deafen ends listen.
func (p *pull) deafen() {
	if p.deaf != nil {
		p.deaf()
		p.deaf = nil
	}
}

// pause waits for a time, or until the stream is found at another place than where it was.
func (p *pull) pause(ctx context.Context, span time.Duration) {
	timer := time.NewTimer(span)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case found := <-p.news:
			if found.Node != p.upstream.peer || found.Generation != p.upstream.generation {
				return
			}
		}
	}
}

// Admit asks the directory about a publisher: another node may have one of the stream.
func (n *Node) Admit(ctx context.Context, source netip.Addr, stream string) error {
	if n.directory == nil {
		return nil
	}
	switch err := n.directory.Admit(ctx, stream, directory.Publisher{Source: source}); {
	case errors.Is(err, directory.ErrBusy):
		return api.ErrBusy
	case err != nil:
		return api.ErrStreamTaken
	}
	return nil
}
