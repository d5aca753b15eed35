package udp

import (
	"log/slog"

	"golang.org/x/sys/unix"

	"ringcast/engine/port"
	"ringcast/engine/port/tally"
)

const (
	// maxSegments and maxMessageBytes bound one segmented message: UDP_MAX_SEGMENTS of the kernels
	// that introduced it, and an IP packet less every header that it may need.
	maxSegments     = 64
	maxMessageBytes = 65_000

	// A chunk holds at most chunkMessages, and closes once it holds chunkFrames or more.
	chunkMessages = 16
	chunkFrames   = 64

	// sendRetries bounds how often one offer is repeated after an interruption.
	sendRetries = 8

	// A route whose frames the kernel refuses twice on end rests for restAtLeast, and twice as long each time that it is
	// refused again, up to restAtMost.
	restAtLeast = 10 * port.Millisecond
	restAtMost  = 32 * restAtLeast
	// segmentAgain is how long a route does without segmentation once the kernel has refused it.
	segmentAgain = 10 * port.Second

	warnInterval = 60 * port.Second

	// Room for the control messages of a route, and of a message: that and the segment size.
	sourceRoom = 40
	outRoom    = sourceRoom + 24
)

// route is a path made ready: what the kernel wants to be told of where to and where from.
type route struct {
	name      rawAddress
	source    [sourceRoom]byte
	nameLen   uint8 // 0: revoked, or it rests
	sourceLen uint8
	// resting is nameLen while the route rests, else 0.
	resting  uint8
	failures uint8     // messages on end that the kernel refused for good
	rest     port.Time // when the route may be tried again
	whole    port.Time // until then, its frames are sent one by one
}

// message is what the kernel's answer to a chunk's entry is applied to.
type message struct {
	route  port.Route
	frames int
	bytes  int
	size   int // of every datagram but the last; 0 if the message is not segmented
}

// slot is the memory that the header of a message points to.
type slot struct {
	name    rawAddress
	control [outRoom]byte
}

// transmitter is the way out. It belongs to the worker's thread.
type transmitter struct {
	fd       int
	family   int
	counters *tally.Port
	sendmmsg func(fd int, messages []mmsghdr) (int, unix.Errno)
	log      *slog.Logger

	lender lender
	routes []route

	headers  [chunkMessages]mmsghdr
	slots    [chunkMessages]slot
	messages [chunkMessages]message
	vectors  []unix.Iovec

	perCall    int       // messages that one call offers, at most chunkMessages
	segmenting bool      // runs are cut by the kernel
	failing    int       // routes with failures
	quiet      port.Time // no warning about a route before
	starved    bool      // the kernel lacks memory for what is kept
}

// init prepares headers that point into t, so t must stay where it is.
func (t *transmitter) init(s socket, cfg Config, c *tally.Port) {
	t.fd, t.family = s.fd, s.family
	t.counters = c
	t.sendmmsg = sendmmsg
	t.log = cfg.Log
	t.lender = newLender(cfg.Frames)
	t.vectors = make([]unix.Iovec, cfg.Frames)
	for i := range t.headers {
		t.headers[i].header.Name = &t.slots[i].name[0]
		t.headers[i].header.Control = &t.slots[i].control[0]
	}
	t.perCall = chunkMessages
	if cfg.Batching == Single {
		t.perCall = 1
	}
	t.segmenting = s.gso && cfg.Batching == Segmented
}

// setRoutes carries out route changes.
func (t *transmitter) setRoutes(changes []port.RouteChange) {
	for i := range changes {
		c := &changes[i]
		if missing := int(c.Route) + 1 - len(t.routes); missing > 0 {
			t.routes = append(t.routes, make([]route, missing)...)
		}
		r := &t.routes[c.Route]
		if r.failures > 0 {
			t.failing--
		}
		*r = route{}
		if !c.Path.Remote.IsValid() {
			t.lender.revoke(c.Route)
			continue
		}
		r.nameLen = uint8(putAddress(&r.name, c.Path.Remote, t.family))
		if c.Path.Local.IsValid() {
			r.sourceLen = uint8(putSource(r.source[:], c.Path.Local, t.family))
		}
	}
}

// send sends the queue in order and returns how many of its frames are done with: sent or dropped.
func (t *transmitter) send(now port.Time, queue []port.Frame) (done int) {
	t.starved = false
	for done < len(queue) {
		if reason := t.obstacle(now, queue, done); reason != nil {
			*reason++
			done++
			continue
		}
		finished, full := t.offer(now, t.gather(now, queue, done))
		done += finished
		if full {
			break
		}
	}
	return done
}

// obstacle is the counter of what keeps queue's i-th frame from being sent, nil if nothing does.
func (t *transmitter) obstacle(now port.Time, queue []port.Frame, i int) *uint64 {
	f := &queue[i]
	switch {
	case t.lender.stale(now, queue, i):
		return &t.counters.Stats[port.Stale]
	case uint64(f.Route) >= uint64(len(t.routes)):
		return &t.counters.Stats[port.Unroutable]
	case t.routes[f.Route].nameLen == 0:
		return t.awaken(now, &t.routes[f.Route])
	case len(f.Data) > port.MaxDatagram:
		return &t.counters.Stats[port.Rejected]
	}
	return nil
}

// awaken ends a route's rest if that is over. Else it is the counter of what cannot be sent on the route.
func (t *transmitter) awaken(now port.Time, r *route) *uint64 {
	if r.resting == 0 {
		return &t.counters.Stats[port.Unroutable]
	}
	if now < r.rest {
		return &t.counters.Stats[port.Rejected]
	}
	r.nameLen, r.resting = r.resting, 0
	return nil
}

