package signaling

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"ringcast/engine/api"
)

// serveAPI adds the paths of the admin API. openapi.json describes them.
func (a *Admin) serveAPI() {
	a.read("GET /api/openapi.json", readPath, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", jsonType)
		_, _ = w.Write(openAPI)
	})
	a.handle("GET /api/streams", readPath, func(w http.ResponseWriter, _ *request) error {
		streams := a.engine.Streams()
		for i := range streams {
			if a.viewers != nil {
				streams[i].Subscribers += a.viewers(streams[i].Name)
			}
		}
		return inspectStreams(w, streams)
	})
	a.handle("DELETE /api/streams/{stream}", writePath, a.endStream)
	a.handle("GET /api/streams/{stream}/sessions", readPath, a.listSessions)
	a.handle("DELETE /api/sessions/{id}", writePath, a.endSession)
	if a.cluster != nil {
		a.handle("GET /api/cluster", readPath, func(w http.ResponseWriter, _ *request) error {
			return writeJSON(w, a.cluster())
		})
	}
	if a.drain != nil {
		a.handle("POST /api/drain", writePath, func(w http.ResponseWriter, r *request) error {
			a.drain()
			a.audit.wrote(r, drainNode, nil)
			w.WriteHeader(http.StatusAccepted)
			return nil
		})
	}
	a.handle("GET /api/limits", readPath, func(w http.ResponseWriter, _ *request) error {
		return writeJSON(w, limitsOf(a.engine.Limits()))
	})
	a.handle("PATCH /api/limits", writePath, a.setLimits)
}

// inspectedSession is a session as operators see it. Its id is that of the log, and not the secret of its URL.
type inspectedSession struct {
	ID        uint64    `json:"id"`
	Node      string    `json:"node,omitempty"` // of a cluster
	Role      string    `json:"role"`
	State     string    `json:"state"`
	Opened    time.Time `json:"opened"`
	Source    string    `json:"source,omitempty"`
	UserAgent string    `json:"userAgent,omitempty"`
	// RID and Cause are the layer that a subscriber of several is sent, and why.
	RID   string `json:"rid,omitempty"`
	Cause string `json:"cause,omitempty"`
}

// The states of a session.
const (
	statePending   = "pending"   // not yet connected
	stateWaiting   = "waiting"   // a publisher that is connected, and waits for the stream
	stateConnected = "connected" // a subscriber
	stateLive      = "live"      // the publisher that has the stream
)

func (a *Admin) listSessions(w http.ResponseWriter, r *request) error {
	stream := r.PathValue("stream")
	sessions := a.engine.Sessions(stream)
	if len(sessions) == 0 {
		return noStream(stream)
	}
	list := make([]inspectedSession, 0, len(sessions))
	for _, s := range sessions {
		in := inspectedSession{
			ID: uint64(s.ID), Role: s.Role.String(), State: stateOf(&s), Opened: s.Opened.UTC().Truncate(time.Second),
			UserAgent: s.Agent, RID: s.RID, Cause: s.Cause,
		}
		if a.nodes != nil {
			in.Node = a.nodes.Self()
		}
		if s.Source != (netip.Addr{}) {
			in.Source = s.Source.String()
		}
		list = append(list, in)
	}
	return writeJSON(w, list)
}

func stateOf(s *api.Session) string {
	switch {
	case s.Live:
		return stateLive
	case !s.Connected:
		return statePending
	case s.Role == api.Publisher:
		return stateWaiting
	}
	return stateConnected
}

func noStream(name string) *problem {
	return &problem{
		status: http.StatusNotFound, kind: "no-stream", title: "No such stream",
		detail: fmt.Sprintf("the stream %s has no sessions; expected one that /api/streams lists", quote(name)),
	}
}

// endStream ends the publisher and the viewers of a stream, at all nodes of a cluster.
func (a *Admin) endStream(w http.ResponseWriter, r *request) (err error) {
	stream, ended, silent := r.PathValue("stream"), 0, 0
	if !validStream(stream) {
		stream = "" // nothing has such a name
	}
	defer func() { a.audit.wrote(r, endStream, err, "stream", stream, "sessions", ended, "silent", silent) }()
	ended = a.engine.EndStream(stream, api.ReasonKicked)
	if a.nodes != nil && stream != "" {
		var more int
		more, silent = a.nodes.EndStream(r.Context(), stream)
		ended += more
	}
	switch {
	case ended == 0 && silent == 0:
		return noStream(stream)
	case ended == 0:
		return nodesSilent(fmt.Sprintf("%d servers of the cluster do not answer, and no other has the stream", silent))
	}
	return writeJSON(w, struct {
		Ended  int `json:"ended"`
		Silent int `json:"silent,omitempty"`
	}{ended, silent})
}

// nodesSilent is the problem of a write that other servers of the cluster did not answer.
func nodesSilent(detail string) *problem {
	return &problem{
		status: http.StatusBadGateway, kind: "nodes-silent", title: "Servers do not answer",
		detail: detail + "; try again",
	}
}

