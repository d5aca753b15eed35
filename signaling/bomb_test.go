package signaling

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestBombs posts offers that are made to be expensive. Each must be refused, without much memory, and in no more than
// ten times the time of an honest offer of its length. The two are measured in turns, each by its fastest of several.
func TestBombs(t *testing.T) {
	const head = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"
	offer, honest := fixture(t, obs), fixture(t, chromiumTX)
	b := newBench(t, Config{})
	wide := newBench(t, Config{MaxBody: 4 << 20})
	many := func(n int, line string) string { return strings.Repeat(line, n) }
	var ssrcs, rids strings.Builder
	for i := range 511 {
		fmt.Fprintf(&ssrcs, "a=ssrc:%d x\r\n", 5000+i)
		fmt.Fprintf(&rids, "a=rid:r%d send\r\n", i)
	}
	for _, tt := range []struct {
		name   string
		bench  *bench
		offer  string
		status int
	}{
		{"1 MB", b, offer + many(1<<20, "x"), 413},
		{"1 MB of one attribute", wide, offer + "a=x:" + many(1<<20, "x"), 400},
		{"1 MB of one line without an end", wide, many(1<<20, "v"), 400},
		{"1 MB of newlines", wide, many(1<<20, "\n"), 400},
		{"1 MB of NULs", wide, many(1<<20, "\x00"), 400},
		{"10,000 media lines", wide, head + many(10000, "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n"), 400},
		{"2,000 media lines", b, head + many(2000, "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n")[:60<<10], 400},
		{"16 media lines", b, head + many(16, "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n"), 422},
		{"100,000 attributes", wide, offer + many(100000, "a=x\r\n"), 400},
		{"attributes of the session", wide, head + many(513, "a=x\r\n"), 400},
		{
			"attributes to the limit in 16 parts", wide,
			head + many(16, "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n"+many(512, "a=ssrc:1 x\r\n")), 400,
		},
		{"a giant list of formats", b, head + "m=audio 9 UDP/TLS/RTP/SAVPF " + many(1900, "1 ") + "\r\n", 422},
		{"a giant protocol", b, head + "m=audio 9 " + many(1000, "UDP/") + "UDP 1\r\n", 422},
		{"a giant group", b, strings.Replace(offer, "BUNDLE 0 1", "BUNDLE"+many(1000, " 0 1"), 1), 201},
		{"a giant fmtp", b, strings.Replace(offer, "a=fmtp:96 ", "a=fmtp:96 "+many(1900, "a;"), 1), 201},
		{
			"a giant simulcast", b,
			offer + rids.String()[:5000] + "\r\na=extmap:1" + ridURI + "\r\na=simulcast:send " + many(1900, "r1;"), 400,
		},
		{
			"giant alternatives", b,
			offer + "a=rid:r1 send\r\na=extmap:1" + ridURI + "\r\na=simulcast:send " + many(1900, "~,"), 201,
		},
		{"many repeats", b, "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n" + many(3000, "r=1 1 1\r\n"), 400},
		{"many candidates", b, offer + many(257, "a=candidate:1 1 udp 1 192.0.2.1 1 typ host\r\n"), 400},
		{"many sources", b, offer + ssrcs.String(), 400},
		{
			"deep time zones", b, "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nz=" + many(1000, "1 1 ") + "\r\n",
			400,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			best, usual := time.Hour, time.Hour
			var most uint64
			for range 10 { // the others on this machine may interrupt some of them, not all
				usual = min(usual, timed(func() { b.post("/whip/honest", honest) }))
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				var w *httptest.ResponseRecorder
				best = min(best, timed(func() { w = tt.bench.post("/whip/room", tt.offer) }))
				runtime.ReadMemStats(&after)
				most = max(most, after.TotalAlloc-before.TotalAlloc)
				if w.Code != tt.status {
					t.Fatalf("status %d, want %d: %.300s", w.Code, tt.status, w.Body)
				}
				if w.Code != http.StatusCreated {
					checkProblem(t, w, tt.status, "")
				}
			}
			if limit := time.Duration(
				10 * max(1, float64(len(tt.offer))/float64(len(honest))) * float64(usual),
			); best > limit {
				t.Errorf("%d bytes took %v, want at most %v: an honest offer of %d takes %v", len(tt.offer), best,
					limit, len(honest), usual)
			}
			if limit := uint64(8*len(tt.offer) + 1<<20); most > limit {
				t.Errorf("allocated %d bytes for %d, want at most %d", most, len(tt.offer), limit)
			}
			t.Logf("%d bytes: %v, %d bytes allocated; an honest offer of %d: %v", len(tt.offer), best, most,
				len(honest), usual)
		})
	}
}

// timed returns the time that f takes.
func timed(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}
