package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
)

const (
	// eventsRelation is that of the link to a session's events (draft webrtc-http-egress-events).
	eventsRelation = "urn:ietf:params:whep:ext:core:server-sent-events"
	eventsType     = "text/event-stream"
	// maxEvent is the most bytes of a line of an event stream, and of the data of one event.
	maxEvent = 64 << 10
)

// ErrNoEvents is the error of Listen for a server that offers no events.
var ErrNoEvents = errors.New("the server offers no events")

// An Event is one of an event stream, as EventSource gives it to a page.
type Event struct{ Type, Data string }

// Listen asks the server for events of some types, and calls take for each. It returns nil when take reports false or
// the server ends the stream. A stream that breaks off, or is none, is an error.
func (s *Session) Listen(ctx context.Context, types []string, take func(Event) (more bool)) error {
	if s.events == "" {
		return ErrNoEvents
	}
	list, err := json.Marshal(types)
	if err != nil {
		return err
	}
	res, body, err := s.client.do(ctx, request{
		method: http.MethodPost, url: s.events, contentType: "application/json", body: string(list),
	})
	switch {
	case res == nil:
		return err
	case res.StatusCode != http.StatusCreated:
		return s.client.refusal(s.events, res, body)
	}
	u, err := res.Location()
	if err == nil {
		err = checkURL(u)
	}
	if err != nil {
		return fmt.Errorf("%w: Location of the events: %w", ErrAnswer, err)
	}
	// The URL needs no token, since EventSource has none.
	open := *s.client
	open.config.Token = ""
	if res, err = open.send(ctx, request{method: http.MethodGet, url: u.String()}); err != nil {
		return err
	}
	defer res.Body.Close()
	got := res.Header.Get("Content-Type")
	if essence, _, _ := mime.ParseMediaType(got); res.StatusCode != http.StatusOK || essence != eventsType {
		return fmt.Errorf("%w: status %d, Content-Type %q; expected 200 and %s", ErrAnswer, res.StatusCode, got,
			eventsType)
	}
	return readEvents(res.Body, take)
}

// readEvents parses an event stream, whose lines end with LF or CRLF (HTML section 9.2.6). It returns nil at the end of
// the stream, and when take reports false.
func readEvents(r io.Reader, take func(Event) (more bool)) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxEvent)
	e := Event{Type: "message"}
	var data []string
	size := 0
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case lines.Text() == "":
			e.Data = strings.Join(data, "\n")
			if len(data) > 0 && !take(e) {
				return nil
			}
			e, data, size = Event{Type: "message"}, nil, 0
		case field == "event" && value != "":
			e.Type = value
		case field == "data":
			if size += len(value) + 1; size > maxEvent {
				return fmt.Errorf("%w: an event is longer than %d bytes", ErrAnswer, maxEvent)
			}
			data = append(data, value)
		}
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return fmt.Errorf("%w: a line of the events is longer than %d bytes", ErrAnswer, maxEvent)
	case err != nil:
		return fmt.Errorf("%w: read the events: %w", ErrUnreachable, err)
	}
	return nil
}
