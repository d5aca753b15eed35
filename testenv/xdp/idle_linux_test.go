package xdp

import (
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"ringcast/testenv"
	"ringcast/testenv/lab"
)

// A server whose publisher is silent leaves its core to others: 100 connected viewers, their checks and reports
// included, cost less than 3 % of one.
func TestIdle(t *testing.T) {
	testenv.Need(t, testenv.NetworkNamespaces, testenv.XDP)
	const (
		viewers = 100
		most    = 0.03
		// What others do on the machine only adds, by cold caches and shared cores: the least of some
		// windows is the server's own.
		windows, span = 5, 3 * time.Second
	)
	for _, io := range []string{"xdp", "udp"} {
		t.Run(io, func(t *testing.T) {
			server, client := lab.Pair(t, lab.Link{Queues: 2})
			g := newStage(t, server, func(binary string) *exec.Cmd {
				return exec.Command(binary, "--io", io, "--interface", "eth0", "--workers", "2")
			})
			g.publish(client, client.IPv4(), server.IPv4(), "idle")
			g.crowd(client, server.IPv4(), "idle", viewers)
			state := `ringcast_sessions{role="subscriber",state="connected"}`
			until(t, "100 viewers", func() bool { return g.server.Metrics(t)[state] == viewers })
			let(t, time.Second)
			least := 1.0
			for range windows {
				before, begun := usage(t, g), time.Now()
				let(t, span)
				used, took := usage(t, g)-before, time.Since(begun)
				share := used.Seconds() / took.Seconds()
				t.Logf("--io %s, %d viewers and no media: %v of CPU in %v, %.2f %% of a core", io, viewers, used.Round(time.Millisecond), took.Round(time.Millisecond), 100*share)
				least = min(least, share)
			}
			if least > most {
				t.Errorf("%.2f %% of a core, want %v %% at most", 100*least, 100*most)
			}
			if n := g.server.Metrics(t)[state]; n != viewers {
				t.Errorf("%v viewers are left", n)
			}
		})
	}
}

// usage is what the server has used of the CPUs so far.
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
