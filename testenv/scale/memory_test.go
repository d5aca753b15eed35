// Package scale holds tests of what many viewers cost a server in its own process.
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

	"ringcast/engine/srtp/gcm"
	"ringcast/testenv"
	"ringcast/testenv/peer"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// usage is what a server holds after a forced collection.
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
	// Twice: what the first collection finalizes, the second frees.
	for range 2 {
		res, err := http.Get(s.Admin + "/debug/pprof/heap?gc=1&debug=1")
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

// From 100 to 500 connected viewers, their HTTP connections closed, a viewer costs little live heap and
// stack, and no goroutine: 4 KB at most where sealing works in assembly. The standard library's AEADs
// take more. The viewers offer what Chromium offers.
func TestMemoryPerViewer(t *testing.T) {
	const few, many = 100, 500
	budget := 4096.0
	if !gcm.Accelerated() {
		budget = 6144
	}
	offer, err := os.ReadFile("../../signaling/testdata/chromium-offer-recvonly.sdp")
	if err != nil {
		t.Fatal(err)
	}
	publish, err := os.ReadFile("../../signaling/testdata/chromium-offer-sendonly.sdp")
	if err != nil {
		t.Fatal(err)
	}
	s := testenv.StartServer(t, testenv.ServerOptions{Workers: 2, LogLevel: "error"})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	loopback := netip.MustParseAddr("127.0.0.1")
	connect := func(url string, offer []byte) *peer.Peer {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		p, err := peer.New(peer.Config{}, loopback)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Close)
		local, _, err := p.Post(ctx, client, url, string(offer))
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Connect(ctx, local); err != nil {
			t.Fatal(err)
		}
		return p
	}
	connect(s.URL+"/whip/memory", publish)
	// The publisher has its keys before the server has told everybody that it is live.
	for giveUp := time.Now().Add(time.Minute); s.Metrics(t)["ringcast_streams"] < 1; {
		if time.Now().After(giveUp) {
			t.Fatal("the stream did not go live")
		}
	}
	var viewers []*peer.Peer
	grow := func(n int) usage {
		for len(viewers) < n {
			viewers = append(viewers, connect(s.URL+"/whep/memory", offer))
		}
		// Handshakes end, connections close, early packets and last flights go: all viewers
		// have sent something authenticated by then.
		for _, v := range viewers {
			if err := v.SendRTCP([]byte{0x80, 201, 0, 1, 0, 0, 0, 1}); err != nil {
				t.Fatal(err)
			}
		}
		state := `ringcast_sessions{role="subscriber",state="connected"}`
		deadline := time.Now().Add(time.Minute)
		for s.Metrics(t)[state] < float64(n) || s.Metrics(t)["ringcast_dtls_handshakes_in_flight"] > 0 {
			if time.Now().After(deadline) {
				t.Fatalf("%v of %d viewers connected", s.Metrics(t)[state], n)
			}
		}
		u := measure(t, s)
		keep(t, s, n)
		return u
	}
	a := grow(few)
	b := grow(many)
	heap, stacks := (b.heap-a.heap)/(many-few), (b.stacks-a.stacks)/(many-few)
	t.Logf("from %d to %d viewers: %.0f bytes of heap and %.0f of stacks each; %.0f goroutines, then %.0f",
		few, many, heap, stacks, a.goroutines, b.goroutines)
	if heap+stacks > budget {
		t.Errorf("%.0f bytes a viewer, more than %.0f", heap+stacks, budget)
	}
	if d := b.goroutines - a.goroutines; d >= 20 {
		t.Errorf("%.0f goroutines more", d)
	}
}

// keep writes the server's heap profile to a file, if RINGCAST_HEAP names one; its difference names what
// a viewer holds: GODEBUG=memprofilerate=1 RINGCAST_HEAP=/tmp/heap go test ./testenv/scale, then
// go tool pprof -top -base /tmp/heap.100 /tmp/heap.500.
func keep(t *testing.T, s *testenv.Server, viewers int) {
	t.Helper()
	path := os.Getenv("RINGCAST_HEAP")
	if path == "" {
		return
	}
	res, err := http.Get(s.Admin + "/debug/pprof/heap?gc=1")
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
