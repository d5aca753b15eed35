package adapt

import "testing"

func TestTrains(t *testing.T) {
	const start = 65530 // numbers and times wrap
	var s sentTrains
	for i := range ticks(40) {
		s.add(start+i*33*milli, start+uint16(i)*10)
	}
	now := ticks(start + 40*33*milli)
	for _, tt := range []struct {
		name   string
		number uint16
		want   train
		ok     bool
	}{
		{"the newest", (start + 390) & 0xFFFF, train{start + 39*33*milli, (start + 390) & 0xFFFF, false}, true},
		{"inside of one", (start + 305) & 0xFFFF, train{start + 30*33*milli, (start + 300) & 0xFFFF, false}, true},
		{"the oldest", (start + 80) & 0xFFFF, train{start + 8*33*milli, (start + 80) & 0xFFFF, false}, true},
		{"before all", (start + 10) & 0xFFFF, train{start + 8*33*milli, (start + 80) & 0xFFFF, true}, true},
		{"far after all", (start + 1000) & 0xFFFF, train{start + 39*33*milli, (start + 390) & 0xFFFF, false}, false},
	} {
		got, ok := s.find(now, tt.number)
		if got != tt.want || ok != tt.ok {
			t.Errorf("%s: got %v %v, want %v %v", tt.name, got, ok, tt.want, tt.ok)
		}
	}
	if got, want := s.waiting(now, (start+381)&0xFFFF), ticks(33*milli); got != want {
		t.Errorf("waiting: got %d ticks, want %d", got, want)
	}
	s.forget(now + trainMemory)
	if s.n != 0 {
		t.Errorf("got %d trains after their memory, want 0", s.n)
	}
}

func TestMoments(t *testing.T) {
	var c clock
	c.start(0)
	for now := ticks(0); now < 3000*second; now += second {
		c.now = now
		c.refresh()
		if now > 0 && !c.passed(markCalm) {
			t.Fatalf("after %d s: got a mark of the past in the future", now/second)
		}
		if c.set(markRetry, 416*second); c.passed(markRetry) {
			t.Fatalf("after %d s: got a mark of the future in the past", now/second)
		}
	}
}
