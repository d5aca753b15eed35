package adapt_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"ringcast/engine/adapt"
	"ringcast/engine/port"
	"ringcast/testenv/netpath"
)

var (
	first = flag.Uint64("seed", 0, "the first seed of each scene")
	seeds = flag.Uint64("seeds", 1, "how many seeds follow from it")
	crowd = flag.Int("crowd", 100, "viewers that TestSqueezed squeezes")
	trace = flag.Bool("trace", false, "print the switches of each viewer")
)

// allSeeds are the seeds to play.
func allSeeds(yield func(uint64) bool) {
	for seed := *first; seed < *first+*seeds && yield(seed); seed++ {
	}
}

// A scene is one viewer on one path.
type scene struct {
	name   string
	rates  netpath.Schedule
	buffer float64 // seconds of the lowest rate
	path   func(r *rand.Rand) netpath.Path
	setup  func(p *publisher, v *viewer)
	until  port.Time // seconds
	check  func(v *viewer, b *bars)
}

// bars are the worst figures of all seeds, and the most that each may be.
type bars struct {
	t     *testing.T
	seed  uint64
	names []string
	worst map[string]float64
	most  map[string]float64
}

func newBars(t *testing.T) *bars {
	return &bars{t: t, worst: make(map[string]float64), most: make(map[string]float64)}
}

func (b *bars) atMost(name string, got, most float64) {
	b.t.Helper()
	if _, ok := b.worst[name]; !ok {
		b.names = append(b.names, name)
	}
	b.worst[name], b.most[name] = max(b.worst[name], got), most
	if got > most {
		b.t.Errorf("seed %d: %s: got %.2f, want at most %.2f", b.seed, name, got, most)
	}
}

func (b *bars) String() string {
	var s strings.Builder
	for _, n := range b.names {
		fmt.Fprintf(&s, "; %s %.2f (≤ %.2f)", n, b.worst[n], b.most[n])
	}
	return strings.TrimPrefix(s.String(), "; ")
}

// steps makes a schedule of pairs of seconds and values.
func steps(pairs ...float64) (s netpath.Schedule) {
	for i := 0; i < len(pairs); i += 2 {
		s = append(s, netpath.Step{From: port.Time(pairs[i] * float64(port.Second)), Value: pairs[i+1]})
	}
	return s
}

func play(c scene, l adapt.Ladder, b *bars) {
	p := newPublisher(b.seed, l)
	least := c.rates[0].Value
	for _, s := range c.rates {
		least = min(least, s.Value)
	}
	link := &netpath.Bottleneck{Rate: c.rates, Limit: max(int(c.buffer*least/8), 3000)}
	path := netpath.Path{link, &netpath.Delay{Of: netpath.Always(0.02)}}
	if c.path != nil {
		path = append(path, c.path(rand.New(rand.NewPCG(b.seed, 3)))...)
	}
	v := p.join(b.seed, path, 20*port.Millisecond, len(l)-1)
	if c.setup != nil {
		c.setup(p, v)
	}
	p.start()
	for t := port.Second; t < c.until*port.Second; t += 10 * port.Millisecond {
		p.clock.Run(t)
		if link.Delay(t) > 200*port.Millisecond && t > minute {
			v.tally.queued += 10 * port.Millisecond
		}
	}
	if *trace {
		b.t.Logf("seed %d:%s; keyframes %d, numbered %d of %d, RTCP %.2f/s", b.seed, &v.tally, p.keyframes,
			v.tally.numbered, v.tally.fills, v.tally.rtcp())
	}
	c.check(v, b)
}

func TestScenes(t *testing.T) {
	for _, l := range []adapt.Ladder{three, nine} {
		for _, c := range scenes(l) {
			t.Run(fmt.Sprint(len(l), " ", c.name), func(t *testing.T) {
				b := newBars(t)
				for b.seed = range allSeeds {
					play(c, l, b)
				}
				t.Logf("%d seeds: %s", *seeds, b)
			})
		}
	}
}
