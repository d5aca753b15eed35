package watch

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Group is a part of a crowd with the same way to each of its viewers.
type Group struct {
	// Name is the text that named it.
	Name    string
	Viewers int
	Bottleneck
}

// A Crowd is a flag.Value of groups with commas between them: COUNT[:RATE][:queue=TIME][:loss=PERCENT][:delay=TIME]
// [:jitter=TIME].
type Crowd []Group

func (c *Crowd) String() string {
	var names []string
	for _, g := range *c {
		names = append(names, g.Name)
	}
	return strings.Join(names, ",")
}

// Set reads all groups.
func (c *Crowd) Set(text string) error {
	*c = nil
	for name := range strings.SplitSeq(text, ",") {
		g := Group{Name: name}
		fields := strings.Split(name, ":")
		var err error
		if g.Viewers, err = strconv.Atoi(fields[0]); err != nil || g.Viewers < 1 || g.Viewers > maxViewers {
			return fmt.Errorf("%q: expected groups like 500 or 250:700k:loss=1%%, of 1 to %d viewers", name, maxViewers)
		}
		for _, field := range fields[1:] {
			if err := g.set(field); err != nil {
				return err
			}
		}
		*c = append(*c, g)
	}
	return nil
}

// Viewers is the size of the crowd.
func (c Crowd) Viewers() (n int) {
	for i := range c {
		n += c[i].Viewers
	}
	return n
}

// Wide reports whether a group has no bottleneck.
func (c Crowd) Wide() bool { return slices.ContainsFunc(c, func(g Group) bool { return !g.some() }) }

// A place is a viewer's group, and its number in that.
type place struct{ group, number int }

// places mixes the groups, so that each joins over the whole time.
func (c Crowd) places() []place {
	all := make([]place, 0, c.Viewers())
	begun := make([]int, len(c))
	for len(all) < cap(all) {
		next, least := 0, 2.0
		for i := range c {
			// The group whose next viewer has the earliest place.
			if at := (float64(begun[i]) + 0.5) / float64(c[i].Viewers); begun[i] < c[i].Viewers && at < least {
				next, least = i, at
			}
		}
		all = append(all, place{next, begun[next]})
		begun[next]++
	}
	return all
}
