// Package scale tests the cost of many viewers to a server in its own process.
package scale

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/pion/dtls/v3"

	"ringcast/engine/srtp/ctr"
	"ringcast/engine/srtp/gcm"
	"ringcast/testenv"
	"ringcast/testenv/peer"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// usage is a server's memory after a forced collection.
type usage struct {
	heap, stacks, goroutines float64
}

var (
	heapLine  = regexp.MustCompile(`(?m)^# HeapAlloc = (\d+)`)
	stackLine = regexp.MustCompile(`(?m)^# Stack = (\d+)`)
)

func measure(t *testing.T, s *testenv.Server) usage {
	t.Helper()
	var text string
	// The second collection frees memory with finalizers, which the first one runs.
	for range 2 {
		res, err := s.Get(t.Context(), "/debug/pprof/heap?gc=1&debug=1")
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		text = string(b)
	}
	number := func(r *regexp.Regexp) float64 {
		m := r.FindStringSubmatch(text)
		if m == nil {
			t.Fatalf("no %v in the profile", r)
		}
		n, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return usage{heap: number(heapLine), stacks: number(stackLine), goroutines: s.Metrics(t)["go_goroutines"]}
}

// From 100 to 500 connected viewers, with their HTTP connections closed, a viewer costs little live heap and stack, and
// no goroutine. It is 4 KB at most where sealing works in assembly; the standard library's AEADs take more. The
// viewers' offer is Chromium's. In DTLS they offer one profile.
func TestMemoryPerViewer(t *testing.T) {
	budget := 4096.0
	if gcm.Kernel() == "standard" {
		budget = 6144
	}
	t.Run("GCM", func(t *testing.T) { testMemoryPerViewer(t, dtls.SRTP_AEAD_AES_128_GCM, budget) })
	budget = 4096
	if !ctr.Accelerated() {
		budget = 4608 // a block cipher of the standard library
	}
	t.Run("CM", func(t *testing.T) { testMemoryPerViewer(t, dtls.SRTP_AES128_CM_HMAC_SHA1_80, budget) })
}

func testMemoryPerViewer(t *testing.T, profile dtls.SRTPProtectionProfile, budget float64) {
	const few, many = 100, 500
	c := &crowd{
		profile: profile,
		server:  testenv.StartServer(t, testenv.ServerOptions{Workers: 2, LogLevel: "error"}),
		web:     &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
	}
	c.connect(t, "/whip/memory", "../../signaling/testdata/chromium-offer-sendonly.sdp")
	c.awaitStream(t)
	a := c.grow(t, few)
	b := c.grow(t, many)
	heap, stacks := (b.heap-a.heap)/(many-few), (b.stacks-a.stacks)/(many-few)
	t.Logf("from %d to %d viewers: %.0f bytes of heap and %.0f of stacks each; %.0f goroutines, then %.0f",
		few, many, heap, stacks, a.goroutines, b.goroutines)
	if heap+stacks > budget {
		t.Errorf("%.0f bytes a viewer, want at most %.0f", heap+stacks, budget)
	}
	if d := b.goroutines - a.goroutines; d >= 20 {
		t.Errorf("%.0f goroutines more, want less than 20", d)
	}
}

// A crowd is a server and its viewers.
type crowd struct {
	profile dtls.SRTPProtectionProfile
	server  *testenv.Server
	web     *http.Client
	viewers []*peer.Peer
}

// awaitStream waits until the stream is live. The publisher has its keys before the server has announced the stream to
// all workers.
func (c *crowd) awaitStream(t testing.TB) {
	t.Helper()
	for giveUp := time.Now().Add(time.Minute); c.server.Metrics(t)["ringcast_streams"] < 1; {
		if time.Now().After(giveUp) {
			t.Fatal("the stream did not go live")
		}
	}
}

// connect connects a peer with the offer in a file.
func (c *crowd) connect(t testing.TB, path, file string) *peer.Peer {
	t.Helper()
	offer, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p, err := peer.New(peer.Config{Profiles: []dtls.SRTPProtectionProfile{c.profile}}, netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	local, _, err := p.Post(ctx, c.web, c.server.URL+path, string(offer))
	if err == nil {
		err = p.Connect(ctx, local)
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// grow connects viewers until there are n, and measures.
func (c *crowd) grow(t *testing.T, n int) usage {
	t.Helper()
	for len(c.viewers) < n {
		v := c.connect(t, "/whep/memory", "../../signaling/testdata/chromium-offer-recvonly.sdp")
		c.viewers = append(c.viewers, v)
	}
	// Handshakes end, connections close, early packets and last flights go. By then all viewers have sent an
	// authenticated packet.
	for _, v := range c.viewers {
		if err := v.SendRTCP([]byte{0x80, 201, 0, 1, 0, 0, 0, 1}); err != nil {
			t.Fatal(err)
		}
	}
	state := `ringcast_sessions{role="subscriber",state="connected"}`
	deadline := time.Now().Add(time.Minute)
	for m := c.server.Metrics(t); m[state] < float64(n) || m["ringcast_dtls_handshakes_in_flight"] > 0; {
		if time.Now().After(deadline) {
			t.Fatalf("%v of %d viewers connected", m[state], n)
		}
		m = c.server.Metrics(t)
	}
	u := measure(t, c.server)
	keep(t, c.server, n)
	return u
}

// keep writes the server's heap profile to a file, if RINGCAST_HEAP names one. The difference of two shows a viewer's
// memory: run GODEBUG=memprofilerate=1 RINGCAST_HEAP=heap go test ./testenv/scale, then go tool pprof -top -base
// heap.100 heap.500.
func keep(t *testing.T, s *testenv.Server, viewers int) {
	t.Helper()
	path := os.Getenv("RINGCAST_HEAP")
	if path == "" {
		return
	}
	res, err := s.Get(t.Context(), "/debug/pprof/heap?gc=1")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err == nil {
		err = os.WriteFile(fmt.Sprintf("%s.%d", path, viewers), data, 0o600)
	}
	if err != nil {
		t.Error(err)
	}
}
