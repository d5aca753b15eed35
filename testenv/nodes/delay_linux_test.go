package nodes

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

// distances are round trips: far between two nodes, near from a node to its clients.
var distances = []struct{ far, near time.Duration }{
	{20 * time.Millisecond, 20 * time.Millisecond},
	{100 * time.Millisecond, 10 * time.Millisecond},
	{5 * time.Millisecond, 60 * time.Millisecond},
}

// joins is how many streams a test joins, at each distance.
const joins = 6

// An edge adds half a round trip to the way of a packet, and 5 ms at most. The first viewer of a stream at an edge
// waits longer than the second. The difference is that of a question, a pull and its first packet.
func TestDelay(t *testing.T) {
	finders(t, []finder{static, embedded, external}, func(t *testing.T, f finder) {
		g := newStage(t, 2, f)
		for i := range joins * len(distances) {
			g.nodes[0].publish(t, fmt.Sprint("s", i), 30)
		}
		g.prefer(t)
		for i, d := range distances {
			if i > 0 && !*bars {
				break
			}
			t.Run(fmt.Sprintf("%d ms, %d ms", d.far.Milliseconds(), d.near.Milliseconds()), func(t *testing.T) {
				g.apart(d.far, d.near)
				g.testJoins(t, i*joins, d.far, d.near)
				g.testDelay(t, fmt.Sprint("s", i*joins), d.far)
			})
		}
	})
}

// testJoins joins streams at the edge, each twice. The first has a cold connection to the origin:
// it is printed alone.
func (g *stage) testJoins(t *testing.T, from int, far, near time.Duration) {
	const never = time.Duration(math.MaxInt64)
	edge := g.nodes[1]
	first, second := never, never
	var all []string
	for i := range joins {
		stream := fmt.Sprint("s", from+i)
		g.internet.Lateness()
		var took [2]time.Duration
		for k := range took {
			edge.warm(t)
			v, err := edge.watch(t, stream)
			must(t, err)
			took[k] = v.awaitFirst(t)
		}
		text := fmt.Sprintf("%d and %d", took[0].Milliseconds(), took[1].Milliseconds())
		switch {
		case g.internet.Lateness().Void() != nil:
			text += " (void)"
		case i > 0:
			first, second = min(first, took[0]), min(second, took[1])
		}
		all = append(all, text)
	}
	t.Logf("ms to the first packet, of the first and the second viewer: %s", strings.Join(all, ", "))
	for i := range joins {
		if got := edge.pulls(fmt.Sprint("s", from+i)); got != 1 {
			t.Errorf("s%d: got %d pulls for two viewers, want one", from+i, got)
		}
	}
	switch {
	case !*bars:
		return
	case first == never:
		t.Skip("void: the network was late during all joins")
	}
	bar := 2*far + max(0, 3*far-3*near) + far + 30*time.Millisecond
	if got := first - second; got > bar {
		t.Errorf("got %v more for the first viewer than for the second, want %v at most", got, bar)
	}
}

// testDelay compares the delays of packets at a viewer of each node.
func (g *stage) testDelay(t *testing.T, stream string, far time.Duration) {
	const windows = 5
	origin, edge := g.nodes[0].watching(t, stream), g.nodes[1].watching(t, stream)
	begun := time.Since(epoch)
	var void [windows]bool
	for i := range void {
		g.internet.Lateness()
		let(t, time.Second)
		void[i] = g.internet.Lateness().Void() != nil
	}
	var added [windows][]time.Duration
	origin.mu.Lock()
	edge.mu.Lock()
	for n, far := range edge.seen {
		at := int((far.sent - begun) / time.Second)
		near, ok := origin.seen[n]
		if ok && far.sent > begun && at < windows && !void[at] {
			added[at] = append(added[at], far.came-near.came)
		}
	}
	edge.mu.Unlock()
	origin.mu.Unlock()
	var medians []time.Duration
	for _, a := range added {
		if len(a) >= 10 {
			medians = append(medians, median(a))
		}
	}
	switch {
	case len(medians) == 0 && !*bars:
		return
	case len(medians) == 0:
		t.Skip("void: the network was late in each second")
	}
	least, bar := slices.Min(medians), far/2+5*time.Millisecond
	t.Logf("the edge adds %v at a median, %v in the best of %d seconds; %v allowed", median(medians), least,
		len(medians), bar)
	if *bars && (least > bar || least < far/2-time.Millisecond) {
		t.Errorf("got %v added by the edge, want %v to %v", least, far/2, bar)
	}
}
