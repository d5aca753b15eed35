package xdp

import (
	"fmt"
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"ringcast/testenv"
	"ringcast/testenv/lab"
)

// workers is how many the servers have that are looked at for how often they wake up.
const workers = 2

// A server whose publisher is silent leaves its core to others. With 100 connected viewers its workers' loops turn for
// the viewers' checks and reports, and now and then for themselves. The log has the cost.
func TestIdle(t *testing.T) {
	testenv.Need(t, testenv.NetworkNamespaces, testenv.XDP)
	const viewers, span = 100, 5 * time.Second
	for _, io := range []string{"xdp", "udp"} {
		t.Run(io, func(t *testing.T) {
			server, client := testenv.Pair(t, lab.Link{Queues: 2})
			g := newStage(t, server, func(binary string) *exec.Cmd {
				return exec.Command(binary, "--io", io, "--interface", "eth0", "--workers", fmt.Sprint(workers))
			})
			g.publish(client, client.IPv4(), server.IPv4(), "idle")
			g.crowd(client, server.IPv4(), "idle", viewers)
			state := `ringcast_sessions{role="subscriber",state="connected"}`
			until(t, "100 viewers", func() bool { return g.server.Metrics(t)[state] == viewers })
			let(t, 2*time.Second) // until workers rest that have seen no media for a second
			before, begun, used := g.server.Metrics(t), time.Now(), usage(t, g)
			let(t, span)
			cost := usage(t, g) - used // without that of writing metrics
			grown, took := g.server.Metrics(t).Sub(before), time.Since(begun)
			t.Logf("--io %s, %d viewers and no media: %v of CPU in %v, %.2f %% of a core",
				io, viewers, cost.Round(time.Millisecond), took.Round(time.Millisecond),
				100*cost.Seconds()/took.Seconds())
			g.checkTurns(grown, took, 50*time.Millisecond)
			if n := g.server.Metrics(t)[state]; n != viewers {
				t.Errorf("%v viewers are left", n)
			}
		})
	}
}

// checkTurns demands that the workers' loops turned at most twice for each datagram, and by themselves no more often
// than each interval. grown is the growth of the counts in a time.
func (g *stage) checkTurns(grown testenv.Metrics, took, interval time.Duration) {
	g.t.Helper()
	turns, datagrams := grown.Sum("ringcast_worker_turns_total"), grown.Sum("ringcast_port_received_datagrams_total")
	// Counts are published each 200 ms, so a stretch may be in one and not in the other.
	most := 2*datagrams + workers*(took+time.Second).Seconds()/interval.Seconds()
	g.t.Logf("%v turns of %d workers for %v datagrams in %v; at most %.0f are fine",
		turns, workers, datagrams, took.Round(time.Millisecond), most)
	if turns > most || turns == 0 {
		g.t.Errorf("%v turns, want 1 to %.0f", turns, most)
	}
}

// usage is the server's use of the CPUs so far.
func usage(t *testing.T, g *stage) time.Duration {
	t.Helper()
	u, err := lab.ReadUsage(g.server.PID(), nil, nil)
	must(t, err)
	return u.Process
}

// crowd connects viewers, some at a time.
func (g *stage) crowd(h *lab.Host, at netip.Addr, stream string, n int) []*viewer {
	g.t.Helper()
	own := h.IPv4()
	if at.Is6() {
		own = h.IPv6()
	}
	type joined struct {
		*viewer
		error
	}
	ctx := deadline(g.t, 2*patience)
	results, turns := make(chan joined, n), make(chan struct{}, 8)
	for range n {
		go func() {
			turns <- struct{}{}
			v, err := g.watch(ctx, h, own, at, stream)
			<-turns
			results <- joined{v, err}
		}()
	}
	var all []*viewer
	for range n {
		r := <-results
		must(g.t, r.error)
		all = append(all, r.viewer)
	}
	return all
}
