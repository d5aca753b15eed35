package client

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestReadEvents(t *testing.T) {
	long := strings.Repeat("x", maxEvent)
	for _, c := range []struct {
		name, text string
		want       []Event
		err        error
	}{
		{"nothing", "", nil, nil},
		{"one", "event: reconnect\ndata: {}\n\n", []Event{{"reconnect", "{}"}}, nil},
		{"CRLF and no space", "event:a\r\ndata:b\r\n\r\n", []Event{{"a", "b"}}, nil},
		{"no type", "data: b\n\n", []Event{{"message", "b"}}, nil},
		{"lines of data", "data: a\ndata\ndata:  b\n\n", []Event{{"message", "a\n\n b"}}, nil},
		{"comments and other fields", ":\n\n:hi\nid: 7\nretry: 1\nx\ndata: a\n\n", []Event{{"message", "a"}}, nil},
		{"a type without data", "event: a\n\ndata: b\n\n", []Event{{"message", "b"}}, nil},
		{"cut off", "event: a\ndata: b\n", nil, nil},
		{"up to the last", "event: last\ndata: 1\n\nevent: more\ndata: 2\n\n", []Event{{"last", "1"}}, nil},
		{"a long line", "data: a\n\ndata: " + long + "\n\n", []Event{{"message", "a"}}, ErrAnswer},
		{"much data", strings.Repeat("data: "+long[:maxEvent/4]+"\n", 4) + "\n", nil, ErrAnswer},
	} {
		var got []Event
		err := readEvents(strings.NewReader(c.text), func(e Event) bool {
			got = append(got, e)
			return e.Type != "last"
		})
		if !slices.Equal(got, c.want) || !errors.Is(err, c.err) {
			t.Errorf("%s: got %q, %v; want %q, %v", c.name, got, err, c.want, c.err)
		}
	}
}

// events answers offers, and then requests for events, at a URL that the stream needs no token for.
func events(link string, stream http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch r.Method + r.URL.Path {
		case "POST/whip/x":
			created(w, http.StatusCreated, "Link", `<stun:h>; rel="ice-server"`, "Link", link)
		case "POST/whip/x/1/events":
			body, _ := io.ReadAll(r.Body) // a part fails below
			if string(body) != `["reconnect"]` || r.Header.Get("Authorization") != "Bearer "+token {
				http.Error(w, string(body), http.StatusBadRequest)
				return
			}
			w.Header().Set("Location", "events/2")
			w.WriteHeader(http.StatusCreated)
		case "GET/whip/x/1/events/2":
			if r.Header.Get("Authorization") != "" {
				http.Error(w, "a token", http.StatusBadRequest)
				return
			}
			w.Header().Set("Content-Type", eventsType)
			stream(w, r)
		default:
			http.NotFound(w, r)
		}
	}
}

func TestListen(t *testing.T) {
	const link = `</whip/x/1/events>; rel="` + eventsRelation + `"`
	one := func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "event: reconnect\ndata: {}\n\n")
	}
	var refusal *Refusal
	for _, c := range []struct {
		name, link string
		stream     http.HandlerFunc
		want       int
		ok         func(error) bool
	}{
		{"an event", link, one, 1, func(err error) bool { return err == nil }},
		{"no link", `<stun:i>; rel="ice-server"`, one, 0, func(err error) bool { return errors.Is(err, ErrNoEvents) }},
		{
			"a link to another server", `<http://192.0.2.1/whip/x/1/events>; rel="` + eventsRelation + `"`, one, 0,
			func(err error) bool { return errors.Is(err, ErrNoEvents) },
		},
		{
			"a link to nothing", `</none>; rel="` + eventsRelation + `"`, one, 0,
			func(err error) bool { return errors.As(err, &refusal) && refusal.Status == http.StatusNotFound },
		},
		{"no stream", link, func(w http.ResponseWriter, r *http.Request) {
			http.NotFound(w, r)
		}, 0, func(err error) bool { return errors.Is(err, ErrAnswer) }},
		{"a page", link, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			one(w, r)
		}, 0, func(err error) bool { return errors.Is(err, ErrAnswer) }},
		{"broken off", link, func(w http.ResponseWriter, r *http.Request) {
			one(w, r)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, 1, func(err error) bool { return errors.Is(err, ErrUnreachable) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, client := serve(t, events(c.link, c.stream))
			opened, err := client.Post(t.Context(), s.URL+"/whip/x", "v=0\r\n")
			if err != nil {
				t.Fatal(err)
			}
			var got []Event
			err = opened.Listen(t.Context(), []string{"reconnect"}, func(e Event) bool {
				got = append(got, e)
				return true
			})
			if len(got) != c.want || !c.ok(err) {
				t.Errorf("got %q, %v; want %d events", got, err, c.want)
			}
		})
	}
}

func FuzzReadEvents(f *testing.F) {
	f.Add("event: reconnect\ndata: {}\n\n:\n\ndata: a\r\ndata: b\r\n\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		_ = readEvents(strings.NewReader(text), func(e Event) bool { // an error is fine
			if e.Type == "" || len(e.Data) > maxEvent || len(e.Type) > maxEvent || strings.Contains(e.Type, "\n") {
				t.Errorf("got the event %q", e)
			}
			return true
		})
	})
}
