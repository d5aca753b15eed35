package e2e

import (
	"sync"
	"testing"
	"time"

	"ringcast/engine/rtp"
	"ringcast/testenv"
	"ringcast/testenv/peer"
)

// The publisher is lost and nobody takes the stream up: viewers stay for the grace time. Each is told its end by
// close_notify, and not before.
func TestGraceEnds(t *testing.T) {
	const viewers, grace = 5, 3 * time.Second
	s := testenv.StartServer(t, testenv.ServerOptions{Workers: 2, Args: []string{"--grace", grace.String()}})
	peers := newLightPeers(t, s)
	pub, session := peers.connectPublisher("grace")
	for n := uint64(1); n <= 30; n++ {
		must(t, pub.SendRTP(peer.Packet(n, 500), rtp.HeaderLen, n))
	}
	var all []*peer.Peer
	for range viewers {
		p, _ := peers.connect("/whep/grace", peers.watch)
		all = append(all, p)
	}
	peers.awaitMetric(`ringcast_sessions{role="subscriber",state="connected"}`, viewers)

	lost := time.Now()
	must(t, session.Delete(t.Context()))
	after := make([]time.Duration, viewers)
	ctx := deadline(t, patience)
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
		if d < grace {
			t.Errorf("viewer %d was told goodbye after %v, want after %v", i, d, grace)
		}
	}
	peers.awaitMetric(`ringcast_sessions{role="subscriber",state="connected"}`, 0)
}
