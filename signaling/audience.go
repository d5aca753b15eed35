package signaling

import (
	"context"
	"slices"
	"sync"

	"ringcast/engine/api"
)

const (
	// maxEventStreams is the greatest number of event streams of one session: a page, and one that was reloaded.
	maxEventStreams = 4
	// maxReaders is the greatest number of event streams that are read at a time. Each takes a connection.
	maxReaders = MaxConnections / 2
)

// An eventStream is a list of event types that a player asked for, at a URL of its own.
type eventStream struct {
	session *session
	secret  string
	kinds   eventKinds
	// ended is closed when there will be no more events. again is set before if the player had better open another
	// session.
	ended chan struct{}
	again bool
	// moves has the data of an event reconnect, once the server drains.
	moves chan string

	// reader belongs to the audience: the request that reads the stream, nil for none.
	reader *reader
}

// A reader is a request that reads an event stream. It ends with its request, or when another takes its place.
type reader struct {
	context.Context
	cancel context.CancelFunc
	of     *eventStream
}

// An audience is the event streams of all sessions and the requests that read them. The zero value is ready.
type audience struct {
	mu        sync.Mutex
	bySecret  map[string]*eventStream
	bySession map[api.SessionID][]*eventStream
	readers   int
}

// add makes a stream known, unless its session has the most that it may have.
func (a *audience) add(e *eventStream) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	id := e.session.id
	if len(a.bySession[id]) >= maxEventStreams {
		return false
	}
	if a.bySecret == nil {
		a.bySecret = make(map[string]*eventStream)
		a.bySession = make(map[api.SessionID][]*eventStream)
	}
	a.bySecret[e.secret] = e
	a.bySession[id] = append(a.bySession[id], e)
	return true
}

// find returns the stream of one URL.
func (a *audience) find(place, secret string) (*eventStream, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	e, ok := a.bySecret[secret]
	return e, ok && e.session.place() == place
}

// remove ends a stream; it reports false if that has happened already.
func (a *audience) remove(e *eventStream) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.bySecret[e.secret] != e {
		return false
	}
	delete(a.bySecret, e.secret)
	id := e.session.id
	rest := slices.DeleteFunc(a.bySession[id], func(x *eventStream) bool { return x == e })
	if a.bySession[id] = rest; len(rest) == 0 {
		delete(a.bySession, id)
	}
	close(e.ended)
	return true
}

// sessionEnded ends the streams of a session.
func (a *audience) sessionEnded(id api.SessionID, why api.Reason) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.bySession[id] {
		delete(a.bySecret, e.secret)
		e.again = worthAnother(why)
		close(e.ended)
	}
	delete(a.bySession, id)
}

// worthAnother reports whether the player of a session that we ended had better open another.
func worthAnother(why api.Reason) bool {
	switch why {
	case api.ReasonCodec, api.ReasonShutdown, api.ReasonNoPublisher, api.ReasonFault, api.ReasonWorn:
		return true
	}
	return false
}

// enter makes a request the reader of a stream, in place of the one before. It reports false where too many streams are
// being read.
func (a *audience) enter(ctx context.Context, e *eventStream) (*reader, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e.reader != nil {
		e.reader.cancel()
	} else if a.readers >= maxReaders {
		return nil, false
	} else {
		a.readers++
	}
	r := &reader{of: e}
	r.Context, r.cancel = context.WithCancel(ctx)
	e.reader = r
	return r, true
}

// leave is for a reader that has ended.
func (a *audience) leave(r *reader) {
	r.cancel()
	a.mu.Lock()
	defer a.mu.Unlock()
	if r.of.reader == r {
		r.of.reader = nil
		a.readers--
	}
}
