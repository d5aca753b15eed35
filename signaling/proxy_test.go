package signaling

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
)

var trustedNetworks = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:1::/48")}

func TestSource(t *testing.T) {
	for _, tt := range []struct {
		name, peer string
		forwarded  []string // one value for each header line
		want       string   // "" is unknown
	}{
		{"no proxy", "192.0.2.1:1000", nil, "192.0.2.1"},
		{"a stranger's header", "192.0.2.1:1000", []string{"198.51.100.7"}, "192.0.2.1"},
		{"a proxy that says nothing", "10.0.0.1:1000", nil, "10.0.0.1"},
		{"a proxy", "10.0.0.1:1000", []string{"198.51.100.7"}, "198.51.100.7"},
		{"a proxy over IPv6", "[2001:db8:1::1]:1000", []string{"2001:db8:2::7"}, "2001:db8:2::7"},
		{"a mapped proxy", "[::ffff:10.0.0.1]:1000", []string{"::ffff:198.51.100.7"}, "198.51.100.7"},
		{"a link-local peer", "[fe80::1%eth0]:1000", []string{"198.51.100.7"}, "fe80::1"},
		{"the client's own words", "10.0.0.1:1000", []string{"203.0.113.9, 198.51.100.7"}, "198.51.100.7"},
		{"the client's own line", "10.0.0.1:1000", []string{"203.0.113.9", "198.51.100.7"}, "198.51.100.7"},
		{"two proxies", "10.0.0.1:1000", []string{"203.0.113.9, 198.51.100.7, 10.0.0.2"}, "198.51.100.7"},
		{"two proxies, two lines", "10.0.0.1:1000", []string{"203.0.113.9, 198.51.100.7", "10.0.0.2"}, "198.51.100.7"},
		{
			"a client that names a proxy", "10.0.0.1:1000",
			[]string{"203.0.113.9, 10.0.0.2, 198.51.100.7"},
			"198.51.100.7",
		},
		{"a client inside", "10.0.0.1:1000", []string{"10.0.0.9, 10.0.0.2"}, "10.0.0.9"},
		{"with a port", "10.0.0.1:1000", []string{"198.51.100.7:55000"}, "198.51.100.7"},
		{"IPv6 with a port", "10.0.0.1:1000", []string{"[2001:db8::7]:55000"}, "2001:db8::7"},
		{"IPv6 in brackets", "10.0.0.1:1000", []string{"[2001:db8::7]"}, "2001:db8::7"},
		{"with a zone", "10.0.0.1:1000", []string{"fe80::7%eth0"}, "fe80::7"},
		{"spaces and empty elements", "10.0.0.1:1000", []string{" ,198.51.100.7 ,\t, "}, "198.51.100.7"},
		{"an empty line", "10.0.0.1:1000", []string{""}, "10.0.0.1"},
		{"no address", "10.0.0.1:1000", []string{"198.51.100.7, unknown"}, "::"},
		{"no address beyond a proxy", "10.0.0.1:1000", []string{"198.51.100.7, _hidden, 10.0.0.2"}, "::"},
		{"a pipe", "pipe", []string{"198.51.100.7"}, ""},
		{"nothing", "", nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &http.Request{RemoteAddr: tt.peer, Header: http.Header{"X-Forwarded-For": tt.forwarded}}
			var want netip.Addr
			if tt.want != "" {
				want = netip.MustParseAddr(tt.want)
			}
			if got := proxies(trustedNetworks).source(r); got != want {
				t.Errorf("source %v, want %v", got, want)
			}
		})
	}
}

