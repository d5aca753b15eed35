package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"ringcast/engine/api"
	"ringcast/signaling"
	"ringcast/signaling/cluster/directory"
	"ringcast/signaling/cluster/secret"
)

// PathKick is where other nodes end sessions here: a POST with a kick in JSON. The node token covers the body.
const PathKick = "/kick"

const (
	// kickSpan is the time that all nodes together have for their answers.
	kickSpan = 5 * time.Second
	// maxKicks bounds the nodes that are asked at once.
	maxKicks = 64
)

// kick is a request to end one session, or those of a stream.
type kick struct {
	Session api.SessionID `json:"session,omitempty"`
	Stream  string        `json:"stream,omitempty"`
}

// kicked is its answer.
type kicked struct {
	Ended int `json:"ended"`
}

// KicksConfig is how Kicks work.
type KicksConfig struct {
	// Self is this node, Nodes returns the others.
	Self  directory.NodeID
	Nodes func() []directory.Node
	// Caller sends requests to other nodes.
	Caller *secret.Caller
	// Engine ends the sessions of this node.
	Engine interface {
		End(id api.SessionID, why api.Reason) bool
		EndStream(stream string, why api.Reason) int
	}
	// Log is slog.Default where nil.
	Log *slog.Logger
}

// Kicks end sessions at other nodes for this node's operators, and sessions here for those of other nodes. A request
// goes from one node to another, and no further. They are a signaling.AdminNodes, and the handler of PathKick.
type Kicks struct{ cfg KicksConfig }

// NewKicks makes them.
func NewKicks(cfg KicksConfig) *Kicks {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &Kicks{cfg}
}

// Self implements signaling.AdminNodes.
func (k *Kicks) Self() string { return string(k.cfg.Self) }

// EndSession implements signaling.AdminNodes.
func (k *Kicks) EndSession(ctx context.Context, node string, id api.SessionID) (ended bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, kickSpan)
	defer cancel()
	for _, n := range k.cfg.Nodes() {
		if n.ID == directory.NodeID(node) {
			count, err := k.send(ctx, n, kick{Session: id})
			return count > 0, err
		}
	}
	return false, signaling.ErrNoNode
}

// EndStream implements signaling.AdminNodes.
func (k *Kicks) EndStream(ctx context.Context, stream string) (ended, silent int) {
	ctx, cancel := context.WithTimeout(ctx, kickSpan)
	defer cancel()
	var asking sync.WaitGroup
	var mu sync.Mutex // guards the results
	slots := make(chan struct{}, maxKicks)
	for _, n := range k.cfg.Nodes() {
		slots <- struct{}{} // a slot comes free when ctx ends, at the latest
		asking.Go(func() {
			defer func() { <-slots }()
			count, err := k.send(ctx, n, kick{Stream: stream})
			mu.Lock()
			defer mu.Unlock()
			ended += count
			if err != nil {
				silent++
				k.cfg.Log.Warn("a node did not end a stream", "stream", stream, "node", string(n.ID), "error", err)
			}
		})
	}
	asking.Wait()
	return ended, silent
}

// send sends a kick to a node, and returns the number of sessions that it ended.
func (k *Kicks) send(ctx context.Context, to directory.Node, what kick) (ended int, err error) {
	body, err := json.Marshal(what)
	if err != nil {
		return 0, err
	}
	r, err := http.NewRequestWithContext(secret.To(ctx, string(to.ID)), http.MethodPost, to.URL+PathKick, http.NoBody)
	if err != nil {
		return 0, err
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := k.cfg.Caller.Do(r, body)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", signaling.ErrUpstream, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	var got kicked
	if err == nil && answer.StatusCode != http.StatusOK {
		err = errors.New(answer.Status)
	}
	if err == nil {
		err = json.Unmarshal(text, &got)
	}
	if err == nil && got.Ended < 0 {
		err = errors.New("a negative number of sessions")
	}
	if err != nil {
		return 0, fmt.Errorf("%w: %w", signaling.ErrUpstream, err)
	}
	return got.Ended, nil
}

// ServeHTTP ends sessions here for another node. It is for the listener of other nodes.
func (k *Kicks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token, ok := secret.TokenOf(r.Context())
	body, err := io.ReadAll(r.Body) // which the guard has bounded
	var what kick
	if err == nil {
		err = json.Unmarshal(body, &what)
	}
	if !ok || err != nil || r.Method != http.MethodPost || (what.Session == 0) == (what.Stream == "") {
		http.Error(w, "POST with one session or one stream expected, from another node", http.StatusBadRequest)
		return
	}
	var done kicked
	if what.Session == 0 {
		done.Ended = k.cfg.Engine.EndStream(what.Stream, api.ReasonKicked)
	} else if k.cfg.Engine.End(what.Session, api.ReasonKicked) {
		done.Ended = 1
	}
	k.cfg.Log.Info("sessions ended for another node", "node", token.Issuer, "stream", what.Stream,
		"session", uint64(what.Session), "sessions", done.Ended)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(done) // a peer that is gone needs no answer
}