// endSession ends one session, here or at another node of a cluster.
func (a *Admin) endSession(w http.ResponseWriter, r *request) (err error) {
	node, id, ok := a.sessionOf(r.PathValue("id"))
	defer func() {
		facts := []any{"session", uint64(id)}
		if node != "" {
			facts = append(facts, "node", node)
		}
		a.audit.wrote(r, endSession, err, facts...)
	}()
	ended := false
	if ok && node == "" {
		ended = a.engine.End(id, api.ReasonKicked)
	} else if ok {
		ended, err = a.nodes.EndSession(r.Context(), node, id)
	}
	switch {
	case err != nil && !errors.Is(err, ErrNoNode):
		return nodesSilent("the session's server does not answer")
	case !ended:
		return &problem{
			status: http.StatusNotFound, kind: "no-session", title: "No such session",
			detail: fmt.Sprintf("the session %s has ended or never was; expected the id of a listed one",
				quote(r.PathValue("id"))),
		}
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// sessionOf reads the number of a session, after the id of its node and a dot if it is another node's.
func (a *Admin) sessionOf(text string) (node string, id api.SessionID, ok bool) {
	if before, after, dotted := strings.Cut(text, "."); dotted {
		if a.nodes == nil || !validStream(before) { // ids have letters and digits alone, as names may have
			return "", 0, false
		}
		node, text = before, after
		if node == a.nodes.Self() {
			node = ""
		}
	}
	n, err := strconv.ParseUint(text, 10, 64)
	return node, api.SessionID(n), err == nil && n > 0
}

// A limitSet is api.Limits in JSON. A field that a PATCH leaves out stays.
type limitSet struct {
	Viewers        *int    `json:"streamViewers,omitempty"`
	SourceSessions *int    `json:"sourceSessions,omitempty"`
	Bitrate        *int    `json:"publisherBitrate,omitempty"`
	OverBitrate    *string `json:"overBitrate,omitempty"`
}

const (
	overWarn   = "warn"
	overRefuse = "refuse"
	// maxCount and the rates are those of the settings.
	maxCount             = 1 << 30
	leastRate, mostLimit = 10_000, 1_000_000_000
)

func limitsOf(l api.Limits) limitSet {
	over := overWarn
	if l.Refuse {
		over = overRefuse
	}
	return limitSet{&l.Viewers, &l.SourceSessions, &l.Bitrate, &over}
}

// apply changes the limits that are given.
func (l *limitSet) apply(to *api.Limits) {
	for _, f := range [...]struct{ to, from *int }{
		{&to.Viewers, l.Viewers}, {&to.SourceSessions, l.SourceSessions}, {&to.Bitrate, l.Bitrate},
	} {
		if f.from != nil {
			*f.to = *f.from
		}
	}
	if l.OverBitrate != nil {
		to.Refuse = *l.OverBitrate == overRefuse
	}
}

// check reports values that make no sense.
func (l *limitSet) check() error {
	for _, n := range [...]*int{l.Viewers, l.SourceSessions} {
		if n != nil && (*n < 0 || *n > maxCount) {
			return fmt.Errorf("%d is no number from 0 to %d", *n, maxCount)
		}
	}
	if b := l.Bitrate; b != nil && *b != 0 && (*b < leastRate || *b > mostLimit) {
		return fmt.Errorf("publisherBitrate is %d; 0, or %d to %d bits a second expected", *b, leastRate, mostLimit)
	}
	if o := l.OverBitrate; o != nil && *o != overWarn && *o != overRefuse {
		return fmt.Errorf("overBitrate is %s; warn or refuse expected", quote(*o))
	}
	return nil
}

// setLimits changes limits.
func (a *Admin) setLimits(w http.ResponseWriter, r *request) (err error) {
	var now api.Limits
	defer func() {
		a.audit.wrote(r, setLimits, err, "viewers", now.Viewers, "source_sessions", now.SourceSessions,
			"bitrate", now.Bitrate, "refuse", now.Refuse)
	}()
	now = a.engine.Limits()
	change, err := readLimits(w, r)
	if err != nil {
		return err
	}
	now = a.engine.SetLimits(change.apply)
	return writeJSON(w, limitsOf(now))
}

// readLimits reads the body of a PATCH of the limits.
func readLimits(w http.ResponseWriter, r *request) (change limitSet, err error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxExtensionBody))
	var over *http.MaxBytesError
	if errors.As(err, &over) {
		return change, tooLarge(maxExtensionBody)
	}
	if err == nil {
		d := json.NewDecoder(bytes.NewReader(body))
		d.DisallowUnknownFields()
		if err = d.Decode(&change); err == nil {
			if _, end := d.Token(); end != io.EOF {
				err = errors.New("there is more after the object")
			}
		}
	}
	if err == nil {
		err = change.check()
	}
	if err != nil {
		return change, malformedJSON("an object with some of the members that a GET shows", err)
	}
	return change, nil
}
