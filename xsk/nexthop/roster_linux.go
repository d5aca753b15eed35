package nexthop

import (
	"errors"
	"net/netip"
	"slices"
	"strconv"
)

// A roster is a list of the followed ways, and knows which of them are due to be asked for. It belongs to follow.
type roster struct {
	asker *asker
	local uint16 // the UDP port that all leave from
	name  string // of the interface

	all    []*way
	cursor int    // the next of all
	left   int    // how many of all are due, from cursor on and around
	urgent []*way // due before all
	hints  []netip.Addr
	heard  int    // hints since the list was empty, repeated ones included
	named  []*way // to destinations of earlier hints; due in turns with all
	even   bool   // the turn is that of named

	asking    []*way
	questions []question
}

// errUnanswered: the kernel lacked memory for an answer.
var errUnanswered = errors.New("the kernel did not answer")

const (
	// waysAtMost bounds the ways that one turn asks for.
	waysAtMost = 1024
	// hintsAtMost bounds the hinted destinations at a time: each costs a look at every way.
	hintsAtMost = 16
)

// pending reports whether there are questions to ask.
func (r *roster) pending() bool {
	return r.left > 0 || len(r.urgent) > 0 || len(r.named) > 0 || len(r.hints) > 0
}

// hinted reports whether there is no room for another hint. Further hints stay with the kernel then, which drops them.
func (r *roster) hinted() bool { return r.heard >= hintsAtMost }

// add adds ways, which are asked for first.
func (r *roster) add(ways []*way) {
	r.all = append(r.all, ways...)
	r.urgent = append(r.urgent, ways...)
}

// askAll makes all ways due. In a storm of such calls every way keeps its turn, as the cursor goes on around.
func (r *roster) askAll() { r.left = len(r.all) }

// hint makes the ways to a destination due.
func (r *roster) hint(destination netip.Addr) {
	r.heard++
	if !slices.Contains(r.hints, destination) {
		r.hints = append(r.hints, destination)
	}
}

// ask asks for ways that are due, a bounded number. It reports whether one leaves in another way than before. After an
// error the ways without an answer are due again.
func (r *roster) ask(link Link) (changed bool, err error) {
	// Forged hints may come without end. So they wait until all ways of earlier hints were asked for.
	if len(r.hints) > 0 && len(r.named) == 0 {
		for _, w := range r.all {
			if slices.Contains(r.hints, w.path.Remote.Addr().WithZone("")) {
				r.named = append(r.named, w)
			}
		}
		r.hints, r.heard = r.hints[:0], 0
	}
	for asked := 0; asked < waysAtMost; asked += len(r.asking) {
		if r.choose(link); len(r.asking) == 0 {
			break
		}
		missing := len(r.asking)
		err := r.asker.ask(r.questions, func(i int, got answer) {
			missing--
			changed = r.asking[i].learn(got) || changed
			r.asking[i] = nil
		})
		if err == nil && missing > 0 {
			err = errUnanswered
		}
		if err != nil {
			r.urgent = append(r.urgent, slices.DeleteFunc(r.asking, func(w *way) bool { return w == nil })...)
			return changed, err
		}
	}
	return changed, nil
}

// choose fills asking, and its questions, with ways that are due. A way that needs no question is answered.
func (r *roster) choose(link Link) {
	r.asking, r.questions = r.asking[:0], r.questions[:0]
	for len(r.asking) < questionsAtMost {
		w := r.next()
		if w == nil {
			return
		}
		if oif, ok := r.bound(w.path.Remote.Addr(), link); ok {
			r.asking = append(r.asking, w)
			r.questions = append(r.questions, question{w.path, r.local, oif})
		} else {
			w.learn(answer{reach: byLink, index: encapsulated})
		}
	}
}

// next removes the next way that is due, and returns nil if none is. It skips forgotten ways.
func (r *roster) next() *way {
	if w := first(&r.urgent); w != nil {
		return w
	}
	if r.even = !r.even; r.even {
		if w := first(&r.named); w != nil {
			return w
		}
	}
	if w := r.nextOfAll(); w != nil {
		return w
	}
	return first(&r.named)
}

// first removes the first way that is not forgotten, and returns nil if there is none.
func first(ways *[]*way) *way {
	for len(*ways) > 0 {
		w := (*ways)[0]
		if *ways = (*ways)[1:]; !w.gone.Load() {
			return w
		}
	}
	*ways = nil
	return nil
}

// nextOfAll returns the next way at the cursor.
func (r *roster) nextOfAll() *way {
	for ; r.left > 0; r.left-- {
		if r.cursor >= len(r.all) {
			r.cursor = 0
		}
		w := r.all[r.cursor]
		if w.gone.Load() {
			last := len(r.all) - 1
			r.all[r.cursor], r.all[last] = r.all[last], nil
			r.all = r.all[:last]
			continue
		}
		r.cursor++
		r.left--
		return w
	}
	return nil
}

// bound is the interface that a question about an address names. A link-local address needs that of its zone, since
// there are such addresses on every link. Otherwise it is the VRF that the link is in, because a socket there is bound
// to it. ok is false if the zone is unknown.
func (r *roster) bound(remote netip.Addr, link Link) (oif int, ok bool) {
	if !remote.Is6() || !remote.IsLinkLocalUnicast() {
		return link.domain.index, true
	}
	switch zone := remote.Zone(); zone {
	case "", r.name:
		return link.Index, true
	default:
		index, err := strconv.Atoi(zone)
		return index, err == nil && index > 0
	}
}

// learn stores the kernel's answer, and reports whether it changes an earlier one. The first answer changes nothing
// that the way's user could have relied on.
func (w *way) learn(got answer) (changed bool) {
	before := w.answer.Load()
	if before != nil && *before == got {
		return false
	}
	w.answer.Store(&got)
	return before != nil
}