// gather makes a chunk of the frames from queue[next] on and returns its number of messages. It ends
// before a frame that cannot be sent.
func (t *transmitter) gather(now port.Time, queue []port.Frame, next int) (count int) {
	vectors := t.vectors
	for frames := 0; count < t.perCall && frames < chunkFrames && next < len(queue); count++ {
		if t.obstacle(now, queue, next) != nil {
			break
		}
		m := t.run(now, queue, next)
		for i := range m.frames {
			point(&vectors[i], queue[next+i].Data)
		}
		t.address(count, m, vectors)
		vectors = vectors[m.frames:]
		frames += m.frames
		next += m.frames
	}
	return count
}

// run measures the run that begins at queue[next]. Without segmentation it is one frame.
func (t *transmitter) run(now port.Time, queue []port.Frame, next int) message {
	first := &queue[next]
	size := len(first.Data)
	m := message{route: first.Route, frames: 1, bytes: size}
	if !t.segmenting || now < t.routes[first.Route].whole || size == 0 {
		return m
	}
	for i := next + 1; i < len(queue) && m.frames < maxSegments; i++ {
		f := &queue[i]
		length := len(f.Data)
		if f.Route != first.Route || length > size || length == 0 || m.bytes+length > maxMessageBytes ||
			t.lender.stale(now, queue, i) {
			break
		}
		m.size = size
		m.frames++
		m.bytes += length
		if length < size {
			break
		}
	}
	return m
}

// address completes the at-th message of the chunk.
func (t *transmitter) address(at int, m message, vectors []unix.Iovec) {
	r, s, h := &t.routes[m.route], &t.slots[at], &t.headers[at].header
	t.messages[at] = m
	s.name = r.name
	copy(s.control[:], r.source[:])
	controlLen := int(r.sourceLen)
	if m.size > 0 {
		controlLen += putSegment(s.control[controlLen:], m.size)
	}
	h.Namelen = uint32(r.nameLen)
	h.SetControllen(controlLen)
	h.Iov = &vectors[0]
	h.SetIovlen(m.frames)
}

// offer hands the chunk's first count messages to the kernel. It returns how many frames are done with
// and whether the kernel takes no more for now. Fewer than offered without that: gather again.
func (t *transmitter) offer(now port.Time, count int) (done int, full bool) {
	retries := 0
	for at := 0; at < count; {
		taken, errno := t.sendmmsg(t.fd, t.headers[at:count])
		if taken > 0 {
			t.counters.Stats[port.Calls]++
			for _, m := range t.messages[at : at+taken] {
				done += m.frames
				t.counters.Stats[port.Sent] += uint64(m.frames)
				t.counters.Stats[port.SentBytes] += uint64(m.bytes)
			}
			if t.failing > 0 {
				t.forgive(t.messages[at : at+taken])
			}
			at += taken
			continue
		}
		m := &t.messages[at]
		switch {
		case errno == unix.EINTR && retries < sendRetries:
			retries++
		case errno == unix.ENOBUFS || errno == unix.ENOMEM || errno == unix.EINTR:
			t.starved = true
			return done, true
		case errno == unix.EAGAIN || errno == 0:
			return done, true
		case m.size > 0 && unsegmentable(errno):
			t.degrade(now, m, errno)
			return done, false
		default:
			t.counters.Stats[port.Rejected] += uint64(m.frames)
			done += m.frames
			at++
			if t.blame(now, m, errno) {
				return done, false
			}
		}
	}
	return done, false
}

// unsegmentable reports whether an error may be due to segmentation.
func unsegmentable(errno unix.Errno) bool {
	return errno == unix.EIO || errno == unix.EINVAL || errno == unix.EMSGSIZE
}

// degrade sends a route's frames one by one for a while, after the kernel refused m. Each of the errors is about the
// path: EIO a device without checksum offload or a transform on the way, EMSGSIZE segments beyond its MTU (which the
// kernel fragments if they come alone), EINVAL either of them in older kernels, or a source that we no longer own.
func (t *transmitter) degrade(now port.Time, m *message, errno unix.Errno) {
	t.routes[m.route].whole = now + segmentAgain
	t.counters.Stats[port.Unsegmented]++
	t.warn(now, "UDP segmentation refused on a route, sending its datagrams one by one",
		"route", m.route, "segments", m.frames, "size", m.size, "error", errno)
}

// blame notes that the kernel refused m for good, and whether its route rests now. What is refused may be a single
// datagram, as by a firewall's rate limit, so the first refusal causes no rest.
func (t *transmitter) blame(now port.Time, m *message, errno unix.Errno) (rests bool) {
	if errno == unix.EMSGSIZE {
		return false // it is about the datagram
	}
	r := &t.routes[m.route]
	r.failures++
	if r.failures == 1 {
		t.failing++
		return false
	}
	rest := min(restAtLeast<<(r.failures-2), restAtMost)
	r.failures = min(r.failures, 16) // it must neither wrap nor shift too far
	r.rest = now + rest
	r.nameLen, r.resting = 0, r.nameLen
	t.counters.Stats[port.Rested]++
	t.warn(now, "datagrams refused on a route, pausing it", "route", m.route, "error", errno)
	return true
}

// forgive ends the failures of routes whose messages were sent.
func (t *transmitter) forgive(sent []message) {
	for i := range sent {
		if r := &t.routes[sent[i].route]; r.failures > 0 {
			r.failures = 0
			t.failing--
		}
	}
}

// warn logs about a route now and then.
func (t *transmitter) warn(now port.Time, message string, attributes ...any) {
	if now >= t.quiet {
		t.quiet = now + warnInterval
		t.log.Warn(message, attributes...)
	}
}
