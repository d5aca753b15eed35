package signaling

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"ringcast/engine/api"
)

// eventKind is a type of event.
type eventKind uint8

const (
	activeEvent eventKind = iota
	inactiveEvent
	layersEvent
	reconnectEvent
	viewercountEvent
	numEvents
)

var eventNames = [numEvents]string{"active", "inactive", "layers", "reconnect", "viewercount"}

// eventKinds is a set of event types, a bit for each.
type eventKinds uint8

const allEvents = 1<<numEvents - 1

func (k eventKinds) has(e eventKind) bool { return k&(1<<e) != 0 }

// String lists the names with commas between.
func (k eventKinds) String() string {
	var names []string
	for e := range numEvents {
		if k.has(e) {
			names = append(names, eventNames[e])
		}
	}
	return strings.Join(names, ",")
}

// parseEvents reads a list of event types. An empty body stands for all.
func parseEvents(body []byte) (k eventKinds, err error) {
	if len(body) == 0 {
		return allEvents, nil
	}
	expected := "a list out of " + eventKinds(allEvents).String()
	var names []string
	if err := json.Unmarshal(body, &names); err != nil {
		return 0, malformedJSON(expected, err)
	}
	for _, name := range names {
		e := slices.Index(eventNames[:], name)
		if e < 0 {
			return 0, malformedJSON(expected, fmt.Errorf("%s is no type of event", quote(name)))
		}
		k |= 1 << e
	}
	if k == 0 {
		return 0, malformedJSON(expected, errors.New("the list is empty"))
	}
	return k, nil
}

const (
	// eventInterval is the time between two looks at the facts that events report.
	eventInterval = time.Second
	// heartbeatTicks is the number of looks between two comments. They keep proxies from closing a silent connection.
	heartbeatTicks = 15
	// writeSpan is the time that a reader has to take an event. A slower one is dropped.
	writeSpan = 10 * time.Second
)

// openEventStream answers a POST to a session's events resource.
func (s *Server) openEventStream(w http.ResponseWriter, r *request, of *session) error {
	body, err := s.json(w, r)
	if err != nil {
		return err
	}
	kinds, err := parseEvents(body)
	if err != nil {
		return err
	}
	chance, err := s.draw()
	if err != nil {
		return internal(err)
	}
	e := &eventStream{
		session: of, secret: chance.secret, kinds: kinds, ended: make(chan struct{}), moves: make(chan string, 1),
	}
	if !s.audience.add(e) {
		return tooMany(fmt.Sprintf("the session has %d event streams; expected a DELETE of one first", maxEventStreams))
	}
	if !s.sessions.live(of) { // it ended a moment ago, maybe before its new stream was there to end with it
		s.audience.remove(e)
		return noSession()
	}
	h := w.Header()
	h.Set("Location", r.url(api.Subscriber, of.place())+"/"+eventsName+"/"+s.inURL(e.secret))
	h.Set("Content-Length", "0")
	w.WriteHeader(http.StatusCreated)
	return nil
}

// serveEventStream answers requests for one event stream. They need no bearer.
func (s *Server) serveEventStream(w http.ResponseWriter, r *request, at resource) error {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodDelete:
	default:
		return wrongMethod(r, at.methods())
	}
	e, ok := s.audience.find(at.place, at.secret)
	if !ok {
		return noEventStream()
	}
	switch r.Method {
	case http.MethodGet:
		return s.readEvents(w, r, e)
	case http.MethodHead:
		eventHeaders(w)
		return nil
	}
	if !s.audience.remove(e) {
		return noEventStream()
	}
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusOK)
	return nil
}

// readEvents sends events until the stream or its reader ends. A reader that comes later takes the stream over.
func (s *Server) readEvents(w http.ResponseWriter, r *request, e *eventStream) error {
	reader, ok := s.audience.enter(r.Context(), e)
	if !ok {
		return &problem{
			status: http.StatusServiceUnavailable, kind: "busy", title: "Server busy", retryAfter: retryFull,
			detail: "too many event streams are being read; try again later",
		}
	}
	defer s.audience.leave(reader)
	defer yieldPlace(r.Context())()
	eventHeaders(w)
	out := eventWriter{w: w, control: http.NewResponseController(w), kinds: e.kinds, line: e.session.videoLine}
	_ = out.control.SetReadDeadline(time.Time{}) // that of the request, whose end would end the answer
	ticker := time.NewTicker(eventInterval)
	defer ticker.Stop()
	for tick := 1; ; tick++ {
		view, live := s.engine.View(e.session.id)
		if live {
			out.report(&view)
		}
		if tick%heartbeatTicks == 0 {
			out.write(":\n\n")
		}
		out.flush()
		if out.err != nil {
			return nil // the reader is gone or slow
		}
		select {
		case <-ticker.C:
		case data := <-e.moves:
			out.event(reconnectEvent, data)
		case <-reader.Done():
			return nil
		case <-e.ended:
			if e.again {
				out.event(reconnectEvent, "{}")
			}
			return nil
		}
	}
}

