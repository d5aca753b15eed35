package sim

import (
	"slices"

	"ringcast/engine/port"
)

// A Player shows a video as a browser does: each picture when all its packets are there, after the one before it. It
// jumps to a later keyframe that is whole before the packets that are missing.
type Player struct {
	r *Reception
	// next is the first packet of the picture that is shown next, reach the first from there on that did not come.
	next, reach uint64
	begun       bool
	keys        []uint64 // first packets of keyframes that may be jumped to

	last    port.Time // when a picture was last shown
	gaps    []port.Time
	layer   int
	Shown   int
	Freezes []Freeze
	Moves   []Move
}

// A Freeze is a picture that stood still too long, as WebRTC's statistics count it.
type Freeze struct{ Until, Span port.Time }

// A Move is a switch from one layer to another.
type Move struct {
	At       port.Time
	From, To int
}

const (
	// A picture freezes when it stands three times the mean of the last gapsKept gaps, and freezeMore longer than it.
	gapsKept   = 30
	gapsLeast  = 5
	freezeMore = 150 * port.Millisecond
)

// came takes in a packet, and reports whether a picture was shown.
func (p *Player) came(now port.Time, ext uint64) (shown bool) {
	if p.r.Packets[ext].Key {
		if p.r.Packets[ext-1].Sets {
			ext--
		}
		p.keys = append(p.keys, ext)
	}
	for p.walk(now) || p.jump() {
		shown = true
	}
	return shown
}

// walk shows the next picture, if it is whole.
func (p *Player) walk(now port.Time) bool {
	for p.begun {
		x, ok := p.r.Packets[p.reach]
		if !ok {
			return false
		}
		p.reach++
		if x.Marker {
			p.show(now, &x)
			p.next = p.reach
			return true
		}
	}
	return false
}

// jump goes to the first keyframe that is whole.
func (p *Player) jump() bool {
	p.keys = slices.DeleteFunc(p.keys, func(k uint64) bool { return p.begun && k < p.next })
	slices.Sort(p.keys)
	for _, k := range p.keys {
		if p.begun && k == p.next {
			continue
		}
		for e := k; ; e++ {
			x, ok := p.r.Packets[e]
			if !ok {
				break
			}
			if x.Marker {
				p.begun, p.next, p.reach = true, k, k
				return true
			}
		}
	}
	return false
}

// show shows the picture that ends with a packet.
func (p *Player) show(now port.Time, x *Packet) {
	layer := x.layerOf()
	if p.Shown == 0 || layer != p.layer {
		from := p.layer
		if p.Shown == 0 {
			from = -1
		}
		p.Moves = append(p.Moves, Move{now, from, layer})
		p.layer = layer
	}
	if p.Shown > 0 {
		p.gap(now)
	}
	p.Shown++
	p.last = now
}

// gap judges the time since the last picture.
func (p *Player) gap(now port.Time) {
	span := now - p.last
	p.gaps = append(p.gaps, span)
	if len(p.gaps) > gapsKept {
		p.gaps = p.gaps[1:]
	}
	mean := port.Time(0)
	for _, g := range p.gaps {
		mean += g / port.Time(len(p.gaps))
	}
	if len(p.gaps) >= gapsLeast && span >= max(3*mean, mean+freezeMore) {
		p.Freezes = append(p.Freezes, Freeze{now, span})
	}
}

// Frozen is the sum of the freezes in a time.
func (p *Player) Frozen(from, until port.Time) (sum port.Time) {
	for _, f := range p.Freezes {
		if from < f.Until && f.Until <= until {
			sum += f.Span
		}
	}
	if until > p.last+freezeMore && p.last > 0 {
		sum += until - max(p.last, from) // it still stands
	}
	return sum
}

// Layer returns the layer that is shown at a time, -1 before the first.
func (p *Player) Layer(at port.Time) int {
	layer := -1
	for _, m := range p.Moves {
		if m.At > at {
			break
		}
		layer = m.To
	}
	return layer
}

// Reached returns the first time after another at which a layer at most or at least as high is shown.
func (p *Player) Reached(from port.Time, is func(layer int) bool) port.Time {
	if is(p.Layer(from)) {
		return from
	}
	for _, m := range p.Moves {
		if m.At >= from && is(m.To) {
			return m.At
		}
	}
	return port.Never
}

// Switches counts the switches of layer in a time.
func (p *Player) Switches(from, until port.Time) (n int) {
	for _, m := range p.Moves {
		if from < m.At && m.At <= until && m.From >= 0 {
			n++
		}
	}
	return n
}
