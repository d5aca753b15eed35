package attack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ringcast/testenv"
	"ringcast/testenv/peer"
)

// 10,000 offers come at once to a server in its own process, by 2,000 connections. Each is answered: with a session as
// long as there is room for pending ones, then with 503 and Retry-After. Viewers lose no packet. The cost to the media
// is the server's own measure, from a packet's arrival to its first viewer's frame. The pauses at the viewers include
// those of this process, which makes the stampede.
func TestPOSTStampede(t *testing.T) {
	const posts, limit, viewers = 10_000 / testenv.Slowdown, 1000 / testenv.Slowdown, 5
	const connections = 2000 / testenv.Slowdown
	s := testenv.StartServer(t, testenv.ServerOptions{
		Workers: 1, LogLevel: "error", Args: []string{"--max-pending", strconv.Itoa(limit)},
	})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, MaxConnsPerHost: connections}}
	defer client.CloseIdleConnections()
	defer http.DefaultClient.CloseIdleConnections() // testenv's
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	join := func(p *peer.Peer, root, sdp string, v *viewer) {
		local, _, err := p.Post(ctx, client, s.URL+root, sdp)
		if err != nil {
			t.Fatal(err)
		}
		if v != nil {
			v.expect(local)
		}
		connect(t, p, local)
	}
	publisher, err := peer.New(peer.Config{}, loopback)
	if err != nil {
		t.Fatal(err)
	}
	defer publisher.Close()
	join(publisher, "/whip/stampede", vp8(offer(t, obsOffer)), nil)
	feed := &feed{Peer: publisher, next: 30}
	feed.start(t)
	defer feed.stop()
	for s.Metrics(t)["ringcast_streams"] == 0 {
		if ctx.Err() != nil {
			t.Fatal("no stream")
		}
	}
	var all []*viewer
	for range viewers {
		v := newViewer(t)
		defer v.Close()
		join(v.Peer, "/whep/stampede", offer(t, viewOffer), v)
		v.flows(t, 20)
		all = append(all, v)
	}
	before := s.Metrics(t)
	for _, v := range all {
		v.forgetPauses()
	}

	var st stampede
	st.run(ctx, t, client, s.URL, posts)
	for _, v := range all {
		v.flows(t, 50)
	}
	feed.stop()
	after := s.Metrics(t)
	st.log(t)
	forwarded(t, all, after.Sub(before))
	if n := after["ringcast_faults_total"]; n != 0 {
		t.Errorf("%v panics", n)
	}
}

// forwarded fails the test if a viewer missed anything, and logs the delays of the media.
func forwarded(t *testing.T, all []*viewer, grown testenv.Metrics) {
	t.Helper()
	received := 0
	for i, v := range all {
		v.whole(t, fmt.Sprintf("viewer %d", i))
		received += v.count()
	}
	p50, p99, most := all[0].pauses()
	t.Logf("%d viewers got %d packets and lost none; pauses %v (median), %v (p99), %v at most, with this process's "+
		"own; delay in the server: median %s, p90 %s, p99 %s",
		len(all), received, p50, p99, most, delay(grown, 0.5), delay(grown, 0.9), delay(grown, 0.99))
	// The bound on offers at work, signaling's TestOfferQueue, keeps the first below a tenth on a machine of its own.
	t.Logf("%.1f %% of the packets were forwarded more than 100 ms after they came", 100*lateShare(grown))
}

// forgetPauses begins to measure pauses from now on.
func (v *viewer) forgetPauses() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.gaps = nil
}

// A stampede is offers that come at once, and the answers to them.
type stampede struct {
	created, full, odd atomic.Int64
	took               []time.Duration
	whole              time.Duration
}

// run sends the offers, each for a stream of its own.
func (s *stampede) run(ctx context.Context, t *testing.T, client *http.Client, url string, posts int) {
	t.Helper()
	sdp := offer(t, obsOffer)
	s.took = make([]time.Duration, posts)
	var note sync.Once
	var wg sync.WaitGroup
	start := time.Now()
	for i := range posts {
		wg.Go(func() {
			begun := time.Now()
			status, err := post(ctx, client, url+"/whip/s"+strconv.Itoa(i), sdp)
			s.took[i] = time.Since(begun)
			switch {
			case status == http.StatusCreated:
				s.created.Add(1)
			case status == http.StatusServiceUnavailable && err == nil:
				s.full.Add(1)
			default:
				s.odd.Add(1)
				note.Do(func() { t.Errorf("status %d: %v", status, err) })
			}
		})
	}
	wg.Wait()
	s.whole = time.Since(start)
}

// log logs the answers, and fails the test if any was odd, or all were the same.
func (s *stampede) log(t *testing.T) {
	t.Helper()
	p50, p99, most := quantiles(s.took)
	round := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
	t.Logf("%d POSTs at once in %v: %d sessions, %d refused; each %v (median), %v (p99), %v at most",
		len(s.took), round(s.whole), s.created.Load(), s.full.Load(), round(p50), round(p99), round(most))
	if s.odd.Load() != 0 || s.full.Load() == 0 || s.created.Load() == 0 {
		t.Errorf("%d odd answers, %d sessions, %d refusals; want none, some and some",
			s.odd.Load(), s.created.Load(), s.full.Load())
	}
}

// vp8 is OBS's offer with the synthetic video's codec and SSRC.
func vp8(sdp string) string {
	sdp = regexp.MustCompile(`(?m)^a=fmtp:96 .*\r?\n`).ReplaceAllString(sdp, "")
	sdp = strings.ReplaceAll(sdp, "a=rtpmap:96 H264/90000", "a=rtpmap:96 VP8/90000")
	return strings.ReplaceAll(sdp, "a=ssrc:1002 ", fmt.Sprintf("a=ssrc:%d ", peer.VideoSSRC))
}

// post sends an offer; a 503 without Retry-After is an error.
func post(ctx context.Context, client *http.Client, url, sdp string) (status int, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(sdp))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Content-Type", "application/sdp")
	res, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return res.StatusCode, err
	}
	if res.StatusCode == http.StatusServiceUnavailable && res.Header.Get("Retry-After") == "" {
		return res.StatusCode, errors.New("no Retry-After")
	}
	return res.StatusCode, nil
}

// delay is the bucket of the forwarding delay that a quantile lies in.
func delay(m testenv.Metrics, q float64) string {
	const name = "ringcast_forwarding_delay_seconds"
	total := m[name+"_count"]
	for _, bound := range []string{
		"5e-05", "0.0001", "0.0002", "0.0005", "0.001", "0.002", "0.005", "0.01", "0.02",
		"0.05", "0.1",
	} {
		if n := m[name+`_bucket{le="`+bound+`"}`]; n >= q*total {
			return "≤ " + bound + " s"
		}
	}
	return "> 0.1 s"
}

// lateShare is the share of packets that were forwarded more than 100 ms after they came.
func lateShare(m testenv.Metrics) float64 {
	const name = "ringcast_forwarding_delay_seconds"
	return 1 - m[name+`_bucket{le="0.1"}`]/m[name+"_count"]
}
