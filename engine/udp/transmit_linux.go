package udp

import (
	"log/slog"

	"golang.org/x/sys/unix"

	"ringcast/engine/port"
	"ringcast/engine/port/tally"
)

const (
	// maxSegments and maxMessageBytes bound one segmented message: UDP_MAX_SEGMENTS of the kernels that introduced
	// segmentation, and an IP packet less every header that it may need.
	maxSegments     = 64
	maxMessageBytes = 65_000

	// A batch has at most batchMessages. It is full once it has batchFrames or more.
	batchMessages = 16
	batchFrames   = 64

	// sendRetries bounds how often one offer is repeated after an interruption.
	sendRetries = 8

	// A route whose frames the kernel rejects twice in a row rests for restAtLeast. The rest doubles with each further
	// rejection, up to restAtMost.
	restAtLeast = 10 * port.Millisecond
	restAtMost  = 32 * restAtLeast
	// segmentAgain is how long a route goes without segmentation after the kernel did not segment its frames.
	segmentAgain = 10 * port.Second

	// sourceRoom has room for the control message of a route, outRoom for that and the segment size.
	sourceRoom = 40
	outRoom    = sourceRoom + 24
)

// route is a path made ready: the destination and the source in the kernel's form.
type route struct {
	name      rawAddress
	source    [sourceRoom]byte
	nameLen   uint8 // 0: revoked, or it rests
	sourceLen uint8
	// resting is nameLen while the route rests, else 0.
	resting  uint8
	failures uint8     // messages in a row that the kernel rejected
	rest     port.Time // when the route may be tried again
	whole    port.Time // until then, its frames are sent one by one
}

// message is one message of a batch, to which the kernel's answer applies.
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

	headers  [batchMessages]mmsghdr
	slots    [batchMessages]slot
	messages [batchMessages]message
	vectors  []unix.Iovec

	perCall    int       // messages that one call offers, at most batchMessages
	segmenting bool      // runs are cut by the kernel
	failing    int       // routes with failures
	quiet      port.Time // no warning about a route before
	starved    bool      // the kernel lacks memory for the kept frames
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
	t.perCall = batchMessages
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

// send sends the pending frames in order, and returns how many of them are done with: sent or dropped.
func (t *transmitter) send(now port.Time, pending []port.Frame) (done int) {
	t.starved = false
	for done < len(pending) {
		if reason := t.obstacle(now, pending, done); reason != nil {
			*reason++
			done++
			continue
		}
		finished, full := t.offer(now, t.gather(now, pending, done))
		done += finished
		if full {
			break
		}
	}
	return done
}

// obstacle is the counter of the reason why the i-th pending frame cannot be sent, nil if there is none.
func (t *transmitter) obstacle(now port.Time, pending []port.Frame, i int) *uint64 {
	f := &pending[i]
	switch {
	case t.lender.stale(now, pending, i):
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

// awaken ends a route's rest if its time is over, and returns nil. Otherwise it returns the counter of the route's
// frames.
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

// gather makes a batch of the frames from pending[next] on, and returns its number of messages. The batch ends before a
// frame that cannot be sent.
func (t *transmitter) gather(now port.Time, pending []port.Frame, next int) (count int) {
	vectors := t.vectors
	for frames := 0; count < t.perCall && frames < batchFrames && next < len(pending); count++ {
		if t.obstacle(now, pending, next) != nil {
			break
		}
		m := t.run(now, pending, next)
		for i := range m.frames {
			point(&vectors[i], pending[next+i].Data)
		}
		t.address(count, m, vectors)
		vectors = vectors[m.frames:]
		frames += m.frames
		next += m.frames
	}
	return count
}

// run measures the run that begins at pending[next]. Without segmentation it is one frame.
func (t *transmitter) run(now port.Time, pending []port.Frame, next int) message {
	first := &pending[next]
	size := len(first.Data)
	m := message{route: first.Route, frames: 1, bytes: size}
	if !t.segmenting || now < t.routes[first.Route].whole || size == 0 {
		return m
	}
	for i := next + 1; i < len(pending) && m.frames < maxSegments; i++ {
		f := &pending[i]
		length := len(f.Data)
		if f.Route != first.Route || length > size || length == 0 || m.bytes+length > maxMessageBytes ||
			t.lender.stale(now, pending, i) {
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

// address completes the at-th message of the batch.
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

// offer hands the first count messages of the batch to the kernel. It returns how many frames are done with, and
// whether the kernel accepts no more for now. If it accepts more, the other frames are to be gathered again.
func (t *transmitter) offer(now port.Time, count int) (done int, full bool) {
	retries := 0
	for at := 0; at < count; {
		accepted, errno := t.sendmmsg(t.fd, t.headers[at:count])
		if accepted > 0 {
			t.counters.Stats[port.Calls]++
			for _, m := range t.messages[at : at+accepted] {
				done += m.frames
				t.counters.Stats[port.Sent] += uint64(m.frames)
				t.counters.Stats[port.SentBytes] += uint64(m.bytes)
			}
			if t.failing > 0 {
				t.forgive(t.messages[at : at+accepted])
			}
			at += accepted
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

// unsegmentable reports whether segmentation may be the cause of an error.
func unsegmentable(errno unix.Errno) bool {
	return errno == unix.EIO || errno == unix.EINVAL || errno == unix.EMSGSIZE
}

// degrade makes a route send its frames one by one for a while, because the kernel did not segment m. Each of the
// errors is about the path. EIO: a device without checksum offload, or a transform on the way. EMSGSIZE: segments
// beyond the path's MTU, which the kernel fragments if they come alone. EINVAL: either of them in older kernels, or a
// source address that we no longer own.
func (t *transmitter) degrade(now port.Time, m *message, errno unix.Errno) {
	t.routes[m.route].whole = now + segmentAgain
	t.counters.Stats[port.Unsegmented]++
	t.warn(now, "the kernel does not segment datagrams on a route, sending them one by one",
		"route", m.route, "segments", m.frames, "size", m.size, "error", errno)
}

// blame notes that the kernel rejected m, and reports whether its route rests now. The first rejection causes no rest:
// it may be about a single datagram, as that by a firewall's rate limit.
func (t *transmitter) blame(now port.Time, m *message, errno unix.Errno) (rests bool) {
	if errno == unix.EMSGSIZE {
		return false // the error is about the datagram
	}
	r := &t.routes[m.route]
	r.failures++
	if r.failures == 1 {
		t.failing++
		return false
	}
	rest := min(restAtLeast<<(r.failures-2), restAtMost)
	r.failures = min(r.failures, 16) // so that it neither wraps nor shifts too far
	r.rest = now + rest
	r.nameLen, r.resting = 0, r.nameLen
	t.counters.Stats[port.Rested]++
	t.warn(now, "the kernel rejects datagrams on a route, pausing it", "route", m.route, "error", errno)
	return true
}

// forgive clears the failures of routes whose messages were sent.
func (t *transmitter) forgive(sent []message) {
	for i := range sent {
		if r := &t.routes[sent[i].route]; r.failures > 0 {
			r.failures = 0
			t.failing--
		}
	}
}

// warn logs a warning about a route, at most one in warnInterval.
func (t *transmitter) warn(now port.Time, message string, attributes ...any) {
	if now >= t.quiet {
		t.quiet = now + warnInterval
		t.log.Warn(message, attributes...)
	}
}
