//go:build linux

package lab_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ringcast/testenv"
	"ringcast/testenv/lab"
)

// openBench opens a bench until the test ends.
func openBench(t testing.TB) *lab.Bench {
	t.Helper()
	testenv.Need(t, testenv.XDP, testenv.GCC)
	b, err := testenv.NewLab(t).OpenBench(2)
	must(t, err)
	t.Cleanup(func() { must(t, b.Close()) })
	return b
}

// dribble sends packets one at a time from Go.
var dribble = lab.Register("dribble", func(ctx context.Context, to string, ready func()) (s lab.Sample, err error) {
	conn, err := net.Dial("udp4", to)
	if err != nil {
		return s, err
	}
	defer conn.Close()
	begin, cpu := time.Now(), processTime()
	for range 5000 {
		if _, err := conn.Write(make([]byte, 1200)); err != nil {
			return s, err
		}
		s.Sent++
	}
	s.CPU, s.Wall = processTime()-cpu, time.Since(begin)
	return s, nil
})

// Every way of sending sends as many packets as it reports, and its reported cost is possible. Two that use the same
// queue may come one after the other.
func TestFloor(t *testing.T) {
	b := openBench(t)
	contenders := []lab.Contender{lab.CallContender(b, "Go, one by one", dribble, b.Receiver.IPv4().String()+":10000")}
	for _, f := range []lab.Floor{
		{Mode: "xsk"},
		{Mode: "xsk", Batch: 256},
		{Mode: "mmsg"},
		{Mode: "gso", Batch: 16, Segments: 7},
		{Mode: "sendto"},
	} {
		f.Time = 100 * time.Millisecond
		c, err := b.Floor(f)
		must(t, err)
		contenders = append(contenders, c)
	}
	for _, c := range contenders {
		r, err := b.Round(deadline(t), c)
		must(t, err)
		t.Logf("%s: sent %d, arrived %d, %.0f ns a packet, kernel threads %v",
			c.Name, r.Sent, r.Arrived, r.PerPacket(), r.Kernel)
		if r.Sent == 0 || r.Arrived != r.Sent {
			t.Errorf("%s: sent %d, arrived %d", c.Name, r.Sent, r.Arrived)
		}
		// A process with one thread uses no more than the time that passed.
		if r.CPU <= 0 || r.CPU > r.Wall+10*time.Millisecond {
			t.Errorf("%s: %v CPU in %v for %d packets", c.Name, r.CPU, r.Wall, r.Sent)
		}
	}
	for _, f := range []lab.Floor{{Mode: "gso"}, {Mode: "xsk", Batch: 257}, {Mode: "no such"}} {
		c, err := b.Floor(f)
		must(t, err)
		if _, err := b.Round(deadline(t), c); err == nil || !strings.Contains(err.Error(), "exit status 2") {
			t.Errorf("%+v: %v", f, err)
		}
	}
}

// Rounds whose floor is far above the best are void, also if the best comes last.
func TestReport(t *testing.T) {
	result := func(ns, sent, arrived uint64) lab.Result {
		return lab.Result{
			Sample:  lab.Sample{Sent: sent, CPU: time.Duration(ns * arrived), Wall: time.Second},
			Arrived: arrived,
		}
	}
	r := lab.Report{Contenders: []string{"floor", "ours"}}
	for _, ns := range [][2]uint64{{500, 600}, {639, 639}, {520, 1040}, {700, 70}, {490, 490}} {
		r.Rounds = append(r.Rounds, lab.Turn{Results: []lab.Result{result(ns[0], 100, 100), result(ns[1], 1000, 990)}})
	}
	r.Judge()
	if len(r.Good()) != 3 || !r.Rounds[1].Void || !r.Rounds[3].Void {
		t.Errorf("void: %+v", r.Rounds)
	}
	for _, c := range []struct{ got, want float64 }{
		{r.PerPacket(0), 500},
		{r.PerPacket(1), 600},
		{r.Ratio(1, 0), 1.2},
		{r.Ratio(1, 1), 1},
		{r.Lost(1), 0.01},
	} {
		if d := c.got - c.want; d > 1e-9 || d < -1e-9 {
			t.Errorf("got %g, want %g", c.got, c.want)
		}
	}
	if table := r.String(); !strings.Contains(table, "5 rounds, of which 2 are void") ||
		!strings.Contains(table, "1.00 %") {
		t.Error(table)
	}
}

// Contenders alternate, and a round that does not send fails the comparison.
func TestCompare(t *testing.T) {
	b := openBench(t)
	var order strings.Builder
	one := func(name string, ns time.Duration) lab.Contender {
		return lab.Contender{name, func(context.Context) (s lab.Sample, err error) {
			order.WriteString(name)
			conn, err := b.Sender.Dial(t.Context(), "udp4", fmt.Sprintf("%s:%d", b.Receiver.IPv4(), 10000))
			if err != nil {
				return s, err
			}
			defer conn.Close()
			for range 10 {
				if _, err := conn.Write([]byte("packet")); err != nil {
					return s, err
				}
			}
			return lab.Sample{Sent: 10, CPU: 10 * ns * 1e6, Wall: time.Second}, nil
		}}
	}
	r, err := b.Compare(t.Context(), 0, one("A", 500), one("B", 1000))
	must(t, err)
	if order.String() != strings.Repeat("AB", 7) || len(r.Rounds) != 7 || r.Rounds[0].Results[1].Arrived != 10 {
		t.Errorf("%s: %+v", order.String(), r)
	}
	t.Logf("\n%s", r)
	if ratio := r.Ratio(1, 0); ratio < 1.7 || ratio > 2.1 {
		t.Errorf("ratio %g", ratio)
	}
	if _, err := b.Compare(t.Context(), 0,
		lab.Contender{
			"none",
			func(context.Context) (lab.Sample, error) { return lab.Sample{Sent: 1}, nil },
		}); err == nil {
		t.Errorf("nothing arrived, and that is fine")
	}
}

// Run by itself, on a quiet machine:
//
//	go test -run '^$' -bench Floor ./testenv/lab
//
// It prints the cost of the ways of sending in C.
func BenchmarkFloor(b *testing.B) {
	bench := openBench(b)
	var all []lab.Contender
	for _, f := range []lab.Floor{
		{Mode: "xsk"},
		{Mode: "gso", Batch: 16, Segments: 7},
		{Mode: "mmsg"},
		{Mode: "sendto"},
	} {
		c, err := bench.Floor(f)
		must(b, err)
		all = append(all, c)
	}
	for b.Loop() {
		r, err := bench.Compare(b.Context(), 7, all[0], all[1:]...)
		must(b, err)
		var uts unix.Utsname
		must(b, unix.Uname(&uts))
		b.Logf("Linux %s\n%s", unix.ByteSliceToString(uts.Release[:]), r)
		b.ReportMetric(r.PerPacket(0), "ns/packet")
	}
}
