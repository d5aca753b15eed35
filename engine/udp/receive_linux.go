package udp

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"ringcast/engine/port"
	"ringcast/engine/port/tally"
)

const (
	// groStride is the room for a message that may hold several datagrams: the largest UDP message and 1 KB more. With
	// 64 KB exactly, all buffers would begin in the same cache sets.
	groStride = 65 << 10
	// plainStride is the room for a message that is one datagram. The kernel marks a longer one as cut off.
	plainStride = 2048

	// controlRoom holds the source of either family, the arrival time and the segment size.
	controlRoom = 128

	// receiveRetries bounds how often one Receive asks again after an interruption or a peer's error.
	receiveRetries = 4
)

// receiver is the way in. It belongs to the worker's thread.
type receiver struct {
	fd       int
	counters *tally.Port
	recvmmsg func(fd int, messages []mmsghdr) (int, unix.Errno)

	headers  []mmsghdr
	vectors  []unix.Iovec
	names    []rawAddress
	controls [][controlRoom]byte
	memory   []byte
	stride   int
	inbound  []port.Inbound
	zones    zones
	bound    netip.Addr // the local address when it is not a wildcard

	// headers[next:arrived] are still to be handed out, headers[next] from offset on.
	arrived, next, offset int
	// toMonotonic is the ports' clock less the wall clock, at the last recvmmsg.
	toMonotonic int64
}

func (r *receiver) init(s socket, cfg Config, c *tally.Port) {
	*r = receiver{
		fd:       s.fd,
		counters: c,
		recvmmsg: recvmmsg,
		headers:  make([]mmsghdr, cfg.Batch),
		vectors:  make([]unix.Iovec, cfg.Batch),
		names:    make([]rawAddress, cfg.Batch),
		controls: make([][controlRoom]byte, cfg.Batch),
		stride:   plainStride,
		inbound:  make([]port.Inbound, cfg.Batch),
	}
	if s.gro {
		r.stride = groStride
	}
	if !s.local.Addr().IsUnspecified() {
		r.bound = s.local.Addr()
	}
	r.memory = make([]byte, cfg.Batch*r.stride)
	for i := range r.headers {
		h := &r.headers[i].header
		h.Name = &r.names[i][0]
		h.Control = &r.controls[i][0]
		h.Iov = &r.vectors[i]
		h.SetIovlen(1)
		point(&r.vectors[i], r.memory[i*r.stride:][:r.stride])
	}
	r.arrived = cfg.Batch
	r.rearm()
}

// rearm restores the lengths in the headers, which the last recvmmsg changed.
func (r *receiver) rearm() {
	for i := range r.headers[:r.arrived] {
		h := &r.headers[i].header
		h.Namelen = uint32(len(r.names[i]))
		h.SetControllen(controlRoom)
		h.Flags = 0
	}
	r.arrived, r.next, r.offset = 0, 0, 0
}

// unread reports whether there are datagrams that no Receive has yielded yet.
func (r *receiver) unread() bool { return r.next < r.arrived }

// receive fills inbound and returns the number of datagrams.
func (r *receiver) receive(now port.Time) int {
	if !r.unread() {
		r.read()
	}
	n := 0
	for r.unread() && n < len(r.inbound) {
		n += r.split(now, r.inbound[n:])
	}
	return n
}

// read asks the kernel for messages.
func (r *receiver) read() {
	r.rearm()
	for range receiveRetries {
		n, errno := r.recvmmsg(r.fd, r.headers)
		if errno == 0 {
			now, wall := clocks()
			r.toMonotonic = int64(now) - wall
			r.arrived = n
			return
		}
		if errno == unix.EAGAIN {
			return
		}
		// Interrupted, or an error that an earlier datagram met on its way: it is reported once.
	}
}

// split yields datagrams of the next message, as many as it holds and out has room for. After the last datagram it
// steps to the next message.
func (r *receiver) split(now port.Time, out []port.Inbound) int {
	m := &r.headers[r.next]
	size := int(m.length)
	data := r.memory[r.next*r.stride:][:r.stride]
	path, c, usable := r.origin()
	if !usable || m.header.Flags&unix.MSG_TRUNC != 0 || m.length > uint32(len(data)) {
		r.counters.Stats[port.Malformed]++
		r.step()
		return 0
	}
	arrival := now
	if c.stamp != 0 {
		arrival = clampArrival(port.Time(c.stamp+r.toMonotonic), now)
	}
	segment := c.segment
	if segment == 0 {
		segment = max(size, 1)
	}

	n := 0
	for n < len(out) {
		end := min(r.offset+segment, size)
		if end-r.offset > port.MaxDatagram {
			r.counters.Stats[port.Malformed]++
		} else {
			out[n] = port.Inbound{Path: path, Data: data[r.offset:end:end], Arrival: arrival}
			n++
			r.counters.Stats[port.Received]++
			r.counters.Stats[port.ReceivedBytes] += uint64(end - r.offset)
		}
		r.offset = end
		if end == size {
			r.step()
			break
		}
	}
	return n
}

// origin reads the next message's addresses and control data. A datagram is usable if it can be answered: its source
// has a port, and its destination is known.
func (r *receiver) origin() (path port.Path, c control, usable bool) {
	h := &r.headers[r.next].header
	c = r.zones.parseControl(r.controls[r.next][:min(int(h.Controllen), controlRoom)])
	if !c.local.IsValid() {
		c.local = r.bound
	}
	name := r.names[r.next][:]
	remote, known := r.zones.parseAddress(name[:min(int(h.Namelen), len(name))])
	path = port.Path{Remote: remote, Local: c.local}
	return path, c, known && remote.Port() != 0 && c.local.IsValid()
}

func (r *receiver) step() {
	r.next++
	r.offset = 0
}
