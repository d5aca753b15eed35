package watch

import (
	"slices"
	"testing"
	"time"
)

const second = int64(time.Second)

// send lets packets of 1,222 bytes on the way come at a rate for a time, and returns the arrivals up to an end.
func send(p *pipe, rate int, lasts, end int64) (arrivals []int64) {
	data := make([]byte, 1222-overhead)
	interval := int64(1222*8) * second / int64(rate)
	at := int64(1)
	take := func(now int64) {
		for b, x := p.take(now); b != nil; b, x = p.take(now) {
			arrivals = append(arrivals, x)
		}
	}
	for ; at < lasts; at += interval {
		take(at)
		p.put(data, at)
	}
	take(end)
	return arrivals
}

// TestBottleneckRate sends 2 Mbit/s through 1: half arrives, evenly, after a queue of 300 ms.
func TestBottleneckRate(t *testing.T) {
	p := newPipe(Bottleneck{Rate: 1_000_000, Queue: defaultQueue}, 1)
	got := send(p, 2_000_000, 10*second, 20*second)
	if rate := float64(len(got)) * 1222 * 8 / 10.3; rate < 0.98e6 || rate > 1.02e6 {
		t.Errorf("%.0f bit/s arrive, want 1 Mbit/s", rate)
	}
	for i := 1; i < len(got); i++ {
		if d := got[i] - got[i-1]; d != 1222*8*1000 {
			t.Fatalf("packet %d arrives %d ns after the one before", i, d)
		}
	}
	if last := got[len(got)-1]; last < 10*second+250e6 || last > 10*second+320e6 {
		t.Errorf("the last packet arrives at %v", time.Duration(last))
	}
	if sent := len(got) + int(p.lost); sent < 2045 || sent > 2047 {
		t.Errorf("%d arrive, %d are lost", len(got), p.lost)
	}
	if p.congested(20*second) || !p.congested(10*second) {
		t.Error("congested after the queue, or not in it")
	}
}

// TestBottleneckAlone sends less than the rate: nothing waits or is lost.
func TestBottleneckAlone(t *testing.T) {
	p := newPipe(Bottleneck{Rate: 4_000_000, Queue: defaultQueue}, 1)
	if got := send(p, 2_000_000, 5*second, 6*second); p.lost > 0 || p.congested(5*second) || len(got) < 1000 {
		t.Errorf("%d arrive, %d are lost", len(got), p.lost)
	}
	if p.next() != 0 {
		t.Error("a packet is left")
	}
}

// TestBottleneckDelay has delay, jitter and random loss, and keeps the order.
func TestBottleneckDelay(t *testing.T) {
	p := newPipe(Bottleneck{Delay: 40 * time.Millisecond, Jitter: 20 * time.Millisecond, Loss: 0.1}, 7)
	got := send(p, 2_000_000, 20*second, 21*second)
	if share := float64(p.lost) / float64(len(got)+int(p.lost)); share < 0.08 || share > 0.12 {
		t.Errorf("%.3f are lost, want 0.1", share)
	}
	if !slices.IsSorted(got) || got[0] < 40e6 || got[0] > 60e6+1 {
		t.Errorf("sorted %t, the first at %v", slices.IsSorted(got), time.Duration(got[0]))
	}
}

// TestBottleneckCopies keeps what a buffer held when it came.
func TestBottleneckCopies(t *testing.T) {
	p := newPipe(Bottleneck{Delay: time.Second}, 1)
	buffer := []byte{1}
	for i := range byte(100) {
		buffer[0] = i
		p.put(buffer, int64(i)*1e6)
		if i%3 == 2 { // some room is used again
			p.take(int64(i)*1e6 + 2*second)
		}
	}
	want := byte(33)
	for b, _ := p.take(9 * second); b != nil; b, _ = p.take(9 * second) {
		if b[0] != want {
			t.Fatalf("got %d, want %d", b[0], want)
		}
		want++
	}
	if want != 100 {
		t.Errorf("the last is %d", want-1)
	}
}

func TestParseCrowd(t *testing.T) {
	var c Crowd
	const text = "500,250:700k:queue=1s,5:200k:loss=1.5%:delay=40ms:jitter=10ms,1:delay=1s"
	if err := c.Set(text); err != nil || c.String() != text || c.Viewers() != 756 {
		t.Fatalf("%+v, %v", c, err)
	}
	want := []Bottleneck{
		{},
		{Rate: 700_000, Queue: time.Second},
		{
			Rate: 200_000, Queue: defaultQueue, Loss: 0.015, Delay: 40 * time.Millisecond,
			Jitter: 10 * time.Millisecond,
		},
		{Delay: time.Second},
	}
	for i := range c {
		if c[i].Bottleneck != want[i] {
			t.Errorf("%s: %+v", c[i].Name, c[i].Bottleneck)
		}
	}
	for _, bad := range []string{
		"", "0", "x", "5:", "5:fast", "5:9k", "5:1M:loss=101%", "5:loss=NaN", "5:delay=-1s", "5:queue=11s",
		"5:colour=red", "5,", "100001", "5:1e300M", "5:NaN",
	} {
		if err := new(Crowd).Set(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

// TestPlaces gives each group its viewers, in every part of the ramp.
func TestPlaces(t *testing.T) {
	c := Crowd{{Viewers: 500}, {Viewers: 250}, {Viewers: 250}, {Viewers: 1}}
	all := c.places()
	var got [4]int
	for n, p := range all {
		if p.number != got[p.group] {
			t.Fatalf("viewer %d is number %d of its group, want %d", n, p.number, got[p.group])
		}
		got[p.group]++
		if half := got[0] - got[1] - got[2]; half < -2 || half > 2 {
			t.Fatalf("after %d viewers the groups have %v", n+1, got)
		}
	}
	if got != [4]int{500, 250, 250, 1} {
		t.Errorf("groups of %v", got)
	}
}

func TestRungs(t *testing.T) {
	var r rungs
	high, low := size{1280, 720}, size{320, 180}
	r.see(high, 100, 1*second)
	r.see(high, 200, 2*second)
	r.see(low, 150, 3*second) // sent again
	r.see(low, 300, 4*second)
	r.see(high, 400, 9*second)
	r.settle(10 * second)
	if r.switches != 2 || r.lasted[high] != 4*time.Second || r.lasted[low] != 5*time.Second {
		t.Errorf("%d switches, %v", r.switches, r.lasted)
	}
	r.see(low, 1<<48|7, 11*second) // another source
	if r.switches != 3 {
		t.Error("a source that begins again has no rungs")
	}
}
