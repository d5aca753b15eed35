package adapt_test

import (
	"testing"

	"ringcast/engine/adapt"
	"ringcast/engine/port"
)

// TestStartRung covers ladders of which little is known yet.
func TestStartRung(t *testing.T) {
	silent := adapt.Ladder{{}, {Rate: 500_000}, {}}
	for _, tt := range []struct {
		name string
		l    adapt.Ladder
		rate float64
		want int
	}{
		{"highest that fits", nine, 2e6, 6},
		{"none fits", nine, 1000, 0},
		{"none fits, the lowest is silent", silent, 1000, 1},
		{"the highest is silent", silent, 10e6, 1},
		{"nothing is known", make(adapt.Ladder, 3), 10e6, 0},
		{"no rungs", nil, 10e6, 0},
	} {
		if got := tt.l.StartRung(tt.rate); got != tt.want {
			t.Errorf("%s: got rung %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestCut(t *testing.T) {
	for _, tt := range []struct{ highest, want int }{
		{adapt.AudioOnly, 1}, {0, 1}, {1, 2}, {2, 3}, {adapt.MaxRungs, 3},
	} {
		if got := len(three.Cut(tt.highest)); got != tt.want {
			t.Errorf("cut at %d: got %d rungs, want %d", tt.highest, got, tt.want)
		}
	}
	if got := len(adapt.Ladder(nil).Cut(2)); got != 0 {
		t.Errorf("without rungs: got %d, want 0", got)
	}
}

// TestSilentRung takes rungs away from a viewer on the top, and gives them back.
func TestSilentRung(t *testing.T) {
	for _, tt := range []struct {
		name  string
		later adapt.Ladder
		want  int
		cause adapt.Cause
	}{
		{"the top is silent", adapt.Ladder{three[0], three[1], {}}, 1, adapt.CauseLadder},
		{"only the lowest is left", adapt.Ladder{three[0], {}, {}}, 0, adapt.CauseLadder},
		{"only the middle is left", adapt.Ladder{{}, three[1], {}}, 1, adapt.CauseLadder},
		{"all are silent", make(adapt.Ladder, 3), 2, adapt.CauseStart},
		{"there are more", append(adapt.Ladder{}, nine...), 2, adapt.CauseStart},
	} {
		var s adapt.Selector
		s.Start(0, 2, 1)
		s.HandleTimeout(port.Second, adapt.Setting{Ladder: three})
		s.HandleTimeout(2*port.Second, adapt.Setting{Ladder: tt.later})
		if s.Want() != tt.want || s.Cause() != tt.cause {
			t.Errorf("%s: got rung %d because of %v, want %d because of %v", tt.name, s.Want(), s.Cause(),
				tt.want, tt.cause)
		}
	}
}

// A rung that fell silent is taken again as soon as it comes back: the viewer's network had no part in that.
func TestSilentRungComesBack(t *testing.T) {
	var s adapt.Selector
	now := port.Second
	s.Start(now, 2, 1)
	look := func(l adapt.Ladder, want int) {
		t.Helper()
		now += port.Second
		s.HandleTimeout(now, adapt.Setting{Ladder: l})
		if s.Want() != want || s.Cause() != adapt.CauseLadder {
			t.Errorf("got rung %d because of %v, want %d because of the ladder", s.Want(), s.Cause(), want)
		}
		s.Switched(now, s.Want())
	}
	look(adapt.Ladder{three[0], three[1], {}}, 1)
	look(adapt.Ladder{three[0], three[1], {}}, 1)
	look(three, 2)
	look(three, 2)
}
