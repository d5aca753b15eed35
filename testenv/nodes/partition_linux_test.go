package nodes

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A cluster falls apart for 20 s. Viewers on the side of a stream's origin play on without a loss, and new ones join
// there. The others keep their sessions, and play on once the sides hear each other again. That takes each node one new
// pull of a stream at most.
func TestPartition(t *testing.T) {
	const apart = 20 * time.Second
	for _, count := range []int{2, 3} {
		t.Run(fmt.Sprintf("%d nodes", count), func(t *testing.T) {
			finders(t, []finder{static, embedded, external}, func(t *testing.T, f finder) {
				t.Parallel()
				testPartition(t, newStage(t, count, f), apart)
			})
		})
	}
}

// testPartition parts the first node from the others for a time. Each side has a stream, and each node a viewer of
// both.
func testPartition(t *testing.T, g *stage, apart time.Duration) {
	alone, rest := g.nodes[:1], g.nodes[1:]
	streams := []*published{{name: "one", home: alone}, {name: "two", home: rest}}
	for _, s := range streams {
		s.feed = s.home[0].publish(t, s.name, 30)
		for _, n := range g.nodes {
			s.watching = append(s.watching, n.watching(t, s.name))
		}
	}
	mend := g.cut(alone, rest)
	let(t, apart)
	for _, s := range streams {
		s.beforeMending = s.feed.number()
		for _, n := range s.home {
			n.healthy(t)
			v, err := n.watch(t, s.name)
			must(t, err)
			v.awaitFirst(t)
		}
	}
	mend()
	begun := time.Since(epoch)
	for _, s := range streams {
		s.check(t, g, begun)
	}
}

// published is a stream with a viewer of each node.
type published struct {
	name string
	// home are the nodes on the side of its publisher, which is at the first of them.
	home     []*node
	feed     *feed
	watching []*viewer
	// beforeMending is the number of a packet of the partition's last moment.
	beforeMending uint64
}

func (s *published) isHome(n *node) bool {
	for _, h := range s.home {
		if h == n {
			return true
		}
	}
	return false
}

// check demands that viewers got all, by one pull and one session where the stream has stayed within reach.
func (s *published) check(t *testing.T, g *stage, mended time.Duration) {
	t.Helper()
	var back []time.Duration
	for i, v := range s.watching {
		// The picture begins again with a keyframe.
		came := v.await(t, s.beforeMending+1)
		if !s.isHome(g.nodes[i]) {
			back = append(back, (came - mended).Round(time.Millisecond))
		}
	}
	last := s.feed.number()
	for i, v := range s.watching {
		v.await(t, last)
		least := uint64(0)
		if !s.isHome(g.nodes[i]) {
			least = v.since(mended)
		}
		if lost := v.lost(least, last); len(lost) > 0 {
			t.Errorf("%s: node %d: got %d packets lost, from %d on, want none", s.name, i, len(lost), lost[0])
		}
	}
	for i, n := range g.nodes {
		if n == s.home[0] {
			continue
		}
		pulls := n.pulls(s.name)
		want := 1
		if !s.isHome(n) {
			want = 2
		}
		if pulls < 1 || pulls > want {
			t.Errorf("%s: node %d: got %d pulls, want %d at most", s.name, i, pulls, want)
		}
		if got := n.viewers(s.name); got != 1 && !s.isHome(n) {
			t.Errorf("%s: node %d: got %d sessions of viewers, want the one of before", s.name, i, got)
		}
	}
	t.Logf("%s: back on the other side after %v", s.name, back)
}

// pulls counts those that the node has begun.
func (n *node) pulls(stream string) int {
	return strings.Count(n.Log(), fmt.Sprintf("msg=\"pulling a stream\" stream=%s ", stream))
}

// viewers counts the sessions that viewers near the node have opened there.
func (n *node) viewers(stream string) (count int) {
	for line := range strings.Lines(n.Log()) {
		if strings.Contains(line, `msg="session opened"`) && strings.Contains(line, "role=subscriber") &&
			strings.Contains(line, "stream="+stream+" ") && strings.Contains(line, "source="+n.near.IPv4().String()) {
			count++
		}
	}
	return count
}
