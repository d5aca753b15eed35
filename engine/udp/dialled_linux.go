package udp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"ringcast/engine/park"
	"ringcast/engine/port"
	"ringcast/engine/port/tally"
)

const (
	// visit is the most messages that one socket has of a Receive while others are ready.
	visit = 16
	// dialledBatch is the most messages of one sendmmsg.
	dialledBatch = 16
)

// Dialled is the port of dialled sessions, with a socket for each session. It implements port.Port. A path's Local is
// the name of its session's socket, see port.Socket.
//
// Routes own the sockets: the first that names one opens it, and the last closes it. So only the worker's thread opens
// and closes sockets, between its sends and its receives. A socket that does not open is tried again with the next
// route that names it. Frames on a route without a socket count as rejected.
//
// All sockets are watched by one epoll set. They take turns to be received from. A socket that is full keeps its own
// frames only.
type Dialled struct {
	cfg      Config
	counters tally.Port
	in       receiver // its fd has no meaning
	lender   lender
	place    *park.Place // where the worker sleeps; its second descriptor is epoll
	epoll    int
	open     atomic.Int64 // sockets
	quiet    port.Time    // no warning about a socket before
	closed   bool

	named   map[netip.Addr]*dialledSocket
	sockets []*dialledSocket // by their places; nil is free
	unused  []*dialledSocket // that no route named at some time of the present Transmit
	routes  []dialledRoute

	ready    []unix.EpollEvent // found by the last look into epoll
	visited  int               // of ready
	locals   []netip.Addr      // of the messages in in.headers
	transmit uint64            // number of the present Transmit

	headers  [dialledBatch]mmsghdr
	vectors  [dialledBatch]unix.Iovec
	sendmmsg func(fd int, messages []mmsghdr) (int, unix.Errno)
}

var _ port.Port = (*Dialled)(nil)

// A dialledSocket is the socket of one session.
type dialledSocket struct {
	socket
	name   netip.Addr
	place  int
	routes int    // that name it
	full   uint64 // the Transmit in which the kernel had no more room for it
}

// dialledRoute is a path made ready.
type dialledRoute struct {
	socket  *dialledSocket // nil: it did not open
	name    rawAddress
	nameLen uint8
	set     bool // not revoked
}

// OpenDialled makes the port, without a socket yet. It checks that cfg's address can be bound. The UDP port and Workers
// have no meaning, and all datagrams of a call are messages of their own.
func OpenDialled(cfg Config) (*Dialled, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	cfg.Address = netip.AddrPortFrom(cfg.Address.Addr(), 0)
	probe, err := openGroup(cfg, 1)
	if err != nil {
		return nil, err
	}
	_ = unix.Close(probe[0].fd)
	d := &Dialled{
		cfg: cfg, lender: newLender(cfg.Frames), named: make(map[netip.Addr]*dialledSocket),
		ready: make([]unix.EpollEvent, 0, cfg.Batch), locals: make([]netip.Addr, cfg.Batch), sendmmsg: sendmmsg,
	}
	d.in.init(probe[0], cfg, &d.counters)
	for i := range d.headers {
		h := &d.headers[i].header
		h.Iov = &d.vectors[i]
		h.SetIovlen(1)
	}
	if d.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("make an epoll set: %w", err)
	}
	if d.place, err = park.New(); err != nil {
		return nil, errors.Join(err, unix.Close(d.epoll))
	}
	if err := d.place.Add(d.epoll); err != nil {
		return nil, errors.Join(err, d.place.Close(), unix.Close(d.epoll))
	}
	return d, nil
}

// Sockets is how many sockets are open. Safe from any thread.
func (d *Dialled) Sockets() int { return int(d.open.Load()) }

// Receive implements port.Port. The batch's slice is the port's own.
func (d *Dialled) Receive(now port.Time, in *port.Batch) int {
	if !d.in.unread() {
		d.read()
	}
	n := 0
	for d.in.unread() && n < len(d.in.inbound) {
		d.in.bound = d.locals[d.in.next]
		n += d.in.split(now, d.in.inbound[n:])
	}
	in.Packets = d.in.inbound[:n]
	return n
}

