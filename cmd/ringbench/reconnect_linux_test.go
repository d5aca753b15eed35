package main

import (
	"testing"

	"ringcast/cmd/ringbench/internal/publish"
	"ringcast/cmd/ringbench/internal/report"
	"ringcast/cmd/ringbench/internal/watch"
	"ringcast/testenv"
)

// startPair runs two nodes of a cluster, and returns when each knows the other. The first has further flags.
func startPair(t *testing.T, flags ...string) (first, other *testenv.Server) {
	t.Helper()
	var own []string
	for range 2 {
		address, err := testenv.FreePort("tcp", "127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		own = append(own, address)
	}
	node := func(own, peer string, flags ...string) *testenv.Server {
		return testenv.StartServer(t, testenv.ServerOptions{
			Workers: 1,
			Args:    append(flags, "--cluster-http", own, "--node-url", "http://"+own, "--peers", "http://"+peer),
		})
	}
	first, other = node(own[0], own[1], flags...), node(own[1], own[0])
	for _, n := range []*testenv.Server{first, other} {
		await(t, "the other node is known", func() bool { return n.Metrics(t)["ringcast_cluster_nodes"] == 1 })
	}
	return first, other
}

// TestReconnect drains the node of some viewers. Those that hear events go when they are asked, as long as they have
// the time; the others once their sessions end. All play from the other node.
func TestReconnect(t *testing.T) {
	const viewers = 5
	for _, when := range []watch.Reconnect{watch.Ended, watch.Asked} {
		t.Run(when.String(), func(t *testing.T) {
			t.Parallel()
			first, other := startPair(t, "--drain", "4s")
			p, w := publish.Default(), watch.Default()
			p.URL, p.Bitrate = other.URL+"/whip/move", 100_000
			w.URL, w.Viewers, w.Sample, w.Reconnect = testenv.Front(t, first, other)+"/whep/move", viewers, 2, when
			w.NoAudio, w.Ramp = true, watch.MaxRamp
			stopped := false
			_, got := crowd(t, other, p, w, func(w *report.Watch) bool {
				if w == nil { // all are lost
					return true
				}
				if !stopped && w.Playing == viewers {
					stopped = true
					if err := first.Stop(); err != nil {
						t.Error(err)
					}
				}
				return w.Moves.Done == viewers
			})
			m := got.Moves
			hears := when == watch.Asked
			if m.Asked+m.Ended < viewers || m.Asked > 0 != hears || m.Deaf != 0 || total(got.Lost) != 0 {
				t.Errorf("got %+v, lost %v; want %d moves, asked for: %v", m, got.Lost, viewers, hears)
			}
			if m.Gap.Count != viewers || m.Took.Count != viewers || got.Groups[0].Viewers != viewers {
				t.Errorf("got %d gaps, %d times, %d viewers at the end; want %d", m.Gap.Count, m.Took.Count,
					got.Groups[0].Viewers, viewers)
			}
			if got.Joined != viewers || got.Playing != viewers || got.Stages[report.POST.String()].Count != viewers {
				t.Errorf("got %d joined, %d playing, %+v; want %d without those that moved", got.Joined, got.Playing,
					got.Stages, viewers)
			}
			t.Logf("%+v", m)
		})
	}
}

func total(counts map[string]int) (sum int) {
	for _, n := range counts {
		sum += n
	}
	return sum
}
