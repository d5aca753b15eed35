package dtls

import (
	"sync"
	"sync/atomic"
	"time"
)

// DropReason is why a record or a datagram went no further.
type DropReason uint8

const (
	// DropMalformed: not a DTLS 1.2 record, or a handshake fragment that contradicts itself.
	DropMalformed DropReason = iota
	// DropPlaintextAlert: an alert that anybody could have sent.
	DropPlaintextAlert
	// DropUnwanted: a record that no handshake needs, such as application data.
	DropUnwanted
	// DropExcess: a handshake message that is too large, or more of them than a handshake takes.
	DropExcess
	// DropQueue: a datagram of a handshake that has too many waiting.
	DropQueue
	// DropForged: an encrypted alert that does not verify.
	DropForged
	// DropUnknownSession: a datagram of a session that is not known, or no longer.
	DropUnknownSession

	dropReasons
)

var dropNames = [...]string{
	"malformed", "plaintext alert", "unwanted", "excess", "queue full", "forged alert", "unknown session",
}

func (r DropReason) String() string { return dropNames[r] }

// FailReason is a class of errors in Failed events.
type FailReason uint8

const (
	FailTimeout FailReason = iota
	FailFingerprint
	FailProfile
	// FailProtocol: anything else, mostly no cipher suite in common or a broken message.
	FailProtocol

	failReasons
)

var failNames = [...]string{"timeout", "fingerprint", "no SRTP profile", "protocol"}

func (r FailReason) String() string { return failNames[r] }

// DurationBounds are the upper bounds of Stats.Durations but for its last element.
var DurationBounds = [...]time.Duration{
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
	250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond,
	5 * time.Second,
}

// Stats is a snapshot of an Endpoint's counters since New.
type Stats struct {
	Started, Completed uint64
	// Failed counts Failed events by FailReason.
	Failed [failReasons]uint64
	// Cancelled counts handshakes that Close or Shutdown ended.
	Cancelled uint64
	// Refused and RefusedSource count calls of Start that met a cap.
	Refused, RefusedSource uint64
	// Resent counts last flights sent again after their handshakes.
	Resent uint64
	// Dropped counts records by DropReason; for DropQueue and DropUnknownSession, datagrams.
	Dropped [dropReasons]uint64
	// InFlight and Sessions are how many handshakes run now and how many sessions are known, those
	// included.
	InFlight, Sessions int
	// Computing is the number of handshakes that hold a compute slot now.
	Computing int
	// Durations counts completed handshakes by the bounds in DurationBounds, from Start to Keyed,
	// waiting for the peer included; DurationSum and DurationMax are of the same.
	Durations   [len(DurationBounds) + 1]uint64
	DurationSum time.Duration
	DurationMax time.Duration
}

// counters are the running values of Stats.
type counters struct {
	started, completed, cancelled, refused, refusedSource, resent atomic.Uint64

	failed  [failReasons]atomic.Uint64
	dropped [dropReasons]atomic.Uint64

	mu          sync.Mutex
	durations   [len(DurationBounds) + 1]uint64
	durationSum time.Duration
	durationMax time.Duration
}

func (c *counters) complete(took time.Duration) {
	c.completed.Add(1)
	bucket := 0
	for bucket < len(DurationBounds) && took > DurationBounds[bucket] {
		bucket++
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.durations[bucket]++
	c.durationSum += took
	c.durationMax = max(c.durationMax, took)
}

// Stats returns the counts up to now.
func (e *Endpoint) Stats() Stats {
	c := &e.counts
	s := Stats{
		Started:       c.started.Load(),
		Completed:     c.completed.Load(),
		Cancelled:     c.cancelled.Load(),
		Refused:       c.refused.Load(),
		RefusedSource: c.refusedSource.Load(),
		Resent:        c.resent.Load(),
		Computing:     len(e.slots),
	}
	for i := range s.Failed {
		s.Failed[i] = c.failed[i].Load()
	}
	for i := range s.Dropped {
		s.Dropped[i] = c.dropped[i].Load()
	}
	c.mu.Lock()
	s.Durations, s.DurationSum, s.DurationMax = c.durations, c.durationSum, c.durationMax
	c.mu.Unlock()
	e.mu.Lock()
	s.InFlight, s.Sessions = e.inFlight, len(e.sessions)
	e.mu.Unlock()
	return s
}
