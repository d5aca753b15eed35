package xsk

import (
	"golang.org/x/sys/unix"

	"ringcast/engine/port"
)

const (
	// retryAfter is the pause before a socket that sends nothing is kicked again. It doubles each time, up to
	// retryAtMost. No event announces the completion or the free buffer that the socket lacks.
	retryAfter  = 50 * port.Microsecond
	retryAtMost = port.Millisecond
	// retryDown is the same while the interface is down.
	retryDown = 10 * port.Millisecond

	// In one Transmit and for one socket, dropsAtMost bounds the kicks that lost a frame each (no carrier),
	// repeatsAtMost those without effect (interrupted, no buffers).
	dropsAtMost   = 16
	repeatsAtMost = 4
)

// countKick counts a kick by its answer, which it returns.
func (t *transmitter) countKick(s *sender, errno unix.Errno) unix.Errno {
	t.counters.Stats[port.Calls]++
	switch errno {
	case 0:
		s.counters.Counts[QueueOK]++
	case unix.EAGAIN:
		s.counters.Counts[QueueAgain]++
	case unix.EBUSY:
		s.counters.Counts[QueueBusy]++
	case unix.ENOBUFS, unix.ENOMEM:
		s.counters.Counts[QueueNoBuffers]++
	case unix.ENETDOWN:
		s.counters.Counts[QueueDown]++
	default:
		s.counters.Counts[QueueFailed]++
	}
	return errno
}

// drive kicks until the kernel has consumed the TX ring, or consumes no more for now. If the kernel does not even look
// at the ring, the frames there are reclaimed, and the sender is not drained.
func (t *transmitter) drive(s *sender) {
	drops, repeats := 0, 0
	sent := false
	for {
		before := s.head
		errno := t.countKick(s, t.kick(s.fd))
		s.kicked = s.tx.next
		t.collect(s)
		moved := s.head != before
		if moved && errno != unix.EBUSY {
			sent = true
			s.backoff = 0
		}
		repeat := moved
		switch errno {
		case 0:
			// Most drivers in zerocopy mode raise an interrupt, and have not run yet. Descriptors that they left on
			// the ring are no reason to kick again before a pause is over.
			sent = sent || s.zeroCopy
		case unix.EAGAIN:
		case unix.EBUSY:
			if moved {
				t.chunkAt(s, s.head-1).dropped = true
			}
			drops++
			repeat = drops < dropsAtMost
		case unix.EINTR, unix.ENOBUFS, unix.ENOMEM:
			repeats++
			repeat = repeats < repeatsAtMost
		default:
			// ENETDOWN, or ENXIO for good: the kernel does not look at the ring. Only its own socket can find
			// another way now.
			t.fail(s, errno)
			return
		}
		if s.kickable() && repeat {
			continue
		}
		if s.kickable() || !sent {
			s.backoff = min(max(2*s.backoff, retryAfter), retryAtMost)
			s.again = t.now + s.backoff
		}
		return
	}
}

// fail reclaims the frames of a socket that does not send. The companion gets them until the socket sends again.
func (t *transmitter) fail(s *sender, errno unix.Errno) {
	t.invalidate(s)
	s.again = t.now + retryDown
	t.warn(&t.quiet, "AF_XDP does not send, frames go through the companion", "queue", s.queue, "error", errno)
}
