package bottleneck

import (
	"fmt"
	"testing"
	"time"

	"ringcast/testenv"
	"ringcast/testenv/browser"
)

// width is that of the top layer.
const width = 960

// threeLayers publishes a picture of 1.8, 0.5 and 0.15 Mbit/s.
func threeLayers(n *network, stream, codec string) browser.PublishOptions {
	return browser.PublishOptions{
		Server: n.server.URL, Stream: stream, Codec: codec, Simulcast: true, Drawn: true,
		Width: width, Height: 540, FrameRate: 30, Bitrates: []int{150_000, 500_000, 1_800_000}, KeepResolution: true,
	}
}

// sockets are the flags of a server on sockets.
var sockets = []string{"--io", "udp"}

const (
	wide, narrow = 10_000_000, 800_000 // bit/s
	queue        = 300 * time.Millisecond
	settled      = 8 * time.Second // the start's probation is over
	squeezed     = 10 * time.Second

	mostDown   = 1500 * time.Millisecond
	mostFrozen = time.Second
	mostUp     = 30 * time.Second
	mostKeys   = 6 // in any 30 s

	// promptly is how soon a publisher answers a request for a keyframe, on a machine that has time for it.
	promptly = 100 * time.Millisecond
	// climbing is how long the keyframe of a higher layer may take on the narrow link. The picture stands meanwhile.
	climbing = 250 * time.Millisecond

	samplingInterval = 100 * time.Millisecond
	// slack is the largest multiple of the noise in a measurement.
	slack = 2
)

// squeeze narrows the link to a viewer of the top layer and widens it again. The link of the one who is well stays as
// it is. Viewers are squeezed one after another. If two fell at once, one might have to wait: the publisher is asked
// for a keyframe at most once a second.
func squeeze(t *testing.T, pub, well, v *page) {
	t.Helper()
	set := func(rate int) time.Time {
		must(t, v.link.Throttle(rate, queue))
		return time.Now()
	}
	v.settle()
	well.settle()
	v.shoot("wide")
	noise := measureNoise()
	fell := set(narrow)
	let(t, squeezed)
	v.shoot("narrow")
	rose := set(wide)
	v.until("the top layer again", "", func(s sample) bool { return s.Width == width })
	let(t, 2*time.Second)
	late := noise()
	v.shoot("again")

	beside, c := well.course(fell, rose), v.course(fell, rose)
	answer := pub.answer(well, fell)
	t.Logf("%v; noise %v; the publisher took %v for a keyframe", beside, late, answer)
	t.Log(c)
	later := slack*max(late, c.late, beside.late) + max(0, answer-promptly)
	c.judge(t, later, later+slack*beside.frozen+time.Duration(c.climbs)*climbing)
	pub.judgeKeys(fell)
}

// settle waits until a viewer has been on the top layer for some time.
func (p *page) settle() {
	p.t.Helper()
	var since time.Time
	p.until("the top layer for a while", "", func(s sample) bool {
		if s.Width != width || since.IsZero() {
			since = s.time()
		}
		return s.Width == width && s.time().Sub(since) >= settled
	})
}

// A course is a viewer's fate from the fall of a link on.
type course struct {
	name     string
	down, up time.Duration // after the fall and the recovery; -1 for never
	frozen   time.Duration
	climbs   int           // before the recovery
	late     time.Duration // the longest that the page had to wait
	events   string
	last     sample
}

func (p *page) course(fell, rose time.Time) course {
	p.t.Helper()
	c := course{name: p.name, down: -1, up: -1}
	for _, s := range p.samples() {
		after := s.time().Sub(fell)
		if after < 0 {
			c.last = s
			continue
		}
		if frozen := s.Frozen - c.last.Frozen; frozen > 0 {
			c.frozen += time.Duration(frozen * float64(time.Second))
			c.events += fmt.Sprintf(", frozen for %.2f until %.1f s", frozen, after.Seconds())
		}
		if s.Width != c.last.Width {
			c.events += fmt.Sprintf(", %d wide at %.1f s", s.Width, after.Seconds())
		}
		if s.Width < width && c.down < 0 {
			c.down = after
		}
		if s.Width > c.last.Width && s.time().Before(rose) {
			c.climbs++
		}
		if s.Width == width && c.down >= 0 && c.up < 0 && s.time().After(rose) {
			c.up = s.time().Sub(rose)
		}
		c.late = max(c.late, s.time().Sub(c.last.time())-samplingInterval)
		c.last = s
	}
	return c
}

// answer is how long a publisher took for the first keyframe that it was asked for, as a viewer beside it saw that. It
// is 0 where the viewer's layer had none within a second: an encoder may answer for one layer alone.
func (p *page) answer(beside *page, from time.Time) time.Duration {
	p.t.Helper()
	var asked time.Time
	plis := map[string]int{}
	for _, s := range p.samples() {
		if at := s.time(); at.After(from) && s.PLIs > plis[s.RID] && (asked.IsZero() || at.Before(asked)) {
			asked = at
		}
		plis[s.RID] = s.PLIs
	}
	keys := -1
	for _, s := range beside.samples() {
		after := s.time().Sub(asked) // both samples may be late
		if !asked.IsZero() && -samplingInterval <= after && after < time.Second && keys >= 0 && s.KeysDecoded > keys {
			return max(0, after)
		}
		keys = s.KeysDecoded
	}
	return 0
}

