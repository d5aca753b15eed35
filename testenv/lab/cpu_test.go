//go:build linux

package lab_test

import (
	"context"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ringcast/testenv"
	"ringcast/testenv/lab"
)

// spin uses a given CPU time.
var spin = lab.Register("spin",
	func(ctx context.Context, in time.Duration, ready func()) (used time.Duration, err error) {
		used = processTime()
		for end := used + in; processTime() < end; {
		}
		used = processTime()
		ready()
		<-ctx.Done()
		return used, nil
	})

func processTime() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &now); err != nil {
		panic(err)
	}
	return time.Duration(now.Nano())
}

func TestUsage(t *testing.T) {
	server, _ := testenv.Pair(t, lab.Link{})
	c, err := spin.Start(deadline(t), server, 100*time.Millisecond, 0)
	must(t, err)
	u, err := lab.ReadUsage(c.PID, []int{0}, nil)
	must(t, err)
	used, err := c.Stop()
	must(t, err)
	// The process waited between the two readings.
	if d := u.Process - used; d < -10*time.Millisecond || d > 10*time.Millisecond {
		t.Errorf("used %v, by its own account %v", u.Process, used)
	}
	if u.Kernel <= 0 || u.Idle <= 0 || u.Total() != u.Process+u.Kernel {
		t.Errorf("since the machine started: %+v", u)
	}
	if _, err := lab.ReadUsage(c.PID, nil, nil); err == nil {
		t.Errorf("a process that has ended has used something")
	}
	if rss, err := lab.Resident(os.Getpid()); err != nil || rss < 1<<20 || rss > 1<<32 {
		t.Errorf("resident: %d, %v", rss, err)
	}
	if _, err := lab.Resident(c.PID); err == nil {
		t.Errorf("a process that has ended has memory")
	}
}

// StartServer pins, and its metrics are read on its host.
func TestServer(t *testing.T) {
	server, client := testenv.Pair(t, lab.Link{})
	s, err := testenv.StartOn(t.Context(), server, []int{1})
	must(t, err)
	s.EndWith(t)
	var set unix.CPUSet
	must(t, unix.SchedGetaffinity(s.PID(), &set))
	if set.Count() != 1 || !set.IsSet(1) {
		t.Errorf("on %d CPUs", set.Count())
	}
	if m := s.Metrics(t); m["go_goroutines"] < 1 {
		t.Errorf("metrics: %v", m)
	}
	web := client.Client()
	defer web.CloseIdleConnections()
	resp, err := web.Get(s.URL + "/")
	must(t, err)
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("the page, from the client: %s", resp.Status)
	}
	s.Restart(t, unix.SIGKILL)
	s.Metrics(t)
}
