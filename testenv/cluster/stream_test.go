package cluster

import (
	"net/netip"
	"time"

	"ringcast/signaling/cluster/directory"
)

func (s *stream) live() bool {
	path, _ := s.branch.Path()
	return len(path) > 0
}

// join begins the join of a viewer.
func (s *stream) join(began time.Time) {
	if s.live() {
		s.joined(began)
		return
	}
	s.waiting = append(s.waiting, began)
	s.look()
}

func (s *stream) joined(began time.Time) {
	s.viewers++
	s.n.sessions++
	s.n.most = max(s.n.most, s.n.sessions)
	s.n.w.joins = append(s.n.w.joins, s.n.w.now.Sub(began))
}

// alive lets all viewers in that wait.
func (s *stream) alive() {
	for _, began := range s.waiting {
		s.joined(began)
	}
	s.waiting = nil
	if w := s.n.w; s.viewers > 0 && !s.since.IsZero() {
		w.dark = append(w.dark, w.now.Sub(s.since))
		if at := w.republished[s.name]; at.After(s.since) {
			w.failovers = append(w.failovers, w.now.Sub(at))
		}
	}
	s.since = time.Time{}
	s.watch(false)
}

// wanted reports whether a viewer or another node needs the stream here.
func (s *stream) wanted() bool { return s.viewers+len(s.branch.Children()) > 0 }

// watch begins or ends the wait for an announcement.
func (s *stream) watch(on bool) {
	if s.watching == on {
		return
	}
	if s.watching = on; on {
		s.n.book.Watch(s.n.w.now, s.name)
	} else {
		s.n.book.Unwatch(s.name)
	}
}

// broke takes the end of the upstream or of the publisher. Viewers that are here wait for another.
func (s *stream) broke() {
	s.branch.Lose()
	s.spread()
	if s.wanted() {
		if s.since.IsZero() {
			s.since = s.n.w.now
		}
		s.watch(true)
		s.look()
	}
	s.n.pump()
}

// detach ends the pull.
func (s *stream) detach() {
	up := s.upstream
	if s.upstream = nil; up != nil {
		s.n.w.send(s.n, up, func() { up.stream(s.name).branch.Leave(s.n.self.ID) })
	}
}

// look begins a look-up, unless an attempt runs.
func (s *stream) look() {
	if s.busy || s.live() || s.upstream != nil || s.origin {
		return
	}
	s.busy = true
	n := s.n
	r := n.w.rand.Uint32()
	source := netip.AddrFrom4([4]byte{byte(r >> 24), byte(r >> 16), byte(r >> 8), byte(r)}) // each viewer has its own
	a, ticket := n.book.Where(n.w.now, s.name, source, directory.Patience)
	if ticket == 0 {
		s.answered(a)
	} else {
		n.waiters[ticket] = s.answered
	}
	n.pump()
}

func (s *stream) answered(a directory.Answer) {
	if a.Verdict == directory.Found {
		s.places = a.Places
		s.try()
		return
	}
	s.later(a.Retry)
}

// later refuses all that wait. Each comes back by itself.
func (s *stream) later(after time.Duration) {
	s.busy = false
	w := s.n.w
	after = max(after, time.Second)
	waiting := s.waiting
	s.waiting = nil
	for _, began := range waiting {
		w.after(after+w.vary(time.Second), func() {
			if !s.n.dead {
				s.join(began)
			}
		})
	}
	if s.wanted() {
		w.after(after, func() {
			if !s.n.dead {
				s.look()
			}
		})
	}
}

// try asks the next place to be the upstream. A place without room names others.
func (s *stream) try() {
	n := s.n
	if s.live() || len(s.places) == 0 {
		s.busy = false
		if !s.live() {
			s.later(time.Second)
		}
		return
	}
	place := s.places[0]
	s.places = s.places[1:]
	s.attempt++
	attempt := s.attempt
	up := n.w.byID[place.Node]
	if up == n || up.dead || n.cut[up] {
		n.w.after(directory.Patience, s.try)
		return
	}
	n.w.send(n, up, func() { up.stream(s.name).adopt(s) })
	n.w.after(5*time.Second, func() { // an answer has five seconds
		if s.busy && s.attempt == attempt && !n.dead {
			s.try()
		}
	})
}

// adopt answers a node that asks to pull.
func (s *stream) adopt(child *stream) {
	w := s.n.w
	err := s.branch.Adopt(w.now, child.n.self)
	path, g := s.branch.Path()
	var others []directory.Place
	if err != nil {
		w.refusals++
		others = s.branch.Places(child.n.self.ID)
		w.rand.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
	}
	w.send(s.n, child.n, func() {
		if !child.busy {
			return
		}
		if err != nil {
			child.places = append(others, child.places...)
			child.try()
			return
		}
		child.follow(s.n, g, path)
	})
}

// follow takes the answer of an upstream.
func (s *stream) follow(up *Node, g directory.Generation, path directory.Path) {
	s.busy = false
	if s.origin {
		s.n.w.send(s.n, up, func() { up.stream(s.name).branch.Leave(s.n.self.ID) })
		return
	}
	s.upstream = up
	s.n.w.pulls++
	s.moved(g, path)
	s.n.pump()
}

// moved takes the path of the upstream.
func (s *stream) moved(g directory.Generation, path directory.Path) {
	err := s.branch.Follow(g, path)
	s.spread()
	switch {
	case err != nil:
		s.detach()
		s.broke()
	case s.live():
		s.alive()
	case s.viewers > 0 && s.since.IsZero():
		s.since = s.n.w.now
	}
}

// spread sends the path to all children.
func (s *stream) spread() {
	path, g := s.branch.Path()
	for _, id := range s.branch.Children() {
		c := s.n.w.byID[id]
		s.n.w.send(s.n, c, func() {
			if child := c.stream(s.name); child.upstream == s.n {
				child.moved(g, path)
				c.pump()
			}
		})
	}
}