// read asks the kernel for messages of the ready sockets. Those that it does not come to are the first next time.
func (d *Dialled) read() {
	d.in.rearm()
	if d.visited == len(d.ready) {
		d.ready = d.ready[:epollWait(d.epoll, d.ready[:cap(d.ready)])]
		d.visited = 0
	}
	for d.visited < len(d.ready) && d.in.arrived < len(d.in.headers) {
		s := d.sockets[d.ready[d.visited].Fd]
		d.visited++
		if s == nil {
			continue // closed since
		}
		room := d.in.headers[d.in.arrived:]
		n, errno := d.in.recvmmsg(s.fd, room[:min(len(room), visit)])
		if errno != 0 {
			continue // read already, or an error that an earlier datagram met: epoll reports what is left
		}
		for range n {
			d.locals[d.in.arrived] = s.name
			d.in.arrived++
		}
	}
	now, wall := clocks()
	d.in.toMonotonic = int64(now) - wall
}

// Transmit implements port.Port.
func (d *Dialled) Transmit(now port.Time, out *port.Outgoing) {
	d.setRoutes(now, out.Routes)
	pending, kept := d.lender.pending(out), 0
	if len(pending) > 0 {
		kept = d.send(now, pending)
	}
	d.counters.Publish()
	d.lender.lend(out, pending, kept)
}

// Stats implements port.Port.
func (d *Dialled) Stats() port.Stats { return d.counters.Snapshot() }

// Wait implements port.Port. It tries kept frames again each millisecond: most often there are none.
func (d *Dialled) Wait(until port.Time) {
	if d.in.unread() {
		return
	}
	if d.lender.kept > 0 {
		until = min(until, Now()+retryAfter)
	}
	d.place.Doze(left(until))
}

// Rest implements port.Port.
func (d *Dialled) Rest(until port.Time) {
	if d.in.unread() || d.lender.kept > 0 {
		d.Wait(until)
		return
	}
	d.place.Rest(left(until))
}

// Wake implements port.Port. After Close it does nothing.
func (d *Dialled) Wake() { d.place.Wake() }

// Close implements port.Port. A second call does nothing.
func (d *Dialled) Close() error {
	if d.closed {
		return nil
	}
	d.closed = true
	err := d.place.Close()
	for _, s := range d.named {
		err = errors.Join(err, unix.Close(s.fd))
	}
	d.open.Store(0)
	if err = errors.Join(err, unix.Close(d.epoll)); err != nil {
		return fmt.Errorf("close the sockets of dialled sessions: %w", err)
	}
	return nil
}

// setRoutes carries out route changes. Sockets that no route names any more are closed after all of them.
func (d *Dialled) setRoutes(now port.Time, changes []port.RouteChange) {
	for i := range changes {
		c := &changes[i]
		if missing := int(c.Route) + 1 - len(d.routes); missing > 0 {
			d.routes = append(d.routes, make([]dialledRoute, missing)...)
		}
		r := &d.routes[c.Route]
		if r.socket != nil {
			d.leave(r.socket)
		}
		*r = dialledRoute{}
		if !c.Path.Remote.IsValid() {
			d.lender.revoke(c.Route)
			continue
		}
		r.set = true
		if r.socket = d.join(now, c.Path.Local); r.socket != nil {
			r.nameLen = uint8(putAddress(&r.name, c.Path.Remote, r.socket.family))
		}
	}
	for _, s := range d.unused {
		if s.routes == 0 && d.sockets[s.place] == s { // it may be listed twice
			d.shut(s)
		}
	}
	clear(d.unused)
	d.unused = d.unused[:0]
}

// join adds a route to the socket of a name, which it opens if need be. It returns nil if the socket does not open.
func (d *Dialled) join(now port.Time, name netip.Addr) *dialledSocket {
	s := d.named[name]
	if s == nil {
		var err error
		if s, err = d.openSocket(name); err != nil {
			if now >= d.quiet {
				d.quiet = now + warnInterval
				d.cfg.Log.Warn("a dialled session gets no socket", "error", err)
			}
			return nil
		}
	}
	s.routes++
	return s
}

// leave takes a route from a socket.
func (d *Dialled) leave(s *dialledSocket) {
	if s.routes--; s.routes == 0 {
		d.unused = append(d.unused, s)
	}
}

