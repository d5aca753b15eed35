package client

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"ringcast/engine/api"
	"ringcast/engine/rtp"
	"ringcast/signaling/iceserver"
)

var (
	ours       = api.Credentials{Ufrag: "ours", Password: "ourPasswordOf24Character"}
	candidates = []netip.AddrPort{
		netip.MustParseAddrPort("192.0.2.7:5000"), netip.MustParseAddrPort("[2001:db8::7]:5000"),
	}
)

const (
	ourFragment = "a=ice-ufrag:ours\r\na=ice-pwd:ourPasswordOf24Character\r\n" +
		"m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n" +
		"a=candidate:1 1 udp 2130706431 192.0.2.7 5000 typ host\r\n" +
		"a=candidate:2 1 udp 2130706175 2001:db8::7 5000 typ host\r\na=end-of-candidates\r\n"
	theirFragment = "a=ice-lite\r\na=ice-ufrag:new1\r\na=ice-pwd:theNewPasswordOfTheServer\r\n" +
		"m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n"
)

// open opens a session whose ETag is "a", at a server that hands all later requests to then.
func open(t *testing.T, then http.HandlerFunc) *Session {
	t.Helper()
	s, client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			created(w, http.StatusCreated, "Location", "/session", "ETag", `"a"`)
			return
		}
		if r.URL.Path != "/session" || r.Header.Get("Authorization") != "Bearer "+token {
			t.Errorf("got %s %s with %q; want the session's URL and the token",
				r.Method, r.URL, r.Header.Get("Authorization"))
		}
		then(w, r)
	})
	opened, err := client.Post(t.Context(), s.URL+"/whip/x", "v=0\r\n")
	if err != nil {
		t.Fatal(err)
	}
	return opened
}

func TestTrickle(t *testing.T) {
	for _, c := range []struct {
		name   string
		etag   string
		status int
	}{
		{"accepted", `"a"`, http.StatusNoContent},
		{"accepted by 200", `"a"`, http.StatusOK},
		{"no tag", "", http.StatusNoContent},
		{"another ICE session", `"old"`, http.StatusPreconditionFailed},
		{"not implemented", `"a"`, http.StatusMethodNotAllowed},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body) // the comparison shows what is missing
				if r.Method != http.MethodPatch || r.Header.Get("Content-Type") != fragmentType ||
					strings.Join(r.Header.Values("If-Match"), ", ") != c.etag || string(body) != ourFragment {
					t.Errorf("got %s, %v\n%s; want a PATCH with If-Match %q and\n%s",
						r.Method, r.Header, body, c.etag, ourFragment)
				}
				w.WriteHeader(c.status)
			})
			s.etag = c.etag
			err := s.Trickle(t.Context(), ours, candidates)
			var r *Refusal
			if refused := errors.As(err, &r); refused != (c.status >= 300) || refused && r.Status != c.status ||
				!refused && err != nil {
				t.Errorf("got %v; want a refusal only for a status of no success, here %d", err, c.status)
			}
		})
	}
}

// TestRestart makes new ICE sessions, with the server's new candidates and without.
func TestRestart(t *testing.T) {
	fragment := theirFragment
	s := open(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // the comparison shows what is missing
		want, _, _ := strings.Cut(ourFragment, "a=candidate")
		if r.Method != http.MethodPatch || r.Header.Get("If-Match") != "*" || string(body) != want {
			t.Errorf("got %s, If-Match %q\n%s; want a PATCH with * and\n%s",
				r.Method, r.Header.Get("If-Match"), body, want)
		}
		w.Header().Set("ETag", `"b"`)
		w.Header().Set("Content-Type", fragmentType)
		_, _ = io.WriteString(w, fragment)
	})
	before := s.Answer.Candidates
	for _, c := range []struct {
		ufrag, candidate string
		want             []netip.AddrPort
	}{
		{"new1", "", before},
		{
			"new2", "a=candidate:1 1 udp 1 198.51.100.1 7000 typ host\r\n",
			[]netip.AddrPort{netip.MustParseAddrPort("198.51.100.1:7000")},
		},
	} {
		fragment = strings.ReplaceAll(theirFragment, "new1", c.ufrag) + c.candidate
		if err := s.Restart(t.Context(), ours, nil); err != nil {
			t.Fatal(err)
		}
		if s.Answer.ICE.Ufrag != c.ufrag || s.etag != `"b"` || !slices.Equal(s.Answer.Candidates, c.want) {
			t.Errorf("got %+v, tag %s; want %s, %v and the new tag", s.Answer, s.etag, c.ufrag, c.want)
		}
	}
}

