package engine

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ringcast/engine/host"
)

// A function runs on its core only. Its thread ends with it, so no pinned thread is left for others.
func TestOnCPU(t *testing.T) {
	var own unix.CPUSet
	if err := unix.SchedGetaffinity(0, &own); err != nil {
		t.Fatal(err)
	}
	last := -1
	for cpu := range 1024 {
		if own.IsSet(cpu) {
			last = cpu
		}
	}
	var inside unix.CPUSet
	var tid int
	onCPU(last, func() {
		tid = unix.Gettid()
		if err := unix.SchedGetaffinity(0, &inside); err != nil {
			t.Error(err)
		}
	})
	if inside.Count() != 1 || !inside.IsSet(last) {
		t.Errorf("ran on %d cores, want core %d alone", inside.Count(), last)
	}
	// The first thread of a process never ends; Go puts it aside.
	giveUp := time.After(time.Minute)
	for tid != unix.Getpid() && unix.Tgkill(unix.Getpid(), tid, 0) == nil {
		select {
		case <-giveUp:
			t.Fatalf("thread %d is still there, pinned", tid)
		default:
			runtime.Gosched()
		}
	}
	ran := 0
	onCPU(-1, func() { ran++ })
	onCPU(1023, func() { ran++ }) // no machine of ours has it
	if ran != 2 {
		t.Errorf("%d of 2 ran", ran)
	}
}

// Workers take the cores in turn, of whichever interface they are.
func TestWorkersCPU(t *testing.T) {
	c := Config{Host: host.Config{CPUs: []int{4, 6}}}
	for worker, want := range []int{4, 6, 4} {
		if got := c.cpu(worker); got != want {
			t.Errorf("worker %d: core %d, want %d", worker, got, want)
		}
	}
	if got := (&Config{}).cpu(3); got != -1 {
		t.Errorf("without cores: %d, want -1", got)
	}
}
