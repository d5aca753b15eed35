package signaling

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ringcast/engine/api"
	"ringcast/signaling/access"
)

// A drainBalancer has some nodes with room, and redirects nothing.
type drainBalancer struct {
	free, all int
	chosen    atomic.Int64
}

func (*drainBalancer) Target(Offered) (Target, bool) { return Target{}, false }

func (b *drainBalancer) Room() (free, all int) { return b.free, b.all }

func (b *drainBalancer) Next() (base string, ok bool) {
	if b.free == 0 {
		return "", false
	}
	return "https://node" + strconv.FormatInt(b.chosen.Add(1)%int64(b.free), 10), true
}

func (*drainBalancer) Redeem(string, api.Role, string) (access.Grant, error) {
	return access.Grant{}, nil
}

// crowd opens a publisher's session, and those of viewers with event streams.
func (b *bench) crowd(t *testing.T, viewers int) {
	t.Helper()
	b.mustPost("/whip/live", fixture(t, obs))
	for range viewers {
		b.openEvents(b.watchSimulcast(t), `["reconnect"]`)
	}
}

// honour lets all viewers go elsewhere as soon as they are asked to, after a time for the other session. It returns
// their URLs by the time at which they left.
func (b *bench) honour(join time.Duration) (left map[api.SessionID]time.Time, urls map[string]int, wait func()) {
	left, urls = make(map[api.SessionID]time.Time), make(map[string]int)
	var mu sync.Mutex
	var all sync.WaitGroup
	for id, streams := range b.server.audience.bySession {
		e := streams[0]
		all.Go(func() {
			select {
			case data := <-e.moves:
				time.Sleep(join)
				b.engine.Close(id)
				mu.Lock()
				defer mu.Unlock()
				left[id] = time.Now()
				urls[data]++
			case <-e.ended:
			}
		})
	}
	return left, urls, all.Wait
}

// 500 viewers that honour the event are elsewhere within the span, at no more than half of the others' rate. Each has a
// server of its own to go to.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		balancer := &drainBalancer{free: 2, all: 2}
		b := newBench(t, Config{Balancer: balancer})
		const viewers, span = 500, 10 * time.Second
		b.crowd(t, viewers)
		began := time.Now()
		left, urls, wait := b.honour(200 * time.Millisecond)
		b.server.Drain(span)
		took := time.Since(began)
		wait()
		perSecond, most := make(map[int]int), 0
		for _, at := range left {
			second := int(at.Sub(began) / time.Second)
			perSecond[second]++
			most = max(most, perSecond[second])
		}
		t.Logf("%d of %d viewers left within %v, %d at most in a second, to %v", len(left), viewers, took, most, urls)
		if len(left) != viewers || took > span || b.engine.liveSessions() != 1 {
			t.Errorf("got %d viewers elsewhere after %v, %d sessions here, want %d within %v and the publisher",
				len(left), took, b.engine.liveSessions(), viewers, span)
		}
		if most > targetRate*balancer.free || len(urls) != 2 || urls[`{"url":"https://node0/whep/live"}`] != viewers/2 {
			t.Errorf("got %d in a second to %v, want %d a server at most, and half of them to each", most, urls,
				targetRate)
		}
	})
}

// Viewers that stay are closed after the span, over two seconds. While no server has room nobody is asked.
func TestDrainOfThoseThatStay(t *testing.T) {
	for _, row := range []struct {
		name      string
		free, all int
		first     time.Duration
	}{
		{"room", 2, 2, 10 * time.Second},
		{"no room", 0, 2, 10 * time.Second},
		{"no other server", 0, 0, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			balancer := &drainBalancer{free: row.free, all: row.all}
			b := newBench(t, Config{Balancer: balancer})
			const viewers = 500
			b.crowd(t, viewers)
			began := time.Now()
			var ends []time.Duration
			ended := b.engine.onEnd
			b.engine.onEnd = func(id api.SessionID, why api.Reason) {
				if ends = append(ends, time.Since(began)); why != api.ReasonShutdown {
					t.Errorf("%s: got end %v, want %v", row.name, why, api.ReasonShutdown)
				}
				ended(id, why)
			}
			b.server.Drain(10 * time.Second)
			if len(ends) != viewers || b.engine.liveSessions() != 1 {
				t.Fatalf("%s: got %d ends and %d sessions, want %d and the publisher", row.name, len(ends),
					b.engine.liveSessions(), viewers)
			}
			first, last := ends[0], ends[viewers-1]
			t.Logf("%s: closed from %v to %v; %d asked", row.name, first, last, balancer.chosen.Load())
			if first < row.first || first > row.first+time.Second || last-first < farewellSpan*9/10 ||
				last > row.first+3*time.Second {
				t.Errorf("%s: got ends from %v to %v, want 2 s from %v on", row.name, first, last, row.first)
			}
			if asked := balancer.chosen.Load(); (asked > 0) != (row.free > 0) {
				t.Errorf("%s: %d were asked to go", row.name, asked)
			}
		})
	}
}

// A server that drains takes no offers, and its readers get the event with the URL to go to.
func TestDrainAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Config{Balancer: &drainBalancer{free: 1, all: 1}})
		session := b.watchSimulcast(t)
		l := b.listen(t, b.openEvents(session, `["reconnect"]`))
		done := make(chan struct{})
		go func() { b.server.Drain(10 * time.Second); close(done) }()
		synctest.Wait()
		for _, url := range []string{"/whip/other", "/whep/live", "/whip"} {
			w := b.do(http.MethodPost, url, fixture(t, obs), "Content-Type", sdpType, "Authorization", "Bearer key")
			retry, err := strconv.Atoi(w.Header().Get("Retry-After"))
			if w.Code != http.StatusServiceUnavailable || err != nil || retry < 2 || retry > 6 ||
				!strings.Contains(w.Body.String(), "draining") {
				t.Errorf("POST %s: status %d, Retry-After %d, want 503 and 2 to 6 s: %s", url, w.Code, retry, w.Body)
			}
		}
		got, open := l.next(time.Second) // the first is asked at once
		want := "event: reconnect\ndata: {\"url\":\"https://node0/whep/live\"}\n\n"
		if len(got) != 1 || got[0] != want || !open {
			t.Errorf("got events %q, open %t, want %q", got, open, want)
		}
		b.do(http.MethodDelete, session, "")
		synctest.Wait()
		<-done
	})
}
