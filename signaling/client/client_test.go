package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ringcast/engine/api"
)

const token = "secret"

// serve starts a server and a client for it, of role Publisher and with a token.
func serve(t *testing.T, h http.HandlerFunc) (*httptest.Server, *Client) {
	t.Helper()
	s := httptest.NewServer(h)
	c := New(Config{Role: api.Publisher, Token: token})
	t.Cleanup(func() {
		c.CloseIdleConnections()
		s.Close()
	})
	return s, c
}

// created answers an offer as a server does that has all the headers.
func created(w http.ResponseWriter, status int, headers ...string) {
	for i := 0; i < len(headers); i += 2 {
		w.Header().Add(headers[i], headers[i+1])
	}
	w.Header().Set("Content-Type", "application/sdp; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, answer)
}

// TestPost opens sessions at servers that differ in the headers of their answers.
func TestPost(t *testing.T) {
	for _, c := range []struct {
		name    string
		status  int
		headers []string
		path    string // of the session's URL, if there is one
		etag    string
		servers []ICEServer
	}{
		{"all headers", 201, []string{
			"Location", "/whip/x/1", "ETag", `"a"`, "Link", `<stun:h>; rel="ice-server"`,
		}, "/whip/x/1", `"a"`, []ICEServer{{URL: "stun:h"}}},
		{"a relative Location", 201, []string{"Location", "1?a=b"}, "/whip/1?a=b", "", nil},
		{"no Location", 201, nil, "", "", nil},
		{"200", 200, []string{"Location", "/s"}, "/s", "", nil},
		{"a weak tag", 201, []string{"Location", "/s", "ETag", `W/"a"`}, "/s", "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, client := serve(t, func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil || string(body) != "v=0\r\n" || r.Method != http.MethodPost ||
					r.Header.Get("Content-Type") != "application/sdp" ||
					r.Header.Get("Authorization") != "Bearer "+token {
					t.Errorf("got %s %q, %v, %v; want a POST of the offer, with the token",
						r.Method, body, r.Header, err)
				}
				created(w, c.status, c.headers...)
			})
			got, err := client.Post(t.Context(), s.URL+"/whip/x", "v=0\r\n")
			if err != nil {
				t.Fatal(err)
			}
			want := ""
			if c.path != "" {
				want = s.URL + c.path
			}
			if got.URL != want || got.etag != c.etag || !slices.Equal(got.ICEServers, c.servers) || got.Answer == nil {
				t.Errorf("got %+v; want %q, tag %q, %v and an answer", got, want, c.etag, c.servers)
			}
		})
	}
}

// TestRefusals shows the message for each status that has advice of its own.
func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		status  int
		body    string
		role    api.Role
		message string // after the URL
	}{
		{401, "", api.Publisher, "401 Unauthorized"},
		{
			404, "404 page not found\n", api.Publisher,
			"404 Not Found: 404 page not found (is the URL right? It must name the stream)",
		},
		{409, `{"title":"T","detail":"D"}`, api.Publisher, "409 Conflict: D (somebody publishes this stream already)"},
		{409, `{"title":"T"}`, api.Subscriber, "409 Conflict: T (nobody publishes this stream yet)"},
		{422, "", api.Subscriber, "422 Unprocessable Entity (codec or offer refused)"},
		{503, "", api.Subscriber, "503 Service Unavailable (the server is full; retry after 7 s)"},
		{500, strings.Repeat("x", maxBody+1), api.Subscriber, "500 Internal Server Error"},
	} {
		t.Run(fmt.Sprintf("%d %v", c.status, c.role), func(t *testing.T) {
			s, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "7")
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			})
			client := New(Config{Role: c.role})
			defer client.CloseIdleConnections()
			opened, err := client.Post(t.Context(), s.URL, "v=0\r\n")
			var r *Refusal
			if opened != nil || !errors.As(err, &r) || r.Status != c.status || r.RetryAfter != "7" {
				t.Fatalf("got %v, %v; want a refusal with status %d", opened, err, c.status)
			}
			if want := s.URL + ": " + c.message; err.Error() != want {
				t.Errorf("got %q, want %q", err, want)
			}
		})
	}
}

