package attack

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ringcast/signaling"
	"ringcast/testenv"
	"ringcast/testenv/peer"
)

// offer is a real client's, from signaling's test data.
func offer(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile("../../signaling/testdata/" + name + ".sdp")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const (
	obsOffer  = "obslike-libdatachannel-offer-whip"
	viewOffer = "chromium-offer-recvonly"
)

// callers numbers the requests, each of which comes from an address of its own.
var callers atomic.Uint32

func call(h http.Handler, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	n := callers.Add(1)
	r.RemoteAddr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(n >> 8), byte(n)}), 1000).String()
	r.Header.Set("Content-Type", "application/sdp")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// 100,000 offers that nothing follows, each from another address, fill the server to its cap of pending sessions.
// Sessions of before a second give way to newer ones; the rest is refused with 503 and Retry-After. Viewers go on
// watching, and ten seconds later place and memory are free again.
func TestAbandonedPOSTs(t *testing.T) {
	const posts, senders = 100_000 / testenv.Slowdown, 8
	const limit, honest, sample = 2000 / testenv.Slowdown, 8, 80
	cfg := engineConfig()
	cfg.Sessions.MaxPending = limit
	a := newArena(t, cfg)
	h := signaling.New(signaling.Config{Log: discard}, a.Engine).Handler()
	other := a.bystander() // two sessions
	sdp := offer(t, obsOffer)
	before := heap()

	var created, full, odd, unsaid atomic.Int64
	took := make([][]time.Duration, senders)
	opened := make([][]string, senders) // Locations
	// turnover ends a session and opens another: its median must not depend on how many there are.
	turnover := func(locations []string) time.Duration {
		var all []time.Duration
		for i, location := range locations {
			begun := time.Now()
			if call(h, http.MethodDelete, location, "").Code != http.StatusOK {
				continue // expired meanwhile
			}
			if w := call(h, http.MethodPost, "/whip/turnover-"+strconv.Itoa(i), sdp); w.Code != http.StatusCreated {
				continue
			}
			all = append(all, time.Since(begun))
		}
		p50, _, _ := quantiles(all)
		return p50
	}
	var few []string
	for i := range sample {
		few = append(few, call(h, http.MethodPost, "/whip/few-"+strconv.Itoa(i), sdp).Header().Get("Location"))
	}
	alone := turnover(few)
	var wg sync.WaitGroup
	start := time.Now()
	for s := range senders {
		wg.Go(func() {
			for i := range posts / senders {
				begun := time.Now()
				if begun.Sub(start) > 20*time.Second && full.Load() > limit { // on a machine that others use too
					return
				}
				w := call(h, http.MethodPost, "/whip/abandoned-"+strconv.Itoa(s)+"-"+strconv.Itoa(i), sdp)
				switch w.Code {
				case http.StatusCreated:
					created.Add(1)
					opened[s] = append(opened[s], w.Header().Get("Location"))
				case http.StatusServiceUnavailable:
					full.Add(1)
					if w.Header().Get("Retry-After") == "" {
						unsaid.Add(1)
					}
				default:
					odd.Add(1)
				}
				took[s] = append(took[s], time.Since(begun))
			}
		})
	}
	wg.Wait()
	span := time.Since(start)
	held := heap() - before
	pending := func() int {
		return int(a.scrape()[`ringcast_sessions{role="publisher",state="pending"}`])
	}
	all := slices.Concat(took...)
	p50, p99, most := quantiles(all)
	var newest []string
	for _, locations := range opened {
		newest = append(newest, locations[max(0, len(locations)-sample/senders):]...)
	}
	crowded := turnover(newest)
	t.Logf("%d POSTs in %v, %.0f a second, each %v (median), %v (p99), %v at most: %d sessions, %d refused; %d bytes "+
		"of heap a session",
		len(all), span.Round(time.Millisecond), float64(len(all))/span.Seconds(), p50, p99, most,
		created.Load(), full.Load(), held/max(1, pending()))
	t.Logf("ending a session and opening another takes %v (median) beside %d sessions, %v beside %d",
		alone, sample, crowded, pending())
	// A walk over all sessions for each would take fifty times as long; a cold cache takes three.
	if crowded > 10*alone {
		t.Errorf("%v beside %d sessions, more than ten times the %v beside %d", crowded, pending(), alone, sample)
	}
	if odd.Load() != 0 || unsaid.Load() != 0 {
		t.Errorf("%d other answers, %d refusals without Retry-After", odd.Load(), unsaid.Load())
	}
	// Some may have expired and made room while the posts went on.
	if n := created.Load(); n < limit-sample || full.Load() == 0 {
		t.Errorf("%d sessions opened and %d refused with a cap of %d", n, full.Load(), limit)
	}
	if n := pending(); n > limit {
		t.Errorf("%d sessions wait, cap %d", n, limit)
	}

	// They go 10 s after they came; meanwhile the controller must answer.
	longest := time.Duration(0)
	until(t, "expiry", func() bool {
		begun := time.Now()
		if err := a.Ready(); err != nil {
			t.Error(err)
		}
		longest = max(longest, time.Since(begun)) // the controller must be asked
		return pending() == 0
	})
	expired := time.Since(start)
	// New peers must get through at once, on every worker.
	var slowest time.Duration
	for i := range honest {
		begun := time.Now()
		a.join("honest-"+strconv.Itoa(i), peer.Config{})
		slowest = max(slowest, time.Since(begun))
	}
	ping(t, other.Peer)
	// The session tables of controller, workers and signaling keep the size that they once had. The
	// workers hear of the sessions' ends a little later than we.
	left := 0
	until(t, "memory returned", func() bool {
		a.forget()
		left = heap() - before
		return left <= 1<<20+640*limit
	})
	t.Logf("all expired %v after the first; the controller's longest turn %v, an honest peer connected in %v at "+
		"most; %d KB of heap held, %d KB left",
		expired.Round(10*time.Millisecond), longest.Round(time.Millisecond), slowest.Round(time.Millisecond), held>>10, left>>10)
	p50, p99, most = other.pauses()
	other.unharmed(t)
	a.sane()
	t.Logf("the bystander lost nothing, pauses %v (median), %v (p99), %v at most", p50, p99, most)
}
