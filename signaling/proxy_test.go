package signaling

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
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
		{"a client that names a proxy", "10.0.0.1:1000", []string{"203.0.113.9, 10.0.0.2, 198.51.100.7"}, "198.51.100.7"},
		{"a client inside", "10.0.0.1:1000", []string{"10.0.0.9, 10.0.0.2"}, "10.0.0.9"},
		{"with a port", "10.0.0.1:1000", []string{"198.51.100.7:55000"}, "198.51.100.7"},
		{"IPv6 with a port", "10.0.0.1:1000", []string{"[2001:db8::7]:55000"}, "2001:db8::7"},
		{"IPv6 in brackets", "10.0.0.1:1000", []string{"[2001:db8::7]"}, "2001:db8::7"},
		{"with a zone", "10.0.0.1:1000", []string{"fe80::7%eth0"}, "fe80::7"},
		{"spaces and empty elements", "10.0.0.1:1000", []string{" ,198.51.100.7 ,\t, "}, "198.51.100.7"},
		{"an empty line", "10.0.0.1:1000", []string{""}, "10.0.0.1"},
		{"no address", "10.0.0.1:1000", []string{"198.51.100.7, unknown"}, "10.0.0.1"},
		{"no address beyond a proxy", "10.0.0.1:1000", []string{"198.51.100.7, _hidden, 10.0.0.2"}, "10.0.0.2"},
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

// FuzzSource writes anything into X-Forwarded-For. The source must be an address that stands there after
// the last one that no trusted proxy wrote, or the peer.
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
			if !ok || !p.trust(hops[len(hops)-1]) {
				break
			}
			hops = append(hops, hop)
		}
		if want := hops[len(hops)-1]; got != want {
			t.Errorf("source %v, want %v", got, want)
		}
	})
}
