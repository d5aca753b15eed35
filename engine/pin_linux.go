package engine

import "golang.org/x/sys/unix"

// pinThread keeps the calling thread, which must be locked, on one core.
func pinThread(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	return unix.SchedSetaffinity(0, &set)
}
