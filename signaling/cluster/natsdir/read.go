//go:build !nocluster

package natsdir

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"ringcast/signaling/cluster/directory"
)

// reader is the state of read's goroutine: it follows which other nodes can be reached.
type reader struct {
	*Transport
	mesh     *mesh
	connects int64     // of the client, as last seen
	since    time.Time // the start of the connection to an external server
	silent   bool
	eager    time.Time // until when something changes
}

// read hands messages to the Receiver, until the end.
func (t *Transport) read() {
	r := &reader{Transport: t, mesh: newMesh(t.config.peers(), t.begun.Add(t.settle)), since: t.begun}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-t.quit:
			return
		case m := <-t.in.answers:
			r.answer(m)
		case m := <-t.in.questions:
			r.question(m)
		case m := <-t.in.news:
			r.heard(m)
		case m := <-t.in.beats:
			r.heard(m)
		case m := <-t.in.control:
			r.control(m)
		case <-t.state.changed:
			r.eager = time.Now().Add(eager)
			timer.Reset(r.look())
		case <-timer.C:
			timer.Reset(r.look())
		}
	}
}

// fits reports whether a message is short enough to be one of ours.
func (r *reader) fits(m *nats.Msg) bool {
	if len(m.Data) <= maxMessage {
		return true
	}
	r.config.Metrics.dropped.WithLabelValues("size").Inc()
	return false
}

// answer takes an answer to a question, or the server's word that no node serves the stream.
func (r *reader) answer(m *nats.Msg) {
	number, err := strconv.ParseUint(strings.TrimPrefix(m.Subject, r.inbox), 10, 64)
	if err != nil || !r.fits(m) {
		return
	}
	if m.Header.Get("Status") == "503" && len(m.Data) == 0 {
		r.finish(number, r.completeness())
		return
	}
	if r.open(number) {
		r.receiver.Answer(number, m.Data)
	}
}

// completeness decides whether the silence of all nodes is a no.
//
// The server logs the end of a route before it forgets the subscriptions that came over it. A change within the last
// moments is therefore enough for a doubt.
func (r *reader) completeness() directory.Completeness {
	now := time.Now()
	if now.UnixNano()-r.state.notice.Load() < int64(eager) {
		return directory.Partial
	}
	if r.server == nil {
		return directory.Completeness(r.state.connected.Load() && now.Sub(r.since) >= r.settle)
	}
	return directory.Completeness(r.mesh.complete(now))
}

func (r *reader) question(m *nats.Msg) {
	if !plain(m.Reply) || !r.fits(m) {
		return
	}
	if answer := r.receiver.Question(m.Data); answer != nil {
		r.out.publish(message{subject: m.Reply, data: answer})
	}
}

func (r *reader) heard(m *nats.Msg) {
	if r.fits(m) {
		r.receiver.Heard(m.Data)
	}
}

// control takes a message between embedded servers, all of which have the cluster's secret.
func (r *reader) control(m *nats.Msg) {
	if from, ok := strings.CutPrefix(m.Subject, subjectBye); ok {
		if r.mesh.left(directory.NodeID(from)) {
			r.receiver.Down(directory.NodeID(from))
		}
		return
	}
	if from, ok := strings.CutPrefix(string(m.Data), hello); ok && directory.NodeID(from).Valid() {
		r.greet(here, directory.NodeID(from))
	}
	if from, ok := strings.CutPrefix(string(m.Data), here); ok && r.mesh.prove(directory.NodeID(from)) {
		r.config.Log.Debug("a route is up", "node", from)
		r.silent = false
		r.receiver.Up(directory.NodeID(from))
	}
}

// look compares the routes, or the connection to an external server, with the last look. It returns the time until the
// next.
func (r *reader) look() time.Duration {
	now := time.Now()
	next, unreached := look, false
	if r.server != nil {
		next = r.lookAtRoutes(now)
		unreached = r.mesh.silent(now)
	} else {
		unreached = r.lookAtConnection(now)
	}
	if unreached && !r.silent {
		r.receiver.Silent()
	}
	r.silent = unreached
	r.report(now)
	up := 0.
	if !unreached {
		up = 1
	}
	r.config.Metrics.up.Set(up)
	return next
}

// report makes the state of the peers known to other goroutines.
func (r *reader) report(now time.Time) {
	reach := directory.Reach{Named: r.mesh.peers}
	if r.server != nil {
		reach.Peers = r.mesh.state()
		reach.Settled = r.mesh.reached() >= r.mesh.peers || !now.Before(r.mesh.settle)
	} else {
		reach = r.servers(now)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reach = reach
}

// servers is the state of external servers, which have one state: the client uses any of them.
func (r *reader) servers(now time.Time) directory.Reach {
	connected, state := r.state.connected.Load(), directory.PeerDown
	if connected {
		state = directory.PeerUp
	}
	urls := r.config.External.URLs
	reach := directory.Reach{Named: len(urls), Settled: connected || now.Sub(r.begun) >= r.settle}
	for _, text := range urls {
		u, err := url.Parse(text)
		if err != nil {
			continue // validate has refused it
		}
		u.User = nil
		reach.Peers = append(reach.Peers, directory.Peer{Name: u.String(), State: state})
	}
	return reach
}

func (r *reader) lookAtRoutes(now time.Time) (next time.Duration) {
	for _, id := range r.mesh.update(now, r.server.routes()) {
		r.config.Log.Debug("a route is down", "node", id)
		r.receiver.Down(id)
	}
	r.config.Metrics.routes.Set(float64(len(r.mesh.routes)))
	next = look
	if now.Before(r.eager) {
		next = lookSoon
	}
	for _, id := range r.mesh.unproven() {
		r.greet(hello, id)
		if now.Sub(r.mesh.routes[id].start) < settle {
			next = lookSoon
		}
	}
	return next
}

// lookAtConnection reports whether there is none to an external server.
func (r *reader) lookAtConnection(now time.Time) (unreached bool) {
	if n := r.state.connects.Load(); n != r.connects {
		r.connects, r.since, r.silent = n, now, false
		r.receiver.Up("")
	}
	return !r.state.connected.Load() && (r.connects > 0 || now.Sub(r.begun) >= r.settle)
}
