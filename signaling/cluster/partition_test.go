package cluster

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"ringcast/engine/api"
	"ringcast/signaling/cluster/directory"
)

// A partition keeps an edge from its origin for a minute, while the directory reaches both. The edge plays on soon
// after its end: a node that does not answer is no liar.
func TestPartitionOfPulls(t *testing.T) {
	for _, apart := range []time.Duration{20 * time.Second, time.Minute, 10 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			f := plant(t, 2, 2)
			origin, edge := f.nodes[0], f.nodes[1]
			origin.publish(stream)
			time.Sleep(time.Second)
			edge.join()
			origin.mute.Store(true)
			time.Sleep(time.Second)
			edge.public.lose(api.ReasonUpstreamSilent)
			time.Sleep(apart)
			origin.mute.Store(false)
			began := time.Now()
			for path, _ := edge.place(); len(path) != 2 && time.Since(began) < time.Minute; path, _ = edge.place() {
				time.Sleep(100 * time.Millisecond)
			}
			// An attempt that began before the end has 5 s, and the rest after it is 1.5 s at most.
			if took := time.Since(began); took > answerSpan+2*time.Second {
				t.Errorf("apart for %v: got the stream back after %v, want at most %v", apart, took,
					answerSpan+2*time.Second)
			}
		})
	}
}

// A node claims a stream of another node, and answers no pull. It costs an edge one failed pull, and the publisher
// stays. The edge's next streams do not fail for a minute.
func TestSilentLiar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := plant(t, 3, 2)
		origin, liar, edge := f.nodes[0], f.nodes[1], f.nodes[2]
		origin.publish(stream)
		time.Sleep(time.Second)
		liar.mute.Store(true)
		began := time.Now()
		for range 3 {
			liar.node.published(stream, liar.service.Announce(stream, directory.Publisher{}).Generation)
			edge.join()
			if path, _ := edge.place(); !slices.Equal(path, directory.Path{origin.node.id, edge.node.id}) {
				t.Errorf("got the path %v, want the stream of the node that answers", path)
			}
			edge.public.lose(api.ReasonUpstreamSilent)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("got the stream of three pulls after %v, want 10 s at most", took)
		}
		time.Sleep(20 * time.Second)
		if _, live := origin.Stream(stream); !live {
			t.Error("the publisher has ended, want it to stay")
		}
	})
}
