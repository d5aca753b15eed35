package e2e

import (
	"context"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"ringcast/engine/rtp"
	"ringcast/testenv"
	"ringcast/testenv/peer"
)

// The publisher is lost and nobody takes the stream up: viewers stay for the grace time, whose end is told
// to each by close_notify, and not before.
func TestGraceEnds(t *testing.T) {
	const viewers, grace, slack = 5, 3 * time.Second, 2 * time.Second
	watch, err := os.ReadFile("../../signaling/testdata/chromium-offer-recvonly.sdp")
	must(t, err)
	publish, err := os.ReadFile("../../signaling/testdata/chromium-offer-sendonly.sdp")
	must(t, err)
	s := testenv.StartServer(t, testenv.ServerOptions{Workers: 2, Args: []string{"--grace", grace.String()}})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	connect := func(path, offer string) (p *peer.Peer, location string) {
		t.Helper()
		p, err := peer.New(peer.Config{}, netip.MustParseAddr("127.0.0.1"))
		must(t, err)
		t.Cleanup(p.Close)
		ctx := deadline(t, 20*time.Second)
		local, location, err := p.Post(ctx, client, s.URL+path, offer)
		must(t, err)
		must(t, p.Connect(ctx, local))
		return p, location
	}
	pub, location := connect("/whip/grace", withVideoSSRC(t, string(publish)))
	for ctx := deadline(t, 10*time.Second); s.Metrics(t)["ringcast_streams"] != 1; let(t, 5*time.Millisecond) {
		must(t, ctx.Err())
	}
	for n := uint64(1); n <= 30; n++ {
		must(t, pub.SendRTP(peer.Packet(n, 500), rtp.HeaderLen, n))
	}
	var all []*peer.Peer
	for range viewers {
		p, _ := connect("/whep/grace", string(watch))
		all = append(all, p)
	}
	state := `ringcast_sessions{role="subscriber",state="connected"}`
	for ctx := deadline(t, 10*time.Second); s.Metrics(t)[state] != viewers; let(t, 5*time.Millisecond) {
		must(t, ctx.Err())
	}

	request, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, s.URL+location, nil)
	must(t, err)
	answer, err := client.Do(request)
	must(t, err)
	answer.Body.Close()
	lost := time.Now()
	after := make([]time.Duration, viewers)
	ctx, cancel := context.WithTimeout(t.Context(), grace+slack+5*time.Second)
	defer cancel()
	var waiting sync.WaitGroup
	for i, p := range all {
		waiting.Go(func() {
			if err := p.AwaitClose(ctx); err != nil {
				t.Errorf("viewer %d was not told goodbye: %v", i, err)
			}
			after[i] = time.Since(lost)
		})
	}
	waiting.Wait()
	t.Logf("close_notify after %v, grace %v", after, grace)
	for i, d := range after {
		if d < grace || d > grace+slack {
			t.Errorf("viewer %d was told goodbye after %v; expected after %v", i, d, grace)
		}
	}
	for ctx := deadline(t, 10*time.Second); s.Metrics(t).Sum("ringcast_sessions") != 0; let(t, 5*time.Millisecond) {
		must(t, ctx.Err())
	}
}