// TestRestartRefused asks servers that restart nothing: the old ICE session stays.
func TestRestartRefused(t *testing.T) {
	for _, c := range []struct {
		name    string
		status  int
		body    string
		want    error // nil for a Refusal
		message string
	}{
		{"taken for a trickle", 204, "", ErrAnswer, "ICE did not restart, the server answered 204; expected 200"},
		{
			"the old credentials", 200, "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n", ErrAnswer,
			"expected new ones",
		},
		{"no credentials", 200, "a=mid:0\r\n", ErrAnswer, "no ice-ufrag and ice-pwd"},
		{
			"an HTML page", 200, "<html>", ErrAnswer,
			`its Content-Type is "text/html; charset=utf-8"; expected ` + fragmentType,
		},
		{"too long", 200, strings.Repeat("a=x\r\n", maxBody/5+1), ErrAnswer, "longer than"},
		{"precondition", 412, "", nil, "ICE was restarted in the meantime"},
		{"not implemented", 405, "", nil, "405 Method Not Allowed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			})
			err := s.Restart(t.Context(), ours, candidates)
			var r *Refusal
			if c.want != nil && !errors.Is(err, c.want) || c.want == nil && !errors.As(err, &r) ||
				!strings.HasPrefix(err.Error(), s.URL) || !strings.Contains(err.Error(), c.message) {
				t.Errorf("got %v; want the URL and %q", err, c.message)
			}
			if s.Answer.ICE.Ufrag != "abcd" || s.etag != `"a"` {
				t.Errorf("got %+v, tag %s; want the old ICE session", s.Answer.ICE, s.etag)
			}
		})
	}
}

func TestDelete(t *testing.T) {
	for _, c := range []struct {
		status  int
		message string
	}{{200, ""}, {204, ""}, {404, "404 Not Found: no such session"}} {
		s := open(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodDelete || r.ContentLength > 0 || r.Header.Get("Content-Type") != "" {
				t.Errorf("got %s with %d bytes; want DELETE without a body", r.Method, r.ContentLength)
			}
			w.WriteHeader(c.status)
			if c.message != "" {
				_, _ = io.WriteString(w, "no such session")
			}
		})
		if err := s.Delete(t.Context()); (err == nil) != (c.message == "") ||
			err != nil && !strings.Contains(err.Error(), c.message) {
			t.Errorf("status %d: got %v, want %q", c.status, err, c.message)
		}
	}
}

// TestNoURL has a session that only the peer connection can reach.
func TestNoURL(t *testing.T) {
	s := &Session{client: New(Config{}), Answer: &Answer{Tracks: []rtp.Track{{}}}}
	if err := s.Delete(t.Context()); err != nil {
		t.Errorf("Delete: got %v, want nothing", err)
	}
	for name, err := range map[string]error{
		"Trickle": s.Trickle(t.Context(), ours, nil),
		"Restart": s.Restart(t.Context(), ours, nil),
	} {
		if !errors.Is(err, ErrAnswer) || !strings.Contains(err.Error(), "no URL") {
			t.Errorf("%s: got %v, want %v", name, err, ErrAnswer)
		}
	}
}

// TestTokenInTheClear has a Location by http at a server by https: the token stays at home.
func TestTokenInTheClear(t *testing.T) {
	var seen []string
	plain := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("Authorization"))
	}))
	defer plain.Close()
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		created(w, http.StatusCreated, "Location", plain.URL)
	}))
	defer secure.Close()
	client := New(Config{Role: api.Subscriber, Token: token, Transport: secure.Client().Transport})
	s, err := client.Post(t.Context(), secure.URL, "v=0\r\n")
	if err == nil {
		err = s.Delete(t.Context())
	}
	if err != nil || !slices.Equal(seen, []string{""}) {
		t.Errorf("got %v and tokens %q; want one request without a token", err, seen)
	}
}