// openSocket opens the socket of a name.
func (d *Dialled) openSocket(name netip.Addr) (*dialledSocket, error) {
	if !port.IsSocket(name) {
		return nil, fmt.Errorf("%s is no name of a socket", name)
	}
	group, err := openGroup(d.cfg, 1)
	if err != nil {
		return nil, err
	}
	s := &dialledSocket{socket: group[0], name: name, place: slices.Index(d.sockets, nil)}
	if s.place < 0 {
		s.place = len(d.sockets)
		d.sockets = append(d.sockets, nil)
	}
	nameless := option{"IP_PKTINFO", unix.IPPROTO_IP, unix.IP_PKTINFO, 0} // the name is the local address
	if s.family == unix.AF_INET6 {
		nameless = option{"IPV6_RECVPKTINFO", unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 0}
	}
	err = s.set(nameless)
	if err == nil {
		event := &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(s.place)}
		err = unix.EpollCtl(d.epoll, unix.EPOLL_CTL_ADD, s.fd, event)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("watch UDP %s: %w", s.local, err), unix.Close(s.fd))
	}
	d.named[name], d.sockets[s.place] = s, s
	d.open.Add(1)
	return s, nil
}

// shut closes a socket, which takes it out of the epoll set.
func (d *Dialled) shut(s *dialledSocket) {
	_ = unix.Close(s.fd)
	delete(d.named, s.name)
	d.sockets[s.place] = nil
	d.open.Add(-1)
}

// send sends the pending frames, in order for each socket, and returns how many it keeps: they are the first then.
func (d *Dialled) send(now port.Time, pending []port.Frame) (kept int) {
	d.transmit++
	for at := 0; at < len(pending); {
		if reason := d.obstacle(now, pending, at); reason != nil {
			*reason++
			at++
			continue
		}
		if s := d.routes[pending[at].Route].socket; s.full != d.transmit {
			at += d.offer(now, s, pending, at)
			continue
		}
		pending[kept], pending[at] = pending[at], pending[kept]
		kept++
		at++
	}
	return kept
}

// obstacle is the counter of the reason why the i-th pending frame cannot be sent, nil if there is none.
func (d *Dialled) obstacle(now port.Time, pending []port.Frame, i int) *uint64 {
	f := &pending[i]
	switch {
	case d.lender.stale(now, pending, i):
		return &d.counters.Stats[port.Stale]
	case uint64(f.Route) >= uint64(len(d.routes)) || !d.routes[f.Route].set:
		return &d.counters.Stats[port.Unroutable]
	case d.routes[f.Route].socket == nil || len(f.Data) > port.MaxDatagram:
		return &d.counters.Stats[port.Rejected]
	}
	return nil
}

// offer hands the kernel the row of frames from pending[at] on that leave by a socket. It returns how many are done
// with. The kernel reports the error of the first alone, so the others are offered again.
func (d *Dialled) offer(now port.Time, s *dialledSocket, pending []port.Frame, at int) (done int) {
	n, bytes := 0, 0
	for ; n < len(d.headers) && at+n < len(pending) && d.obstacle(now, pending, at+n) == nil; n++ {
		f := &pending[at+n]
		r := &d.routes[f.Route]
		if r.socket != s {
			break
		}
		point(&d.vectors[n], f.Data)
		d.headers[n].header.Name, d.headers[n].header.Namelen = &r.name[0], uint32(r.nameLen)
	}
	accepted, errno := d.sendmmsg(s.fd, d.headers[:n])
	switch {
	case accepted > 0:
		for i := range accepted {
			bytes += len(pending[at+i].Data)
		}
		d.counters.Stats[port.Calls]++
		d.counters.Stats[port.Sent] += uint64(accepted)
		d.counters.Stats[port.SentBytes] += uint64(bytes)
		return accepted
	case full(errno):
		s.full = d.transmit
		return 0
	}
	d.counters.Stats[port.Rejected]++
	return 1
}

// full reports whether an error of a send means "not now".
func full(errno unix.Errno) bool {
	return errno == 0 || errno == unix.EAGAIN || errno == unix.ENOBUFS || errno == unix.ENOMEM || errno == unix.EINTR
}
