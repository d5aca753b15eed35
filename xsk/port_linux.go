package xsk

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"ringcast/engine/park"
	"ringcast/engine/port"
	"ringcast/xsk/frame"
	"ringcast/xsk/nexthop"
)

// A Guard lets a peer's packets pass the XDP program. Its methods are called by the ports' threads.
type Guard interface {
	// Allow lets packets of the path pass, at most rate a second of each kind (0: any number). They pass until the path
	// had as many Revokes as Allows. An error (the guard is full) is counted, and the route sends nonetheless.
	Allow(p port.Path, rate uint32) error
	// Revoke undoes one Allow that succeeded.
	Revoke(port.Path) error
}

// NextHops knows the next hops of paths. Its methods are called by the ports' threads.
type NextHops interface {
	// Generation changes whenever an earlier Resolve of a Way may have become wrong. It is called for every batch.
	Generation() uint32
	// Follow begins to follow a path. It is called for every change of a route.
	Follow(port.Path) nexthop.Way
	// Own reports whether an address is this host's. It is called for every received frame.
	Own(netip.Addr) bool
}

// A Companion is the kernel's socket on the same UDP port. It receives the datagrams that XDP passes to the kernel, and
// sends those without next hop.
type Companion interface {
	// Send sends one datagram without blocking, and does not keep the payload. Safe from any
	// thread.
	Send(p port.Path, payload []byte) error
	// Receive is like that of port.Port: in.Packets[:n] is valid until the next call. Only the port with ReadsCompanion
	// calls it.
	Receive(now port.Time, in *port.Batch) int
	// FD is the socket to poll.
	FD() int
}

// Config configures a port. Start from DefaultConfig.
type Config struct {
	// Bundle belongs to the port from New on. Without one the port starts as if suspended.
	Bundle *Bundle
	// NextHops, Companion and Now are required. Without a Guard no path needs to be allowed.
	NextHops  NextHops
	Companion Companion
	Guard     Guard
	// Now is the ports' clock. Wait's times are in its scale.
	Now func() port.Time
	// LocalPort is the UDP port that frames are sent from.
	LocalPort uint16
	// ReadsCompanion makes Receive yield the companion's datagrams too. Exactly one port of all reads the companion.
	ReadsCompanion bool
	// Checksum4 computes UDP checksums over IPv4, too (see package frame).
	Checksum4 bool
	// DSCP is the codepoint of all frames, 0 to 63 (RFC 2474).
	DSCP uint8
	// Frames is how many frames the port lends or keeps at most.
	Frames int
	// Batch is the most frames from XDP that one Receive yields.
	Batch int
	// Log gets degradations.
	Log *slog.Logger
}

const defaultFrames = 256

// DefaultConfig returns the defaults. NextHops, Companion, Now and LocalPort are still missing.
func DefaultConfig() Config {
	return Config{Checksum4: true, Frames: defaultFrames, Batch: 64, Log: slog.New(slog.DiscardHandler)}
}

func (c *Config) validate() error {
	switch {
	case c.NextHops == nil || c.Companion == nil || c.Now == nil:
		return errors.New("xsk: a port needs NextHops, a Companion and Now")
	case c.LocalPort == 0:
		return errors.New("xsk: LocalPort is 0")
	case c.Frames < 0:
		return fmt.Errorf("xsk: Frames is %d", c.Frames)
	case c.Batch < 0:
		return fmt.Errorf("xsk: Batch is %d", c.Batch)
	case c.DSCP > 63:
		return fmt.Errorf("xsk: DSCP is %d, at most 63", c.DSCP)
	}
	return fits(c.Bundle, c.Frames)
}

// fits returns an error if a bundle has fewer chunks than a port has frames.
func fits(b *Bundle, frames int) error {
	if b != nil && b.config.TransmitFrames < frames {
		return fmt.Errorf(
			"xsk: a port of %d frames on a bundle with TransmitFrames %d", frames, b.config.TransmitFrames)
	}
	return nil
}

// Port is the AF_XDP sockets of one worker, on one or more of the NIC's queues. Suspend takes its bundle away, and
// Resume gives it one. It implements port.Port, whose comment has the contract.
type Port struct {
	in       receiver
	out      transmitter
	counters portTally
	log      *slog.Logger
	now      func() port.Time

	bundle  *Bundle // that out sends through; nil while suspended
	closing *Bundle // that in still receives from; closed at the next Receive

	// place is where the worker sleeps. Its Fds are Wake's, the companion's if it is read, the sockets'.
	place *park.Place

	handover handover
	closed   bool
}

