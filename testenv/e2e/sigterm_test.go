package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ringcast/engine/rtp"
	"ringcast/testenv"
	"ringcast/testenv/peer"
)

// keepSending sends a publisher's frames of one packet each until stop.
func keepSending(t *testing.T, pub *peer.Peer, frameTime time.Duration, frameSize int) (stop func()) {
	sending, cancel := context.WithCancel(t.Context())
	var sender sync.WaitGroup
	sender.Go(func() {
		tick := time.NewTicker(frameTime)
		defer tick.Stop()
		for n := uint64(1); sending.Err() == nil; n++ {
			// Errors are those of a server that is gone.
			_ = pub.SendRTP(peer.Packet(n, frameSize), rtp.HeaderLen, n)
			<-tick.C
		}
	})
	return func() {
		cancel()
		sender.Wait()
	}
}

// allReceive waits until each of a crowd receives media.
func allReceive(t *testing.T, crowd []*peer.Peer) {
	t.Helper()
	for i, p := range crowd {
		for giveUp := time.Now().Add(patience); ; let(t, 10*time.Millisecond) {
			received, refused := p.Counts()
			if refused > 0 {
				t.Fatalf("viewer %d could not open %d packets", i, refused)
			}
			if received > 0 {
				break
			}
			if time.Now().After(giveUp) {
				t.Fatalf("viewer %d receives nothing", i)
			}
		}
	}
}

// A goodbye is a peer's close_notify, or the error in place of it.
type goodbye struct {
	who string
	err error
	at  time.Time
}

// gather holds that every peer got a close_notify. goodbyes has room for one of each peer.
func gather(t *testing.T, goodbyes <-chan goodbye, began time.Time) {
	t.Helper()
	var after []time.Duration
	var without []string
	for range cap(goodbyes) {
		if g := <-goodbyes; g.err != nil {
			without = append(without, fmt.Sprintf("%s: %v", g.who, g.err))
		} else {
			after = append(after, g.at.Sub(began))
		}
	}
	if len(without) > 0 {
		t.Errorf("%d got no close_notify, such as %s", len(without), without[0])
	}
	if len(after) > 0 {
		slices.Sort(after)
		t.Logf("%d of %d close_notify, the first after %v, the last after %v", len(after), cap(goodbyes),
			after[0].Round(time.Millisecond), after[len(after)-1].Round(time.Millisecond))
	}
}

// SIGTERM while a crowd watches: every viewer gets a close_notify, and the process ends by itself with status 0. In the
// meantime the admin listener reports that it is not ready any more.
func TestSIGTERM(t *testing.T) {
	const (
		viewers   = 200
		frameTime = time.Second / 30
		frameSize = 1000
	)
	s := testenv.StartServer(t, testenv.ServerOptions{Workers: 2})
	peers := newLightPeers(t, s)
	pub, _ := peers.connectPublisher("crowd")
	stopSending := keepSending(t, pub, frameTime, frameSize)
	defer stopSending()
	var crowd []*peer.Peer
	for range viewers {
		p, _ := peers.connect("/whep/crowd", peers.watch)
		crowd = append(crowd, p)
	}
	allReceive(t, crowd)

	goodbyes := make(chan goodbye, viewers+1)
	ctx := deadline(t, patience)
	for i, p := range append(crowd, pub) {
		who := fmt.Sprintf("viewer %d", i)
		if p == pub {
			who = "the publisher"
		}
		go func() {
			err := p.AwaitClose(ctx)
			goodbyes <- goodbye{who, err, time.Now()}
		}()
	}
	ready := watchReady(t, s)
	began := time.Now()
	if err := s.Stop(); err != nil {
		t.Errorf("the server ended with %v, want status 0", err)
	}
	took := time.Since(began)
	stopSending()

	gather(t, goodbyes, began)
	t.Logf("the process ended after %v; /readyz said %s", took.Round(time.Millisecond), ready())
	for _, bad := range []string{"level=ERROR", "level=WARN", "goroutine "} {
		if strings.Contains(s.Log(), bad) {
			t.Errorf("the log has %q", bad)
		}
	}
}

var fidGroup = regexp.MustCompile(`a=ssrc-group:FID (\d+) `)

// withVideoSSRC makes an offer's video the light peer's.
func withVideoSSRC(t *testing.T, offer string) string {
	t.Helper()
	m := fidGroup.FindStringSubmatch(offer)
	if m == nil {
		t.Fatal("the offer has no a=ssrc-group:FID")
	}
	return strings.ReplaceAll(offer, m[1], fmt.Sprint(peer.VideoSSRC))
}

// watchReady asks /readyz all the time. The result stops that and tells the answers in their order, and
// fails the test if any is 200 after another was not.
func watchReady(t *testing.T, s *testenv.Server) (stop func() string) {
	t.Helper()
	type run struct {
		answer string
		n      int
	}
	var runs []run
	ctx, cancel := context.WithCancel(t.Context())
	ask := func() string {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Admin+"/readyz", nil)
		if err != nil {
			return err.Error()
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return "nothing"
		}
		resp.Body.Close()
		return fmt.Sprint(resp.StatusCode)
	}
	var asking sync.WaitGroup
	first := make(chan struct{})
	asking.Go(func() {
		for ctx.Err() == nil {
			answer := ask()
			switch n := len(runs); {
			case errors.Is(ctx.Err(), context.Canceled):
			case n > 0 && runs[n-1].answer == answer:
				runs[n-1].n++
			default:
				runs = append(runs, run{answer, 1})
				if n == 0 {
					close(first)
				}
			}
			select {
			case <-ctx.Done():
			case <-time.After(2 * time.Millisecond):
			}
		}
	})
	select {
	case <-first:
	case <-deadline(t, patience).Done():
		t.Fatal("/readyz does not answer")
	}
	return func() string {
		cancel()
		asking.Wait()
		var said []string
		for i, r := range runs {
			said = append(said, fmt.Sprintf("%s (%d times)", r.answer, r.n))
			if (r.answer == "200") != (i == 0) {
				t.Errorf("/readyz said %s after %d other answers", r.answer, i)
			}
		}
		return strings.Join(said, ", ")
	}
}