func (c course) String() string {
	return fmt.Sprintf("%s: down after %.2f s, frozen for %.2f s, on top %.1f s after the recovery%s; %d keyframes, "+
		"%d PLIs, %d NACKs, %d packets lost; the page was late by %v", c.name, c.down.Seconds(), c.frozen.Seconds(),
		c.up.Seconds(), c.events, c.last.KeysDecoded, c.last.PLIs, c.last.NACKs, c.last.Lost, c.late)
}

// judge compares a course with the bounds. A busy machine makes all later, and freezes pictures by itself.
func (c course) judge(t *testing.T, later, frozen time.Duration) {
	t.Helper()
	if c.down < 0 || c.down > mostDown+later {
		t.Errorf("%s: a lower layer came %v after the fall, want within %v and %v", c.name, c.down, mostDown, later)
	}
	if c.frozen > mostFrozen+frozen {
		t.Errorf("%s: frozen for %v, want %v and %v at most", c.name, c.frozen, mostFrozen, frozen)
	}
	if c.up < 0 || c.up > mostUp+later {
		t.Errorf("%s: the top layer came %v after the recovery, want within %v and %v", c.name, c.up, mostUp, later)
	}
}

// judgeKeys counts a publisher's keyframes.
func (p *page) judgeKeys(from time.Time) {
	t := p.t
	t.Helper()
	type count struct {
		at         time.Time
		keys, plis int
	}
	counts := map[string][]count{}
	for _, s := range p.samples() {
		if s.time().After(from) {
			counts[s.RID] = append(counts[s.RID], count{s.time(), s.KeysEncoded, s.PLIs})
		}
	}
	for rid, all := range counts {
		keys, plis, first := 0, 0, 0
		for _, c := range all {
			for c.at.Sub(all[first].at) > 30*time.Second {
				first++
			}
			keys, plis = max(keys, c.keys-all[first].keys), max(plis, c.plis-all[first].plis)
		}
		end := all[len(all)-1]
		t.Logf("%s, layer %s: %d keyframes in %.0f s, at most %d in 30 s; at most %d PLIs in 30 s", p.name, rid,
			end.keys-all[0].keys, end.at.Sub(all[0].at).Seconds(), keys, plis)
		if max(keys, plis) > mostKeys { // Firefox counts requests alone
			t.Errorf("%s, layer %s: %d keyframes in 30 s, want %d at most", p.name, rid, max(keys, plis), mostKeys)
		}
	}
}

// watchers open viewers whose ways are wide.
func (n *network) watchers(stream string, kinds ...string) (viewers []*page) {
	n.t.Helper()
	for _, kind := range kinds {
		v := n.open(kind, "viewer-"+kind)
		must(n.t, v.link.Throttle(wide, queue))
		v.call(browser.WatchOptions{Server: n.server.URL, Stream: stream, Retry: true}.Call())
		viewers = append(viewers, v)
	}
	return viewers
}

// The way to viewers falls from 10 to 0.8 Mbit/s and rises again. They get a lower layer and then the top again.
func TestSqueeze(t *testing.T) {
	for _, c := range []struct {
		name, codec, publisher string
		viewers                []string
		needs                  testenv.Capability
		args                   []string
	}{
		{"VP8", "VP8", "chromium", []string{"chromium", "firefox"}, testenv.Firefox, sockets},
		// Firefox would have to download its decoder.
		{"H264", "H264", "chromium", []string{"chromium"}, testenv.Chromium, sockets},
		{"firefox publishes", "VP8", "firefox", []string{"chromium"}, testenv.Firefox, sockets},
		{"xdp", "VP8", "chromium", []string{"chromium"}, testenv.XDP, []string{"--io", "xdp", "--interface", "eth0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			testenv.Need(t, testenv.NetworkNamespaces, testenv.Chromium, c.needs)
			n := newNetwork(t, c.args...)
			pub := n.open(c.publisher, "publisher")
			pub.call(threeLayers(n, "squeezed", c.codec).Call())
			pub.until("the top layer", "h", func(s sample) bool { return s.Width == width })
			well := pub.beside("well")
			well.call(browser.WatchOptions{Server: n.server.URL, Stream: "squeezed", Retry: true}.Call())
			for _, v := range n.watchers("squeezed", c.viewers...) {
				squeeze(t, pub, well, v)
			}
			if m := n.server.Metrics(t); c.name == "xdp" && m.Sum("ringcast_xdp_queue_sent_frames") < 1000 {
				t.Errorf("the media did not take AF_XDP:\n%s", m.List("ringcast_xdp_queue", "ringcast_companion"))
			}
		})
	}
}