var _ port.Port = (*Port)(nil)

// New makes a port. If it fails, the bundle still belongs to the caller.
func New(cfg Config) (*Port, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	place, err := park.New()
	if err != nil {
		return nil, err
	}
	p := &Port{log: cfg.Log, now: cfg.Now, place: place}
	p.in = receiver{
		counters: &p.counters,
		hops:     cfg.NextHops,
		batch:    cfg.Batch,
		kick:     kickReceive,
		inbound:  make([]port.Inbound, 0, 2*cfg.Batch),
	}
	if cfg.ReadsCompanion {
		p.in.companion = cfg.Companion
		p.poll(cfg.Companion.FD())
	}
	p.out = transmitter{
		hops:      cfg.NextHops,
		companion: cfg.Companion,
		guard:     cfg.Guard,
		localPort: cfg.LocalPort,
		options:   frame.Options{Checksum4Off: !cfg.Checksum4, TrafficClass: cfg.DSCP << 2},
		counters:  &p.counters,
		log:       cfg.Log,
		kick:      kickTransmit,
		lender:    newLender(cfg.Frames),
	}
	if cfg.Bundle != nil {
		p.attach(cfg.Bundle)
	} else {
		p.out.lender.useHeap()
	}
	p.handover.active.Store(cfg.Bundle != nil)
	return p, nil
}

// attach makes the port use a bundle.
func (p *Port) attach(b *Bundle) {
	p.bundle = b
	p.out.attach(b)
	p.in.attach(b)
	for _, s := range b.sockets {
		p.poll(s.fd)
		p.poll(s.reports.fd)
	}
}

// poll makes Wait end when fd is readable.
func (p *Port) poll(fd int) {
	if err := p.place.Add(fd); err != nil {
		p.log.Error("arrivals do not wake the worker", "error", err) // no memory for it
	}
}

// Receive implements port.Port. The batch's slice is the port's own.
func (p *Port) Receive(now port.Time, in *port.Batch) int {
	if p.closing != nil {
		p.release()
	}
	n := p.in.receive(now)
	in.Packets = p.in.inbound
	return n
}

// Transmit implements port.Port.
func (p *Port) Transmit(now port.Time, out *port.Outgoing) {
	requested := p.handover.requested.Load()
	if requested && p.bundle != nil {
		p.detach()
	}
	pending := p.out.transmit(now, out)
	p.counters.publish()
	p.out.lender.settle(out, pending)
	for i := range p.out.senders {
		s := &p.out.senders[i]
		s.counters.Waiting = p.out.waits(i)
		s.counters.publish()
	}
	if requested {
		p.takeOver(out)
	}
}

// Stats implements port.Port.
func (p *Port) Stats() port.Stats { return p.counters.Snapshot() }

// Details returns the counts beside Stats, as of the last Transmit. Safe from any thread.
func (p *Port) Details() Details {
	d := p.counters.details()
	d.Suspended = !p.handover.active.Load()
	return d
}

// Wait implements port.Port. It polls for arrivals only: a TX ring always counts as writable.
func (p *Port) Wait(until port.Time) {
	if span, sleepy := p.drowse(until); sleepy {
		p.place.Doze(span)
		p.heed()
	}
}

// drowse prepares a sleep, unless there is something to do. It returns how long the sleep is to be, negative if it has
// no end. Reports end it only if none were received for reportSpan.
func (p *Port) drowse(until port.Time) (span time.Duration, sleepy bool) {
	now := p.now()
	if p.in.pending(now) || p.handover.requested.Load() {
		return 0, false
	}
	watch := p.place.Unmute
	if now < p.in.patience.until {
		watch = p.place.Mute
		until = min(until, p.in.patience.until)
	}
	for i := range p.in.intakes {
		watch(p.in.intakes[i].reports.fd)
	}
	if until = min(until, p.out.next(p.now)); until == port.Never {
		return -1, true
	}
	return max(0, time.Duration(until-now)), true
}

// Rest implements port.Port.
func (p *Port) Rest(until port.Time) {
	if span, sleepy := p.drowse(until); sleepy {
		p.place.Rest(span)
		p.heed()
	}
}

// heed makes Receive read the companion if the last sleep saw datagrams there. Receive looks at the sockets anyway.
func (p *Port) heed() {
	if p.in.companion != nil && p.place.Fds[1].Revents != 0 {
		p.in.due = 0
	}
}