// The engine's limits and the log get the client's address, not the proxy's.
func TestSourceIsUsed(t *testing.T) {
	var log bytes.Buffer
	b := newBench(t, Config{
		TrustedProxies: trustedNetworks,
		Log:            slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	ask := func(method, path, body, mediaType string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.RemoteAddr = "10.0.0.1:1000"
		r.Header.Set("X-Forwarded-For", "198.51.100.7")
		r.Header.Set("Content-Type", mediaType)
		r.Header.Set("If-Match", "*")
		w := httptest.NewRecorder()
		b.http.ServeHTTP(w, r)
		return w
	}
	w := ask(http.MethodPost, "/whip/room", fixture(t, obs), sdpType)
	if got, want := b.engine.lastPeer().Source, netip.MustParseAddr("198.51.100.7"); got != want {
		t.Errorf("the engine was told source %v, want %v", got, want)
	}
	ask(http.MethodPatch, w.Header().Get("Location"), secondICE+audioPart, fragmentType)
	if got, want := b.engine.restartSource, netip.MustParseAddr("198.51.100.7"); got != want {
		t.Errorf("the engine was told source %v of the restart, want %v", got, want)
	}
	ask(http.MethodGet, "/nothing", "", "")
	b.server.rand = strings.NewReader("")
	ask(http.MethodPost, "/whip/room", fixture(t, obs), sdpType)
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	for _, want := range []string{"session opened", "ICE restarted", "request refused", "request failed"} {
		i := slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, `msg="`+want+`"`) })
		if i < 0 || !strings.Contains(lines[i], "source=198.51.100.7") || strings.Contains(lines[i], "10.0.0.1") {
			t.Errorf("no line of %q with source=198.51.100.7 alone:\n%s", want, log.String())
		}
	}
}

// FuzzSource writes anything into X-Forwarded-For. The source must be the peer, or an address that stands there after
// the last one that no trusted proxy wrote. It is "::" where a proxy writes none.
func FuzzSource(f *testing.F) {
	for _, seed := range []string{
		"198.51.100.7", "203.0.113.9, 198.51.100.7, 10.0.0.2", "198.51.100.7:55000", "[2001:db8::7]:55000, 10.0.0.2",
		"unknown", "_hidden, 10.0.0.2", "::ffff:10.0.0.3", "fe80::7%eth0", " ,\t,", "10.0.0.9, 10.0.0.2\n198.51.100.7",
	} {
		f.Add("10.0.0.1:1000", seed)
		f.Add("192.0.2.1:1000", seed)
	}
	f.Fuzz(func(t *testing.T, peer, lines string) {
		p := proxies(trustedNetworks)
		r := &http.Request{RemoteAddr: peer, Header: http.Header{"X-Forwarded-For": strings.Split(lines, "\n")}}
		got := p.source(r)
		if got.Is4In6() || got.Zone() != "" {
			t.Errorf("source %v is mapped or has a zone", got)
		}
		from, _ := parseHop(peer)
		if !p.trust(from) {
			if got != from {
				t.Errorf("source %v of an untrusted peer %v", got, from)
			}
			return
		}
		// Right of the source stand proxies only, and nothing that is no address.
		hops := []netip.Addr{from}
		elements := strings.FieldsFunc(lines, func(c rune) bool { return c == ',' || c == '\n' })
		for _, text := range slices.Backward(elements) {
			if text = strings.TrimSpace(text); text == "" {
				continue
			}
			hop, ok := parseHop(text)
			if !p.trust(hops[len(hops)-1]) {
				break
			}
			if !ok {
				hops = append(hops, netip.IPv6Unspecified())
				break
			}
			hops = append(hops, hop)
		}
		if want := hops[len(hops)-1]; got != want {
			t.Errorf("source %v, want %v", got, want)
		}
	})
}

func TestParseBase(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "/": "", "/cast": "/cast", "/cast/": "/cast", "/tv/cast": "/tv/cast", "/a.b_c~d-1": "/a.b_c~d-1",
		"/castle/whip": "/castle/whip",
		"/" + strings.Repeat("a", 128) + "/" + strings.Repeat("b", 126): "/" + strings.Repeat("a", 128) + "/" +
			strings.Repeat("b", 126),
	} {
		if got, err := ParseBase(text); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
	for _, text := range []string{
		"cast", "//evil.example", "/a//b", "/cast//", "/..", "/a/../b", "/./a", "/a b", "/a%2Fb", "/a?b", "/a#b",
		"/a\\b", "/a\r\nb", "/é",
		"https://example.org/cast", "/whip", "/whep/a", "/streams",
		"/" + strings.Repeat("a", 128) + "/" + strings.Repeat("b", 127),
	} {
		if got, err := ParseBase(text); err == nil || !strings.Contains(err.Error(), "a path such as /cast expected") {
			t.Errorf("%q: %q, %v; want an error that says what is expected", text, got, err)
		}
	}
}