// TestUnusable opens sessions whose answer is of no use. The session comes with the error, to be deleted.
func TestUnusable(t *testing.T) {
	for _, c := range []struct {
		name                        string
		body, contentType, location string
		want                        error
		message                     string // a part of it
	}{
		{
			"not SDP", "<html>", "text/html", "/s", ErrAnswer,
			`its Content-Type is "text/html"; expected application/sdp`,
		},
		{"no media type", "hello", "", "/s", ErrAnswer, "expected application/sdp"},
		{"too long", strings.Repeat("a=x\r\n", maxBody/5+1), sdpType, "/s", ErrAnswer, "longer than 1048576 bytes"},
		{
			"Location of another scheme", answer, sdpType, "ftp://h/x", ErrAnswer,
			`Location: "ftp://h/x" is no http or https URL`,
		},
		{"Location without a host", answer, sdpType, "http:///x", ErrAnswer, "is no http or https URL"},
		{"Location that is no URL", answer, sdpType, "http://[", ErrAnswer, "Location: "},
		{
			"codec", strings.ReplaceAll(answer, "m=video 9", "m=video 0"), sdpType, "/s", ErrCodec,
			"none of the video formats",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, client := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", c.location)
				w.Header()["Content-Type"] = nil
				if c.contentType != "" {
					w.Header().Set("Content-Type", c.contentType)
				}
				w.WriteHeader(http.StatusCreated)
				_, _ = io.WriteString(w, c.body)
			})
			opened, err := client.Post(t.Context(), s.URL, "v=0\r\n")
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.message) ||
				!strings.HasPrefix(err.Error(), s.URL) {
				t.Errorf("got %v; want %v, the URL and %q", err, c.want, c.message)
			}
			if opened == nil || opened.Answer != nil {
				t.Errorf("got %+v; want a session without an answer", opened)
			}
		})
	}
}

// TestUnreachable has no whole response: nobody listens, the context is over, or the connection ends.
func TestUnreachable(t *testing.T) {
	s, client := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, "v=0\r\n")
	})
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		name string
		ctx  context.Context
		url  string
		also error
	}{
		{"nobody", t.Context(), "http://127.0.0.1:1/x", nil},
		{"no URL", t.Context(), "http://[", nil},
		{"context", over, s.URL, context.Canceled},
		{"cut short", t.Context(), s.URL, io.ErrUnexpectedEOF},
	} {
		_, err := client.Post(c.ctx, c.url, "v=0\r\n")
		if !errors.Is(err, ErrUnreachable) || c.also != nil && !errors.Is(err, c.also) ||
			!strings.Contains(err.Error(), c.url) {
			t.Errorf("%s: got %v; want %v and the URL", c.name, err, ErrUnreachable)
		}
	}
}

// TestRedirects follows redirects that keep the method, up to the limit.
func TestRedirects(t *testing.T) {
	s, client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		status, left, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		if n, err := strconv.Atoi(left); err == nil && n > 0 {
			code, _ := strconv.Atoi(status)
			http.Redirect(w, r, fmt.Sprintf("/%s/%d", status, n-1), code)
			return
		}
		created(w, http.StatusCreated, "Location", "session")
	})
	for _, c := range []struct {
		path    string
		message string // of ErrRedirect, or empty
	}{
		{"/307/1", ""},
		{"/308/5", ""},
		{"/307/6", "more than 5 in a row, the last to " + s.URL + "/307/0"},
		{"/302/1", "status 302 turns POST into GET; expected 307 or 308 to " + s.URL + "/302/0"},
		{"/303/1", "status 303 turns POST into GET"},
	} {
		opened, err := client.Post(t.Context(), s.URL+c.path, "v=0\r\n")
		if c.message == "" {
			if want := s.URL + c.path[:4] + "/session"; err != nil || opened.URL != want {
				t.Errorf("%s: got %+v, %v; want %s", c.path, opened, err, want)
			}
			continue
		}
		if !errors.Is(err, ErrRedirect) || errors.Is(err, ErrUnreachable) ||
			!strings.Contains(err.Error(), c.message) ||
			!strings.HasPrefix(err.Error(), s.URL+c.path) {
			t.Errorf("%s: got %v; want %v: %s", c.path, err, ErrRedirect, c.message)
		}
	}
}

// TestTokenStays redirects to another host, which must not see the token, and to http, which is refused.
func TestTokenStays(t *testing.T) {
	var seen string
	target, client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header.Get("Authorization")
		created(w, http.StatusCreated)
	})
	at, err := url.Parse(target.URL)
	if err != nil {
		t.Fatal(err)
	}
	redirect := http.RedirectHandler("http://localhost:"+at.Port()+"/", http.StatusTemporaryRedirect)
	from := httptest.NewServer(redirect)
	defer from.Close()
	if _, err := client.Post(t.Context(), from.URL, "v=0\r\n"); err != nil || seen != "" {
		t.Errorf("got %v and the token %q at another host; want neither", err, seen)
	}
	secure := httptest.NewTLSServer(redirect)
	defer secure.Close()
	client = New(Config{Role: api.Publisher, Token: token, Transport: secure.Client().Transport})
	if _, err := client.Post(t.Context(), secure.URL, "v=0\r\n"); !errors.Is(err, ErrRedirect) ||
		!strings.Contains(err.Error(), "from https to http://localhost") {
		t.Errorf("got %v from https to http; want %v", err, ErrRedirect)
	}
}