// next is when Transmit has something to do even if the worker fills no frame.
func (t *transmitter) next(now func() port.Time) port.Time {
	next := port.Never
	for i := range t.senders {
		if s := &t.senders[i]; s.kickable() || !s.drained || s.backoff > 0 && t.lender.kept > 0 {
			next = min(next, s.again)
		}
	}
	if t.lender.lent == 0 {
		next = min(next, now()+retryAfter) // completions wake nobody
	}
	return next
}

// Wake implements port.Port. After Close it does nothing.
func (p *Port) Wake() { p.place.Wake() }

// Close implements port.Port. A second call does nothing.
func (p *Port) Close() error {
	if p.closed {
		return nil
	}
	p.closed = true
	errs := []error{p.handover.end()} // first: Suspend and Resume hold its lock while they wake the worker
	p.out.dismissAll()
	if p.bundle != nil {
		p.out.detach()
	}
	p.in.detach()
	for _, b := range []*Bundle{p.bundle, p.closing} {
		if b != nil {
			errs = append(errs, b.Close())
		}
	}
	p.bundle, p.closing = nil, nil
	errs = append(errs, p.place.Close())
	return errors.Join(errs...)
}

// handover is where other threads leave a request to give up or take over a bundle.
type handover struct {
	active    atomic.Bool // the port has a bundle, and no request to give it up
	requested atomic.Bool // Suspend or Resume was called

	sync.Mutex
	done  chan struct{} // closed when the present bundle is; nil: no request to close it
	next  *Bundle
	ended bool
}

// Suspend makes the port close its bundle in its next turn. Frames that the worker has filled by then, and all later
// ones, go through the companion. Frames in flight count as abandoned. done is closed when the kernel is releasing the
// queues; it is closed already if the port has no bundle. Safe from any thread.
func (p *Port) Suspend() (done <-chan struct{}) {
	h := &p.handover
	h.Lock()
	defer h.Unlock()
	if h.done != nil {
		return h.done
	}
	if h.ended || !h.active.Load() {
		none := make(chan struct{})
		close(none)
		return none
	}
	h.done = make(chan struct{})
	h.active.Store(false)
	h.requested.Store(true)
	p.Wake()
	return h.done
}

// Resume gives the port a bundle, which it uses from its next turn on. If the port still has one, it closes that first.
// Two bundles cannot be open on one queue, so Suspend and wait before opening the second. Resume fails if the bundle is
// too small or the port is closed; the bundle still belongs to the caller then. Safe from any thread.
func (p *Port) Resume(b *Bundle) error {
	if b == nil {
		return errors.New("xsk: Resume without a bundle")
	}
	if err := fits(b, len(p.out.lender.frames)); err != nil {
		return err
	}
	h := &p.handover
	h.Lock()
	defer h.Unlock()
	if h.ended {
		return errors.New("xsk: the port is closed")
	}
	if h.next != nil {
		return errors.New("xsk: the port has another bundle to take over")
	}
	if h.done == nil && h.active.Load() {
		h.done = make(chan struct{})
	}
	h.next = b
	h.active.Store(true)
	h.requested.Store(true)
	p.Wake()
	return nil
}

// detach ends the sending through the bundle. Frames on its TX rings go through the companion now, and new frames lie
// in ordinary memory. The worker may use received frames until the next Receive.
func (p *Port) detach() {
	p.out.detach()
	p.closing, p.bundle = p.bundle, nil
}

// takeOver moves the lender, which keeps no frame, from one memory to another.
func (p *Port) takeOver(out *port.Outgoing) {
	h := &p.handover
	h.Lock()
	defer h.Unlock()
	switch {
	case p.closing != nil:
		p.out.lender.useHeap()
	case h.next != nil:
		p.attach(h.next)
		h.next = nil
		h.requested.Store(h.done != nil)
	}
	p.out.lender.settle(out, nil)
}

// release closes the bundle that was detached.
func (p *Port) release() {
	p.in.detach()
	for _, s := range p.closing.sockets {
		p.place.Remove(s.fd)
		p.place.Remove(s.reports.fd)
	}
	err := p.closing.Close()
	p.closing = nil
	if err != nil {
		p.log.Warn("AF_XDP bundle closed with errors", "error", err)
	}
	h := &p.handover
	h.Lock()
	defer h.Unlock()
	close(h.done)
	h.done = nil
	h.requested.Store(h.next != nil)
}

// end ends all requests.
func (h *handover) end() error {
	h.Lock()
	defer h.Unlock()
	h.ended = true
	h.active.Store(false)
	if h.done != nil {
		close(h.done)
		h.done = nil
	}
	next := h.next
	h.next = nil
	if next != nil {
		return next.Close()
	}
	return nil
}
