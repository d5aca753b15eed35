package nodes

import (
	"testing"
	"time"
)

// NATS is dead for a minute. Media plays on without a loss, streams that are there have new viewers, and each node says
// that it is well. Then other streams are found again.
func TestDirectoryDead(t *testing.T) {
	const dead = time.Minute
	finders(t, []finder{embedded, external}, func(t *testing.T, f finder) {
		t.Parallel()
		g := newStage(t, 2, f)
		origin, edge := g.nodes[0], g.nodes[1]
		pub := origin.publish(t, "known", 30)
		origin.publish(t, "other", 30)
		watching := []*viewer{origin.watching(t, "known"), edge.watching(t, "known")}
		restore := g.silence()
		begun := time.Now()
		for _, n := range g.nodes {
			until(t, "a node that hears nobody", func() bool { return n.Metrics(t)["ringcast_cluster_silent"] == 1 })
		}
		noticed := time.Since(begun)
		for time.Since(begun) < dead {
			for _, n := range g.nodes {
				n.healthy(t)
				v, err := n.watch(t, "known")
				must(t, err)
				v.awaitFirst(t)
				watching = append(watching, v)
			}
			let(t, dead/6)
		}
		if _, err := edge.watch(t, "other"); err == nil {
			t.Error("got a session of a stream that only NATS could find, want a refusal")
		}
		restore()
		begun = time.Now()
		edge.watching(t, "other")
		back := time.Since(begun)
		last := pub.number()
		for i, v := range watching {
			v.await(t, last)
			if lost := v.lost(0, last); len(lost) > 0 {
				t.Errorf("viewer %d: got %d packets lost, from %d on; want none", i, len(lost), lost[0])
			}
		}
		t.Logf("%d viewers lost nothing of %d packets; silence noticed after %v, another stream found %v after its end",
			len(watching), last-30, noticed.Round(time.Millisecond), back.Round(time.Millisecond))
	})
}
