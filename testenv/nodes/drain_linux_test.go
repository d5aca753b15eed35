package nodes

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ringcast/testenv"
)

// moved is the part of ringbench's report on viewers that this package reads. Times are in ms.
type moved struct {
	Playing int
	Lost    map[string]int
	Moves   struct {
		Asked, Ended, Done, Stayed, Deaf int
		Gap, Took                        struct {
			P50 float64 `json:"p50_ms"`
			P99 float64 `json:"p99_ms"`
			Max float64 `json:"max_ms"`
		}
	}
}

// A node drains with 500 viewers, who go to two others. Those that hear the server's events have all gone by themselves
// in time, and 99 of 100 miss media for 100 ms at most. The others miss 3 s.
func TestDrain(t *testing.T) {
	const viewers, drain = 500, 10 * time.Second
	for _, c := range []struct {
		reconnect string
		bar       time.Duration
	}{
		{"asked", 100 * time.Millisecond},
		{"ended", 3 * time.Second},
	} {
		t.Run(c.reconnect, func(t *testing.T) {
			nodes := loopback(t, 3, "--drain", drain.String())
			leaving, origin := nodes[0], nodes[1]
			startBench(t, "publish", "--whip", origin.URL+"/whip/move", "--bitrate", "100k", "--fps", "15")
			until(t, "a publisher", func() bool { return origin.Metrics(t)["ringcast_received_rtp_packets_total"] > 0 })
			report := startBench(t, "watch", "--whep", testenv.Front(t, nodes...)+"/whep/move", "--no-audio",
				"--viewers", fmt.Sprint(viewers), "--ramp", "100", "--reconnect", c.reconnect)
			until(t, "all viewers", func() bool { return watching(t, leaving) == viewers })
			begun := time.Now()
			must(t, leaving.Stop())
			took := time.Since(begun)
			until(t, "all viewers elsewhere", func() bool {
				return watching(t, origin)+watching(t, nodes[2]) >= viewers
			})
			var got moved
			must(t, json.Unmarshal(report(), &got))
			m := &got.Moves
			t.Logf("the node ended after %v; %d viewers asked, %d of ended sessions; ms without media: %.0f (median), "+
				"%.0f (99 %%), %.0f (most); ms to a frame: %.0f, %.0f, %.0f", took.Round(time.Millisecond), m.Asked,
				m.Ended, m.Gap.P50, m.Gap.P99, m.Gap.Max, m.Took.P50, m.Took.P99, m.Took.Max)
			if m.Done != viewers || len(got.Lost) != 0 || m.Deaf != 0 {
				t.Errorf("got %+v, lost %v; want %d done", m, got.Lost, viewers)
			}
			if c.reconnect == "asked" && m.Ended != 0 {
				t.Errorf("got %d viewers that stayed for %v, want none", m.Ended, drain)
			}
			if gap := time.Duration(m.Gap.P99 * float64(time.Millisecond)); gap > c.bar {
				t.Errorf("got %v without media (99 %%), want %v at most", gap, c.bar)
			}
		})
	}
}

// loopback runs a cluster on this host. Each node knows the others, and may send viewers to their URLs.
func loopback(t *testing.T, count int, args ...string) (nodes []*testenv.Server) {
	t.Helper()
	var own []string
	for range count {
		address, err := testenv.FreePort("tcp", "127.0.0.1")
		must(t, err)
		own = append(own, address)
	}
	for i, a := range own {
		public, err := testenv.FreePort("tcp", "127.0.0.1")
		must(t, err)
		flags := append(args[:len(args):len(args)],
			"--cluster-http", a, "--node-url", "http://"+a, "--public-url", "http://"+public)
		for j, peer := range own {
			if i != j {
				flags = append(flags, "--peers", "http://"+peer)
			}
		}
		nodes = append(nodes, testenv.StartServer(t, testenv.ServerOptions{HTTP: public, Workers: 1, Args: flags}))
	}
	for _, n := range nodes {
		until(t, "all nodes at each", func() bool { return n.Metrics(t)["ringcast_cluster_nodes"] == float64(count-1) })
	}
	return nodes
}

// watching counts the viewers of a node.
func watching(t *testing.T, s *testenv.Server) int {
	return int(s.Metrics(t)[`ringcast_sessions{role="subscriber",state="connected"}`])
}

// startBench runs ringbench until report ends it, which returns its report as JSON.
func startBench(t *testing.T, args ...string) (report func() []byte) {
	t.Helper()
	program, err := testenv.Build("ringcast/cmd/ringbench")
	must(t, err)
	file := filepath.Join(t.TempDir(), args[0]+".json")
	cmd := exec.Command(program, append(args, "--quiet", "--json", file)...)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	must(t, cmd.Start())
	ended := false
	end := func() {
		if ended {
			return
		}
		ended = true
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("ringbench %s: %v\n%s", args[0], err, said.String())
		}
	}
	t.Cleanup(end)
	return func() []byte {
		t.Helper()
		end()
		text, err := os.ReadFile(file)
		must(t, err)
		return text
	}
}
