package nodes

import (
	"fmt"
	"testing"
	"time"

	"ringcast/testenv"
	"ringcast/testenv/browser"
)

// secondFirst is the number of the first packet of a second publication.
const secondFirst = 30_000

// An origin is killed, and its publisher comes back at another node. Viewers of a third play on in their sessions, 3 s
// after its POST at most.
func TestFailover(t *testing.T) {
	const viewers, bar = 3, 3 * time.Second
	finders(t, []finder{static, embedded, external}, func(t *testing.T, f finder) {
		g := newStage(t, 3, f)
		g.apart(20*time.Millisecond, 10*time.Millisecond)
		origin, edge, other := g.nodes[0], g.nodes[1], g.nodes[2]
		origin.publish(t, "moves", 30)
		var watching []*viewer
		for range viewers {
			watching = append(watching, edge.watching(t, "moves"))
		}
		origin.Kill()
		again := other.publish(t, "moves", secondFirst)
		var took []time.Duration
		for _, v := range watching {
			d := v.await(t, secondFirst) - again.posted
			took = append(took, d.Round(time.Millisecond))
			if *bars && d > bar {
				t.Errorf("got media %v after the publisher's POST, want %v at most", d, bar)
			}
		}
		last := again.number()
		for i, v := range watching {
			v.await(t, last)
			if lost := v.lost(secondFirst, last); len(lost) > 0 {
				t.Errorf("viewer %d: got %d packets lost of the second publication, want none", i, len(lost))
			}
		}
		if got := edge.viewers("moves"); got != viewers {
			t.Errorf("got %d sessions of viewers at the edge, want %d", got, viewers)
		}
		t.Logf("media %v after the publisher's POST", took)
	})
}

// Chromium watches at an edge while the origin is killed, and the publisher comes back at another node.
func TestBrowserSurvives(t *testing.T) {
	testenv.Need(t, testenv.Chromium)
	finders(t, []finder{static, embedded}, func(t *testing.T, f finder) {
		g := newStage(t, 3, f, "--tls", "self")
		g.apart(20*time.Millisecond, 10*time.Millisecond)
		origin, edge, other := g.nodes[0], g.nodes[1], g.nodes[2]
		b, err := browser.Start(t.Context(), browser.Options{
			Flags: map[string]string{"ignore-certificate-errors": ""},
			Under: []string{"nsenter", "--net=/run/netns/" + edge.near.Name},
		})
		must(t, err)
		t.Cleanup(func() { must(t, b.Close()) })
		publish := func(n *node) *browser.Publisher {
			p, err := b.Publish(deadline(t), browser.PublishOptions{
				Server: n.URL, Stream: "moves", Codec: "VP8", Audio: true,
				Width: 320, Height: 180, FrameRate: 15, MaxBitrate: 300_000, KeepResolution: true,
			})
			must(t, err)
			return p
		}
		first := publish(origin)
		v, err := b.Watch(deadline(t), browser.WatchOptions{Server: edge.URL, Stream: "moves", Retry: true})
		must(t, err)
		stats := func() browser.ViewerStats {
			s, err := v.Stats(deadline(t))
			must(t, err)
			return s
		}
		decodes := func(more int) {
			t.Helper()
			from := stats().Video.FramesDecoded
			until(t, fmt.Sprint(more, " more frames"), func() bool { return stats().Video.FramesDecoded >= from+more })
		}
		decodes(60)
		before := stats()
		origin.Kill()
		first.Close()
		posted := time.Now()
		publish(other)
		decodes(1)
		took := time.Since(posted)
		decodes(60)
		after := stats()
		t.Logf("a frame %v after the POST; %d freezes of %.2f s in all, %d before; %d of %d frames dropped; %.2f s of "+
			"sound concealed", took.Round(time.Millisecond), after.Video.Freezes-before.Video.Freezes,
			after.Video.FrozenSeconds-before.Video.FrozenSeconds, before.Video.Freezes, after.Video.FramesDropped,
			after.Video.FramesReceived, float64(after.Audio.ConcealedSamples-before.Audio.ConcealedSamples)/48000)
		if after.State != "connected" || edge.viewers("moves") != 1 {
			t.Errorf("got state %s and %d sessions of viewers at the edge, want the one of before, connected",
				after.State, edge.viewers("moves"))
		}
	})
}
