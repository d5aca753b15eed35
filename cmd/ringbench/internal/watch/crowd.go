package watch

import (
	"encoding/binary"
	"fmt"
	"net/netip"
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

// An Audience is all viewers of a run.
type Audience struct {
	Viewers int
	// Crowd divides the viewers into groups; empty is a single one. Viewers is then its size.
	Crowd Crowd
	// Sources has an address of its own for each viewer, since servers may think that those of one address share a
	// link. All its addresses must be local. If it is not valid, and for viewers beyond maxSources, the OS chooses.
	Sources netip.Prefix
	// Sample is the number of viewers that open and check every packet, of each group without a bottleneck. All
	// viewers with one do.
	Sample int
}

// sampled reports whether a viewer is one of the sample, which is spread over its whole group. All viewers with a
// bottleneck are.
func (a *Audience) sampled(p place) bool {
	g := &a.Crowd[p.group]
	if g.some() || a.Sample >= g.Viewers {
		return true
	}
	return p.number*a.Sample/g.Viewers != (p.number-1)*a.Sample/g.Viewers || p.number == 0 && a.Sample > 0
}

// The ports of viewers with addresses of their own begin at sourcePort. A Sink knows viewers by their port, so each
// viewer has another. The OS chooses higher ones for other viewers.
const (
	sourcePort = 20_000
	maxSources = 12_000
)

// source returns the address of viewer n from Sources, if that is valid. Its first session may still have the port when
// a further one begins.
func (a *Audience) source(n, sessions int) netip.AddrPort {
	if !a.Sources.IsValid() || n >= maxSources {
		return netip.AddrPort{}
	}
	base := a.Sources.Masked().Addr().As4()
	var address [4]byte
	binary.BigEndian.PutUint32(address[:], binary.BigEndian.Uint32(base[:])+uint32(n)+1)
	port := uint16(sourcePort + n)
	if sessions > 0 {
		port = 0
	}
	return netip.AddrPortFrom(netip.AddrFrom4(address), port)
}

// samples is the number of viewers in the sample, which has none with a bottleneck.
func (a *Audience) samples() (n int) {
	for i := range a.Crowd {
		if g := &a.Crowd[i]; !g.some() {
			n += min(a.Sample, g.Viewers)
		}
	}
	return n
}