func noEventStream() *problem {
	return &problem{
		status: http.StatusNotFound, kind: "no-events", title: "No such event stream",
		detail: "the event stream has ended or never was; expected the Location of a 201 that is still live",
	}
}

// eventHeaders begins the answer. X-Accel-Buffering makes nginx pass events on at once.
func eventHeaders(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK)
}

// An eventWriter writes the events of one answer. It keeps the last data of each type, and writes only changes. So a
// slow reader misses states in between, and none waits in memory.
type eventWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	kinds   eventKinds
	line    int // of the video, or noVideo
	last    [numEvents]string
	// since is when the publication began that the reader knows of; it is zero without one.
	since time.Time
	err   error
}

// report writes the events by which a view differs from the last one.
func (o *eventWriter) report(v *api.View) {
	st := &v.Stream
	if !st.Since.Equal(o.since) {
		if st.Since.IsZero() {
			o.event(inactiveEvent, "{}")
		} else {
			o.event(activeEvent, "{}")
		}
		o.since = st.Since
	}
	if st.Since.IsZero() {
		return
	}
	o.change(viewercountEvent, map[string]int{"viewercount": st.Subscribers})
	if o.line != noVideo {
		o.change(layersEvent, map[string][]layerInfo{strconv.Itoa(o.line): layersOf(v)})
	}
}

// change writes an event whose data differs from that of the last of its type.
func (o *eventWriter) change(e eventKind, data any) {
	if !o.kinds.has(e) || o.err != nil {
		return
	}
	text, err := json.Marshal(data)
	if err != nil { // strings and numbers always marshal
		o.err = err
		return
	}
	if string(text) != o.last[e] {
		o.last[e] = string(text)
		o.event(e, o.last[e])
	}
}

func (o *eventWriter) event(e eventKind, data string) {
	if o.kinds.has(e) {
		o.write("event: " + eventNames[e] + "\ndata: " + data + "\n\n")
	}
}

func (o *eventWriter) write(text string) {
	if o.err != nil {
		return
	}
	_ = o.control.SetWriteDeadline(time.Now().Add(writeSpan)) // instead of the server's, for the whole answer
	_, o.err = io.WriteString(o.w, text)
}

// flush sends what was written. Over HTTP/2 a deadline ends the answer also while nothing waits to be sent, so it goes.
func (o *eventWriter) flush() {
	if o.err == nil {
		o.err = o.control.Flush()
		_ = o.control.SetWriteDeadline(time.Time{})
	}
}

// layerInfo is a layer in the event layers.
type layerInfo struct {
	RID             string `json:"rid"`
	SpatialLayerID  int    `json:"spatialLayerId"`
	TemporalLayerID int    `json:"temporalLayerId"`
	// Bitrate is in bits a second, 0 while the layer is silent.
	Bitrate uint32 `json:"bitrate"`
	Width   int    `json:"width,omitempty"`
	Height  int    `json:"height,omitempty"`
	// Sent is set for the layer that this viewer is sent.
	Sent bool `json:"sent"`
	// Reason is an addition to the draft: why the layer is sent. Where none is sent, the lowest layer has the reason.
	Reason string `json:"reason,omitempty"`
}

// layersOf lists the layers of a view, the highest first. A track with one layer has no choice, and so an empty list.
func layersOf(v *api.View) []layerInfo {
	list := []layerInfo{} // JSON has no nil
	if len(v.Stream.Ladder) < 2 {
		return list
	}
	for i, r := range slices.Backward(v.Stream.Ladder) {
		l := layerInfo{RID: r.RID, Bitrate: r.Rate, Width: r.Width, Height: r.Height, Sent: i == v.Rung}
		if l.Sent || v.Rung == api.NoRung && i == 0 {
			l.Reason = v.Cause
		}
		list = append(list, l)
	}
	return list
}
