package engine

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// pinThread keeps the calling thread, which must be locked, on one core.
func pinThread(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	return unix.SchedSetaffinity(0, &set)
}

// onCPU runs f on one core. -1 is any, and so is a core that this process may not use. Memory that the kernel allocates
// for f is on the core's NUMA node. The thread ends with f, so its affinity affects nothing else.
func onCPU(cpu int, f func()) {
	if cpu < 0 {
		f()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlock
		_ = pinThread(cpu)     // the worker itself warns
		f()
	}()
	<-done
}
