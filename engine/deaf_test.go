package engine

import (
	"strings"
	"testing"
	"time"
)

func TestSuspicion(t *testing.T) {
	// A look is the growth of cause and effect since the look before it.
	type look struct{ cause, effect uint64 }
	deaf, works, idle := look{100, 0}, look{100, 100}, look{0, 0}
	several := func(n int, l look) (all []look) {
		for range n {
			all = append(all, l)
		}
		return all
	}
	join := func(parts ...[]look) (all []look) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	for _, c := range []struct {
		name  string
		every time.Duration
		looks []look
		at    int // the look that confirms, counted from 1; 0 for none
	}{
		{"works", lookEvery, several(100, works), 0},
		{"idle", lookEvery, several(100, idle), 0},
		{"deaf from the start", lookEvery, several(10, deaf), 5},
		{"deaf after a while", lookEvery, join(several(7, works), several(10, deaf)), 12},
		{"one packet comes through", lookEvery, join(several(4, deaf), []look{{0, 1}}, several(10, deaf)), 10},
		{"a check each 2.5 s", lookEvery, join(several(1, deaf), several(4, idle), several(1, deaf), several(4, idle),
			several(1, deaf), several(4, idle), several(1, deaf)), 16},
		{"the process stood still", time.Minute, join(several(2, deaf), several(10, works)), 0},
		{"looks that come late", 10 * time.Second, several(10, deaf), 4},
		{"only the effect grows", lookEvery, several(100, look{0, 5}), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s suspicion
			now := time.Unix(1000, 0)
			var cause, effect uint64
			s.confirmed(now, cause, effect)
			at := 0
			for i, l := range c.looks {
				now = now.Add(c.every)
				cause, effect = cause+l.cause, effect+l.effect
				if s.confirmed(now, cause, effect) {
					at = i + 1
					break
				}
			}
			if at != c.at {
				t.Errorf("confirmed at look %d, want %d", at, c.at)
			}
		})
	}
}

func TestVigil(t *testing.T) {
	for _, c := range []struct {
		name string
		step func(s *signs) // from one look to the next
		want string
	}{
		{"all is well", func(s *signs) {
			s.redirected++
			s.received++
			s.queues[0] = queueSigns{s.redirected, true}
		}, ""},
		{"silence", func(*signs) {}, ""},
		{"sends without being asked", func(s *signs) { s.queues[0].completed++; s.queues[0].waiting = true }, ""},
		{"deaf", func(s *signs) { s.redirected++; s.queues[0].completed++ }, "deaf"},
		{"stuck", func(s *signs) { s.redirected++; s.received++; s.queues[0].waiting = true }, "stuck"},
		{"one of two queues stuck", func(s *signs) { s.queues[0].completed++; s.queues[1].waiting = true }, "stuck"},
		{"nothing waits", func(s *signs) { s.redirected++; s.received++ }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var v vigil
			s := signs{queues: make([]queueSigns, 2)}
			now, why := time.Unix(1000, 0), ""
			for range 20 {
				if why = v.look(now, s); why != "" {
					break
				}
				c.step(&s)
				now = now.Add(lookEvery)
			}
			if got, _, _ := strings.Cut(why, ":"); got != c.want {
				t.Errorf("told %q, want %q", why, c.want)
			}
		})
	}
}