func TestPrefix(t *testing.T) {
	const proxy, stranger = "10.0.0.1:1000", "192.0.2.1:1000"
	for _, tt := range []struct {
		name, base, peer string
		headers          []string
		path, location   string // where an offer goes, and where the session is
	}{
		{"no base", "", stranger, nil, "/whip/room", "/whip/room/"},
		{"a base that the proxy leaves", "/cast", stranger, nil, "/cast/whip/room", "/cast/whip/room/"},
		{"a base that the proxy takes off", "/cast", stranger, nil, "/whip/room", "/cast/whip/room/"},
		{"a prefix that the proxy takes off", "", proxy, []string{"/cast"}, "/whip/room", "/cast/whip/room/"},
		{"a prefix that the proxy leaves", "", proxy, []string{"/cast/"}, "/cast/whip/room", "/cast/whip/room/"},
		{"two proxies", "", proxy, []string{"/tv", "/cast"}, "/whip/room", "/tv/cast/whip/room/"},
		{"two proxies in one line", "", proxy, []string{"/tv, /cast"}, "/whip/room", "/tv/cast/whip/room/"},
		{"the root", "", proxy, []string{"/"}, "/whip/room", "/whip/room/"},
		{"a prefix instead of the base", "/old", proxy, []string{"/cast"}, "/whip/room", "/cast/whip/room/"},
		{"an empty prefix beside a base", "/cast", proxy, []string{""}, "/whip/room", "/cast/whip/room/"},
		{"empty elements beside a base", "/cast", proxy, []string{" ,", ""}, "/cast/whip/room", "/cast/whip/room/"},
		{"the root beside a base", "/cast", proxy, []string{"/"}, "/whip/room", "/whip/room/"},
		{"a stranger's prefix", "/cast", stranger, []string{"/evil"}, "/whip/room", "/cast/whip/room/"},
		{"a stranger's nonsense", "", stranger, []string{"//evil.example"}, "/whip/room", "/whip/room/"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, Config{Base: tt.base, TrustedProxies: trustedNetworks})
			r := httptest.NewRequest(http.MethodPost, tt.path, strings.NewReader(fixture(t, obs)))
			r.RemoteAddr = tt.peer
			r.Header.Set("Content-Type", sdpType)
			r.Header["X-Forwarded-Prefix"] = tt.headers
			w := httptest.NewRecorder()
			b.http.ServeHTTP(w, r)
			location := w.Header().Get("Location")
			if rest, ok := strings.CutPrefix(location, tt.location); w.Code != http.StatusCreated || !ok ||
				strings.Contains(rest, "/") {
				t.Errorf("status %d, Location %q; want 201 and a session below %s: %s", w.Code, location, tt.location,
					w.Body)
			}
		})
	}
	b := newBench(t, Config{TrustedProxies: trustedNetworks})
	for _, nonsense := range []string{"//evil.example", "cast", "/whip", "/a/../b", "/" + strings.Repeat("a", 300)} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = proxy
		r.Header.Set("X-Forwarded-Prefix", nonsense)
		w := httptest.NewRecorder()
		b.http.ServeHTTP(w, r)
		checkProblem(t, w, http.StatusBadRequest, "a path such as /cast expected")
	}
}

