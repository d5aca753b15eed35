package xsk

import (
	"math"
	"slices"

	"golang.org/x/sys/unix"

	"ringcast/engine/port"
)

// collect frees the memory of completed frames, and finds out what the kernel has consumed since the last time. The
// consumer's index says so, but the kernel does not store it after a call in which only dropped frames left the ring
// (EBUSY). The memory of those has completed by then.
func (t *transmitter) collect(s *sender) {
	if n := s.completion.peek(); n > 0 {
		for i := range n {
			t.complete(uint32(s.completion.at(i) >> t.shift))
		}
		s.completion.release(n)
		s.counters.Counts[QueueCompleted] += uint64(n)
	}
	if s.zeroCopy {
		if s.backoff > 0 && int32(s.tx.consumed()-s.kicked) >= 0 {
			s.backoff, s.again = 0, 0
		}
		return
	}
	if n := s.tx.consumed() - s.head; int32(n) > 0 {
		s.head += n
		s.uncounted += int(n)
	}
	for s.head != s.tx.next && !t.chunkAt(s, s.head).withKernel() {
		s.head++
		s.uncounted++
	}
}

// complete takes in a chunk that the kernel is done with. It does not trust the kernel's number.
func (t *transmitter) complete(number uint32) {
	if int(number) >= len(t.lender.chunks) {
		return
	}
	switch c := &t.lender.chunks[number]; c.state {
	case chunkOffered:
		c.state = chunkReturned
	case chunkInFlight:
		c.state = chunkOurs
	default:
		return
	}
	t.lender.free = append(t.lender.free, number)
}

// chunkAt is the chunk of a descriptor on the TX ring.
func (t *transmitter) chunkAt(s *sender, index uint32) *chunk {
	return &t.lender.chunks[s.tx.reserve(index).Addr>>t.shift]
}

// countConsumed counts the pending frames that the kernel has consumed, and parts them from their memory. Every sender
// consumed the first ones that were offered to it.
func (t *transmitter) countConsumed(pending []port.Frame) {
	for i := range pending {
		f := &pending[i]
		if f.Handle == noChunk || len(t.senders) == 0 {
			continue
		}
		c := &t.lender.chunks[f.Handle]
		if !c.uncounted() {
			continue
		}
		s := &t.senders[c.sender]
		if s.uncounted == 0 {
			continue
		}
		s.uncounted--
		if c.state == chunkReturned {
			c.state = chunkOurs
		} else {
			c.state = chunkInFlight
		}
		f.Handle = noChunk
		if c.dropped {
			t.counters.Stats[port.Rejected]++
			continue
		}
		s.counters.Counts[QueueSent]++
		t.counters.Stats[port.Sent]++
		t.counters.Stats[port.SentBytes] += uint64(len(f.Data))
	}
}

// reclaimStale reclaims from each sender that may kick now and would send a kept frame too late.
func (t *transmitter) reclaimStale(kept []port.Frame) {
	for i := range kept {
		f := &kept[i]
		if f.Handle == noChunk || t.now-f.Born <= port.StaleAfter {
			continue
		}
		c := &t.lender.chunks[f.Handle]
		if c.uncounted() && t.now >= t.senders[c.sender].again {
			t.reclaim(&t.senders[c.sender])
		}
	}
}

// reclaim makes the chunks ours again whose descriptors the kernel has not consumed. The descriptors' places on the
// ring cannot be reclaimed too: the kernel may have seen the producer's index. So the descriptors are made invalid, and
// kicks make the kernel skip them.
func (t *transmitter) reclaim(s *sender) {
	if s.head == s.tx.next {
		return
	}
	t.invalidate(s)
	t.drain(s)
}

// invalidate is reclaim without the kicks.
func (t *transmitter) invalidate(s *sender) {
	for ; s.head != s.tx.next; s.head++ {
		t.chunkAt(s, s.head).state = chunkOurs
		// An address beyond the UMEM is invalid to every version of the kernel.
		*s.tx.reserve(s.head) = unix.XDPDesc{Addr: math.MaxUint64 &^ (1<<t.shift - 1), Len: 1}
	}
	s.drained = false
}

// drain kicks until the kernel has skipped the invalid descriptors: one a call, and it may store its index only after
// the last. A driver in zerocopy mode is kicked once, as it may run later.
func (t *transmitter) drain(s *sender) {
	for range s.tx.next - s.tx.consumed() + 2 {
		if s.drained = s.tx.consumed() == s.tx.next; s.drained {
			return
		}
		if errno := t.countKick(s, t.kick(s.fd)); errno != 0 || s.zeroCopy {
			break
		}
	}
	if s.drained = s.tx.consumed() == s.tx.next; !s.drained {
		s.again = t.now + retryDown
	}
}

// waits reports whether a sender depends on the next frame that comes back from the kernel.
func (t *transmitter) waits(sender int) bool {
	s := &t.senders[sender]
	if s.zeroCopy && s.tx.consumed() != s.tx.next {
		return true
	}
	return t.lender.lent == 0 && slices.ContainsFunc(t.lender.chunks, func(c chunk) bool {
		return c.withKernel() && int(c.sender) == sender
	})
}