func TestICEServers(t *testing.T) {
	for text, want := range map[string][]ICEServer{
		`<stun:stun.example.net>; rel="ice-server"`: {{URL: "stun:stun.example.net"}},
		`<turn:h?transport=udp>; rel="ice-server"; username="user"; credential="a,b;\"c\\"; credential-type="p"`: {
			{URL: "turn:h?transport=udp", Username: "user", Credential: `a,b;"c\`},
		},
		`<stun:a>;rel=ice-server,<turns:b> ; REL = ICE-SERVER ;username=u, <stuns:c>; rel=ice-server`: {
			{URL: "stun:a"}, {URL: "turns:b", Username: "u"}, {URL: "stuns:c"},
		},
		`<https://h/events>; rel="urn:ietf:params:whep:ext:core:server-sent-events"`: nil,
		`<stun:a>`: nil,
		`<https://h/>; rel="ice-server", <stun:b>; x; rel=ice-server`: {{URL: "stun:b"}},
		`<stun:a>; rel="ice-server`:                                   nil, // no closing quote
		`stun:a; rel=ice-server`:                                      nil,
		`<stun:a`:                                                     nil,
		"":                                                            nil,
		strings.Repeat(`<stun:a>; rel=ice-server,`, 100): slices.Repeat([]ICEServer{{URL: "stun:a"}}, maxICEServers),
	} {
		if got := iceServers([]string{text}); !slices.Equal(got, want) {
			t.Errorf("%.200s: got %v, want %v", text, got, want)
		}
	}
}

// The parser reads back all that the server writes.
func TestICEServersRoundTrip(t *testing.T) {
	cfg := iceserver.Config{
		URLs:   []string{"stun:a:3478", "turn:[2001:db8::1]:3478?transport=udp", "turns:c"},
		Secret: `a "quoted" \ secret, with; everything`,
	}
	for range 100 { // credentials have + / = at times
		got := iceServers(cfg.Links(time.Now()))
		if len(got) != 3 || got[0] != (ICEServer{URL: cfg.URLs[0]}) {
			t.Fatalf("got %q", got)
		}
		for i, s := range got[1:] {
			mac := hmac.New(sha1.New, []byte(cfg.Secret))
			mac.Write([]byte(s.Username))
			want := ICEServer{cfg.URLs[i+1], s.Username, base64.StdEncoding.EncodeToString(mac.Sum(nil))}
			if s != want || !regexp.MustCompile(`^[0-9]{10}:[A-Z2-7]{8}$`).MatchString(s.Username) {
				t.Errorf("got %q, want %q", s, want)
			}
		}
	}
}

func FuzzICEServers(f *testing.F) {
	f.Add(`<turn:h?transport=udp>; rel="ice-server"; username="user"; credential="a,b;\"c\\"; credential-type="p"`)
	f.Add(`<stun:a>;rel=ice-server,<turns:b> ; REL = ICE-SERVER ;username=u`)
	f.Fuzz(func(t *testing.T, text string) {
		for _, s := range iceServers([]string{text, text}) {
			if !strings.Contains(s.URL, ":") || !strings.Contains(text, s.URL) {
				t.Errorf("got %q, which %q does not contain", s.URL, text)
			}
		}
	})
}

func FuzzParseFragment(f *testing.F) {
	f.Add([]byte(theirFragment))
	f.Add([]byte(ourFragment))
	f.Fuzz(func(t *testing.T, body []byte) {
		x, err := parseFragment(body)
		switch {
		case err != nil && !errors.Is(err, ErrAnswer):
			t.Errorf("got %v, which does not wrap %v", err, ErrAnswer)
		case err == nil && (x.ice.Ufrag == "" || x.ice.Password == "" || len(x.candidates) > maxCandidates):
			t.Errorf("accepted %+v", x)
		}
	})
}