// FuzzPrefix lets a trusted proxy write anything into X-Forwarded-Prefix. The Location must stay a path of
// this host that leads back to the session.
func FuzzPrefix(f *testing.F) {
	for _, seed := range []string{
		"/cast", "/cast/", "/tv, /cast", "/tv\n/cast", "/", "", "//evil.example", "/..", "https://example.org/",
		"/whip", "/a%2Fb", "/\\evil.example",
		"/cast, //evil.example", ",", "/é", "/a\tb",
	} {
		f.Add(seed, "/cast/whip/room")
		f.Add(seed, "/whip/room")
	}
	offer := fixture(f, obs)
	f.Fuzz(func(t *testing.T, prefix, path string) {
		b := newBench(t, Config{TrustedProxies: trustedNetworks})
		ask := func(method, path, body string) *httptest.ResponseRecorder {
			r := httptest.NewRequest(method, "/", strings.NewReader(body))
			r.URL.Path, r.RemoteAddr = path, "10.0.0.1:1000"
			r.Header.Set("Content-Type", sdpType)
			r.Header["X-Forwarded-Prefix"] = strings.Split(prefix, "\n")
			w := httptest.NewRecorder()
			b.http.ServeHTTP(w, r)
			return w
		}
		w := ask(http.MethodPost, path, offer)
		location := w.Header().Get("Location")
		if w.Code != http.StatusCreated {
			if location != "" {
				t.Errorf("status %d with Location %q", w.Code, location)
			}
			checkProblem(t, w, w.Code, "")
			return
		}
		to, err := url.Parse(location)
		if err != nil || to.Host != "" || to.Scheme != "" || to.RawQuery != "" || !strings.HasPrefix(location, "/") ||
			to.Path != location {
			t.Errorf("Location %q leads away: %+v, %v", location, to, err)
		}
		if w := ask(http.MethodDelete, location, ""); w.Code != http.StatusOK {
			t.Errorf("DELETE %q: status %d, want 200: %s", location, w.Code, w.Body)
		}
	})
}

// A whole session through Go's reverse proxy, which either takes the prefix off or leaves it, by the Location
// as a browser resolves it.
func TestReverseProxy(t *testing.T) {
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	for _, tt := range []struct {
		name    string
		cfg     Config
		rewrite func(*httputil.ProxyRequest)
	}{
		{"takes the base off", Config{Base: "/cast"}, func(r *httputil.ProxyRequest) {
			r.Out.URL.Path = strings.TrimPrefix(r.In.URL.Path, "/cast")
		}},
		{"leaves the base", Config{Base: "/cast"}, func(*httputil.ProxyRequest) {}},
		{"tells the prefix", Config{TrustedProxies: loopback}, func(r *httputil.ProxyRequest) {
			r.Out.URL.Path = strings.TrimPrefix(r.In.URL.Path, "/cast")
			r.Out.Header.Set("X-Forwarded-Prefix", "/cast")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, tt.cfg)
			server := httptest.NewServer(b.http)
			defer server.Close()
			to, err := url.Parse(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
				r.SetURL(to)
				tt.rewrite(r)
				r.SetXForwarded()
			}})
			defer proxy.Close()
			ask := func(method, address, body, mediaType string) *http.Response {
				t.Helper()
				r, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Content-Type", mediaType)
				r.Header.Set("If-Match", "*")
				w, err := proxy.Client().Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer w.Body.Close()
				if _, err := io.Copy(io.Discard, w.Body); err != nil {
					t.Fatal(err)
				}
				return w
			}
			opened := ask(http.MethodPost, proxy.URL+"/cast/whip/room", fixture(t, obs), sdpType)
			session, err := opened.Location() // resolved against the URL that was asked
			if err != nil || opened.StatusCode != http.StatusCreated ||
				!strings.HasPrefix(session.String(), proxy.URL+"/cast/whip/room/") {
				t.Fatalf("POST: status %d, Location %v, %v", opened.StatusCode, session, err)
			}
			for _, step := range []struct {
				method, url, body string
				status            int
			}{
				{http.MethodPatch, session.String(), secondICE + audioPart, 200},
				{http.MethodHead, session.String(), "", 204},
				{http.MethodDelete, session.String(), "", 200},
				{http.MethodDelete, session.String(), "", 404},
				{http.MethodGet, proxy.URL + "/cast/", "", 200},
				{http.MethodGet, proxy.URL + "/cast/streams", "", 200},
			} {
				if got := ask(step.method, step.url, step.body, fragmentType); got.StatusCode != step.status {
					t.Errorf("%s %s: status %d, want %d", step.method, step.url, got.StatusCode, step.status)
				}
			}
		})
	}
}
