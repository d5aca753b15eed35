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

// posters are senders of offers that nothing follows, and the answers that they got.
type posters struct {
	h   http.Handler
	sdp string

	created, full, odd, unsaid atomic.Int64
	took                       [][]time.Duration // by sender
	opened                     [][]string        // Locations, by sender
}

func newPosters(h http.Handler, sdp string) *posters {
	const senders = 8
	return &posters{h: h, sdp: sdp, took: make([][]time.Duration, senders), opened: make([][]string, senders)}
}

// turnover ends each session and opens another. It returns the median time, which must not depend on how many there
// are.
func (p *posters) turnover(locations []string) time.Duration {
	var all []time.Duration
	for i, location := range locations {
		begun := time.Now()
		if call(p.h, http.MethodDelete, location, "").Code != http.StatusOK {
			continue // it has expired in the meantime
		}
		if w := call(p.h, http.MethodPost, "/whip/turnover-"+strconv.Itoa(i), p.sdp); w.Code != http.StatusCreated {
			continue
		}
		all = append(all, time.Since(begun))
	}
	p50, _, _ := quantiles(all)
	return p50
}

// post sends so many offers from all senders. On a machine that others use too it ends after 20 s, if more offers than
// limit were refused.
func (p *posters) post(start time.Time, posts int, limit int64) {
	var wg sync.WaitGroup
	for s := range p.took {
		wg.Go(func() {
			for i := range posts / len(p.took) {
				begun := time.Now()
				if begun.Sub(start) > 20*time.Second && p.full.Load() > limit {
					return
				}
				w := call(p.h, http.MethodPost, "/whip/abandoned-"+strconv.Itoa(s)+"-"+strconv.Itoa(i), p.sdp)
				p.note(s, w)
				p.took[s] = append(p.took[s], time.Since(begun))
			}
		})
	}
	wg.Wait()
}

func (p *posters) note(sender int, w *httptest.ResponseRecorder) {
	switch w.Code {
	case http.StatusCreated:
		p.created.Add(1)
		p.opened[sender] = append(p.opened[sender], w.Header().Get("Location"))
	case http.StatusServiceUnavailable:
		p.full.Add(1)
		if w.Header().Get("Retry-After") == "" {
			p.unsaid.Add(1)
		}
	default:
		p.odd.Add(1)
	}
}

// newest returns the last n sessions that were opened.
func (p *posters) newest(n int) (locations []string) {
	for _, of := range p.opened {
		locations = append(locations, of[max(0, len(of)-n/len(p.opened)):]...)
	}
	return locations
}

// log logs the answers, and fails the test if any was odd.
func (p *posters) log(t *testing.T, took time.Duration, each int) {
	t.Helper()
	all := slices.Concat(p.took...)
	p50, p99, most := quantiles(all)
	t.Logf("%d POSTs in %v, %.0f a second, each %v (median), %v (p99), %v at most: %d sessions, %d refused; "+
		"%d bytes of heap a session",
		len(all), took.Round(time.Millisecond), float64(len(all))/took.Seconds(), p50, p99, most,
		p.created.Load(), p.full.Load(), each)
	if p.odd.Load() != 0 || p.unsaid.Load() != 0 {
		t.Errorf("%d other answers, %d refusals without Retry-After; want none", p.odd.Load(), p.unsaid.Load())
	}
}

// admit connects n new peers, which must get through at once, on every worker. It returns the longest time.
func (a *arena) admit(n int) (slowest time.Duration) {
	for i := range n {
		begun := time.Now()
		a.join("honest-"+strconv.Itoa(i), peer.Config{})
		slowest = max(slowest, time.Since(begun))
	}
	return slowest
}

// expire waits until all pending sessions have expired, 10 s after they came. Meanwhile the controller must answer:
// expire returns its longest turn.
func (a *arena) expire(t *testing.T, pending func() int) (longest time.Duration) {
	t.Helper()
	until(t, "expiry", func() bool {
		begun := time.Now()
		if err := a.Ready(); err != nil {
			t.Error(err)
		}
		longest = max(longest, time.Since(begun))
		return pending() == 0
	})
	return longest
}

// 100,000 offers that nothing follows, each from another address, fill the server to its cap of pending sessions.
// Sessions of before a second give way to newer ones; the rest is refused with 503 and Retry-After. Viewers go on
// watching, and ten seconds later place and memory are free again.
func TestAbandonedPOSTs(t *testing.T) {
	const posts = 100_000 / testenv.Slowdown
	const limit, honest, sample = 2000 / testenv.Slowdown, 8, 80
	cfg := engineConfig()
	cfg.Sessions.MaxPending = limit
	a := newArena(t, cfg)
	h := signaling.New(signaling.Config{Log: discard}, a.Engine).Handler()
	other := a.bystander() // two sessions
	sdp := offer(t, obsOffer)
	before := heap()

	posters := newPosters(h, sdp)
	var few []string
	for i := range sample {
		few = append(few, call(h, http.MethodPost, "/whip/few-"+strconv.Itoa(i), sdp).Header().Get("Location"))
	}
	alone := posters.turnover(few)
	start := time.Now()
	posters.post(start, posts, limit)
	took := time.Since(start)
	held := heap() - before
	pending := func() int {
		return int(a.scrape()[`ringcast_sessions{role="publisher",state="pending"}`])
	}
	posters.log(t, took, held/max(1, pending()))
	crowded := posters.turnover(posters.newest(sample))
	t.Logf("ending a session and opening another takes %v (median) beside %d sessions, %v beside %d",
		alone, sample, crowded, pending())
	// A walk over all sessions for each would take fifty times as long; a cold cache takes three.
	if crowded > 10*alone {
		t.Errorf("%v beside %d sessions, more than ten times the %v beside %d", crowded, pending(), alone, sample)
	}
	// Some may have expired and made room while the posts went on.
	if n := posters.created.Load(); n < limit-sample || posters.full.Load() == 0 {
		t.Errorf("%d sessions opened and %d refused with a cap of %d", n, posters.full.Load(), limit)
	}
	if n := pending(); n > limit {
		t.Errorf("%d sessions wait, cap %d", n, limit)
	}

	longest, expired := a.expire(t, pending), time.Since(start)
	slowest := a.admit(honest)
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
		expired.Round(10*time.Millisecond), longest.Round(time.Millisecond), slowest.Round(time.Millisecond),
		held>>10, left>>10)
	other.unharmed(t)
	a.sane()
	p50, p99, most := other.pauses()
	t.Logf("the bystander lost nothing, pauses %v (median), %v (p99), %v at most", p50, p99, most)
}
