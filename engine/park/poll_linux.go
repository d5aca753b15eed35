package park

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// dozeFor is how long Poll keeps its processor from the Go runtime.
const dozeFor = time.Millisecond

// Poll waits until a descriptor has what it is asked for, and says so in Revents, or until the span is over; a
// negative one never is. A signal may end it early.
//
// It is for threads that sleep often and not long. A system call that the runtime knows of lets it give the processor
// to another thread, which looks for work, finds none and sleeps in its turn: a twentieth of the CPU time of a server
// with 1,000 viewers, who always have something to report. So the call begins as one that the runtime does not know
// of. Who stops the world meanwhile sends the thread a signal, which ends the call; if it came just before the call,
// it sends another (preemptall in runtime/proc.go), or waits for a millisecond.
func Poll(fds []unix.PollFd, span time.Duration) {
	doze := dozeFor
	if span >= 0 {
		doze = min(doze, span)
	}
	t := unix.NsecToTimespec(int64(doze))
	n, _, err := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(unsafe.SliceData(fds))), uintptr(len(fds)),
		uintptr(unsafe.Pointer(&t)), 0, 0, 0)
	if n > 0 || err != 0 || doze == span {
		return
	}
	if span < 0 {
		_, _ = unix.Ppoll(fds, nil, nil) // a signal is all that it can fail by
		return
	}
	t = unix.NsecToTimespec(int64(span - doze))
	_, _ = unix.Ppoll(fds, &t, nil)
}
