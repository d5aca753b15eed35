package cluster

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ringcast/signaling"
	"ringcast/signaling/cluster/directory"
	"ringcast/signaling/cluster/secret"
)

const (
	// forwardRate is the number of requests a second that a source may send to other nodes, and forwardNodeRate that
	// of all sources to one node. A node can remember 65,536 tokens of a minute, and those of pulls need room too. A
	// node that drains sends 150 viewers a second to another, and all may share the address of one NAT.
	forwardRate, forwardNodeRate = 150, 300
	// maxForwards bounds the requests under way, of which most read events.
	maxForwards = 2048
)

// Forwards bring clients' requests to the nodes that have their sessions. They are a signaling.Nodes and a
// prometheus.Collector.
type Forwards struct {
	self   directory.NodeID
	caller *secret.Caller
	nodes  func() []directory.Node
	sent   *prometheus.CounterVec
	slots  chan struct{}

	mu      sync.Mutex // guards the fields below
	sources *directory.Sources
	full    map[directory.NodeID]time.Time // when a node may have all of its requests again
}

// NewForwards makes them. nodes returns the other nodes.
func NewForwards(self directory.NodeID, caller *secret.Caller, nodes func() []directory.Node) *Forwards {
	return &Forwards{
		self: self, caller: caller, nodes: nodes, slots: make(chan struct{}, maxForwards),
		sources: directory.NewSources(forwardRate, rand.Uint64(), rand.Uint64()),
		full:    make(map[directory.NodeID]time.Time),
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ringcast_cluster_forwards_total",
			Help: "Requests of clients for other nodes, by result: answered, unknown where no node has the id, " +
				"unreachable, or busy where there were too many.",
		}, []string{"result"}),
	}
}

// Self implements signaling.Nodes.
func (f *Forwards) Self() string { return string(f.self) }

// Send implements signaling.Nodes.
func (f *Forwards) Send(
	r *http.Request, node string, source netip.Addr, body []byte,
) (answer *http.Response, err error) {
	result := "unreachable"
	defer func() { f.sent.WithLabelValues(result).Inc() }()
	base, ok := f.find(directory.NodeID(node))
	switch {
	case !ok:
		result = "unknown"
		return nil, signaling.ErrNoNode
	case !f.take(time.Now(), directory.NodeID(node), source):
		result = "busy"
		return nil, signaling.ErrManyForwards
	}
	select {
	case f.slots <- struct{}{}:
		defer func() {
			if err != nil {
				<-f.slots
			}
		}()
	default:
		result = "busy"
		return nil, signaling.ErrManyForwards
	}
	out := r.Clone(r.Context())
	if out.URL, err = url.Parse(base + r.URL.Path); err != nil {
		return nil, fmt.Errorf("%w: %w", signaling.ErrUpstream, err)
	}
	out.URL.RawQuery = r.URL.RawQuery
	if answer, err = f.caller.Do(out, body); err != nil {
		return nil, fmt.Errorf("%w: %w", signaling.ErrUpstream, err)
	}
	if answer.Header.Get(secret.IDHeader) != "" { // the guard's own answer
		_ = answer.Body.Close()
		return nil, fmt.Errorf("%w: it refused this node: %s", signaling.ErrUpstream, answer.Status)
	}
	result = "answered"
	answer.Body = &slotted{answer.Body, sync.OnceFunc(func() { <-f.slots })}
	return answer, nil
}

func (f *Forwards) find(id directory.NodeID) (base string, ok bool) {
	for _, n := range f.nodes() {
		if n.ID == id {
			return n.URL, true
		}
	}
	return "", false
}

// take reports whether a source may send a request to a node now, and counts it.
func (f *Forwards) take(now time.Time, to directory.NodeID, source netip.Addr) bool {
	const each = time.Second / forwardNodeRate
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.sources.Take(now, source) {
		return false
	}
	for id, full := range f.full {
		if !now.Before(full) {
			delete(f.full, id)
		}
	}
	full := f.full[to]
	if full.Before(now) {
		full = now
	}
	if full.Sub(now) > time.Second-each {
		return false
	}
	f.full[to] = full.Add(each)
	return true
}

// Describe implements prometheus.Collector.
func (f *Forwards) Describe(ch chan<- *prometheus.Desc) { f.sent.Describe(ch) }

// Collect implements prometheus.Collector.
func (f *Forwards) Collect(ch chan<- prometheus.Metric) { f.sent.Collect(ch) }

// A slotted body frees its slot when it is closed.
type slotted struct {
	io.ReadCloser
	free func()
}

// Close implements io.Closer.
func (s *slotted) Close() error {
	defer s.free()
	return s.ReadCloser.Close()
}
