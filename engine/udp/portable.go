package udp

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"ringcast/engine/port"
	"ringcast/engine/port/tally"
)

const (
	// datagramRoom is more than MaxDatagram, so that a longer datagram shows.
	datagramRoom = 2048
	// writePatience is how long a send may block on a full socket. Package net cannot just try: once the deadline has
	// passed, it does not even ask the kernel.
	writePatience = 50 * time.Millisecond
	// portableRetry is how long Wait waits before another try of kept frames.
	portableRetry = port.Millisecond
	// bindAttempts bounds the search for a UDP port that is free in both IP versions.
	bindAttempts = 16

	wsaMsgSize = syscall.Errno(10040) // Windows: a datagram longer than the buffer
	wsaNoBufs  = syscall.Errno(10055) // Windows: ENOBUFS
)

// portable is a port over package net: a socket per IP version, each with a goroutine that reads ahead
// into a bounded number of buffers. When the worker is too slow, the readers stop and the
// kernel's buffer fills up.
type portable struct {
	conns    []*conn
	bound    netip.AddrPort
	counters tally.Port // the worker's
	lender   lender
	routes   []portableRoute
	inbound  []port.Inbound

	free     chan *datagram // to the readers
	arrivals chan *datagram // from the readers; room for all there are
	borrowed []*datagram    // by the worker, until its next Receive
	peeked   *datagram      // Wait got it; first of the next Receive

	woken  chan struct{}
	alarm  *time.Timer
	closed chan struct{}
	close  sync.Once

	readers sync.WaitGroup
	find    func(port.Path) *conn                                        // the socket of a path, or nil
	write   func(c *conn, data, control []byte, to netip.AddrPort) error // conn.write, but for tests
}

// conn is the socket of one IP version.
type conn struct {
	*net.UDPConn
	v6 bool
	// local is the bound address; invalid for a wildcard.
	local netip.Addr
	// informed is set if the system reports each datagram's destination, and accepts a source.
	informed bool
	// guessed are the sources that the system would choose. Only the reader uses them.
	guessed map[netip.Addr]netip.Addr
	// closed is closed with a socket that its port closes before all others; nil for those that live as long.
	closed chan struct{}
}

type datagram struct {
	memory    [datagramRoom]byte
	size      int
	path      port.Path
	arrival   port.Time
	malformed bool
}

// portableRoute is a path made ready.
type portableRoute struct {
	to      netip.AddrPort // invalid: revoked
	control []byte
	conn    *conn // nil: no socket of that IP version
}

// open fills in an empty portable, from a Config with its defaults.
func (p *portable) open(cfg Config) error {
	conns, err := bindConns(cfg.Address)
	if err != nil {
		return err
	}
	p.conns = conns
	p.bound = netip.AddrPortFrom(cfg.Address.Addr(), conns[0].port())
	p.init(cfg)
	p.find = p.ofVersion
	for _, c := range conns {
		if err := c.mark(cfg.DSCP); err != nil {
			for _, c := range conns {
				err = errors.Join(err, c.Close())
			}
			return fmt.Errorf("set DSCP %d on UDP %s: %w", cfg.DSCP, p.bound, err)
		}
	}
	for _, c := range conns {
		c.buffer()
		c.inform(cfg.Log)
		p.readers.Go(func() { p.read(c) })
	}
	cfg.Log.Info("UDP port open", "address", p.bound, "sockets", len(conns), "segmentation", false, "gro", false)
	return nil
}

// init makes all but the sockets.
func (p *portable) init(cfg Config) {
	ahead := max(4*cfg.Batch, 256)
	p.lender = newLender(cfg.Frames)
	p.inbound = make([]port.Inbound, cfg.Batch)
	p.free = make(chan *datagram, ahead)
	p.arrivals = make(chan *datagram, ahead)
	p.woken = make(chan struct{}, 1)
	p.alarm = time.NewTimer(time.Hour)
	p.alarm.Stop()
	p.closed = make(chan struct{})
	p.write = (*conn).write
	for range ahead {
		p.free <- new(datagram)
	}
}

// bindConns binds the configured address. A wildcard of IPv6 is bound in both IP versions, on one UDP port, or in
// the only version that the system has. (One socket for both is no use: x/net/ipv6 cannot name an IPv4 source.)
func bindConns(address netip.AddrPort) ([]*conn, error) {
	if address.Addr() != netip.IPv6Unspecified() {
		c, err := bindConn(address)
		if err != nil {
			return nil, err
		}
		return []*conn{c}, nil
	}
	var err error
	for range bindAttempts {
		var six, four *conn
		six, err = bindConn(address)
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, err
		}
		number := address.Port()
		if six != nil {
			number = six.port()
		}
		four, err4 := bindConn(netip.AddrPortFrom(netip.IPv4Unspecified(), number))
		switch {
		case six != nil && four != nil:
			return []*conn{six, four}, nil
		case four != nil:
			return []*conn{four}, nil
		case six == nil:
			return nil, err4
		case !errors.Is(err4, syscall.EADDRINUSE):
			return []*conn{six}, nil
		}
		err = errors.Join(err4, six.Close())
		if address.Port() != 0 {
			break
		}
	}
	return nil, err
}

func bindConn(address netip.AddrPort) (*conn, error) {
	network := "udp4"
	if address.Addr().Is6() {
		network = "udp6"
	}
	udp, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(address))
	if err != nil {
		// net wraps the reason in the names of its steps, which the message here replaces.
		var reason syscall.Errno
		if errors.As(err, &reason) {
			err = reason
		}
		return nil, fmt.Errorf("bind UDP %s: %w", address, err)
	}
	c := &conn{UDPConn: udp, v6: address.Addr().Is6(), guessed: make(map[netip.Addr]netip.Addr)}
	if !address.Addr().IsUnspecified() {
		c.local = address.Addr()
	}
	return c, nil
}

func (c *conn) port() uint16 {
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
}

// mark sets the codepoint of all datagrams that the conn sends.
func (c *conn) mark(dscp uint8) error {
	switch {
	case dscp == 0:
		return nil
	case runtime.GOOS == "windows": // it accepts the option and does nothing
		return ErrNoDSCP
	case c.v6:
		return ipv6.NewPacketConn(c.UDPConn).SetTrafficClass(int(dscp) << 2)
	}
	return ipv4.NewPacketConn(c.UDPConn).SetTOS(int(dscp) << 2)
}

// buffer makes the kernel's buffers larger, if it can.
func (c *conn) buffer() {
	_ = c.SetReadBuffer(4 << 20)
	_ = c.SetWriteBuffer(1 << 20)
}

// inform asks for each datagram's destination, which the conn can do without.
func (c *conn) inform(log *slog.Logger) {
	var err error
	if c.v6 {
		err = ipv6.NewPacketConn(c.UDPConn).SetControlMessage(ipv6.FlagDst|ipv6.FlagInterface, true)
	} else {
		err = ipv4.NewPacketConn(c.UDPConn).SetControlMessage(ipv4.FlagDst|ipv4.FlagInterface, true)
	}
	c.informed = err == nil
	if !c.informed && !c.local.IsValid() {
		log.Warn("UDP destination addresses are unknown on this platform, the system chooses the source of answers",
			"address", c.LocalAddr(), "error", err)
	}
}

// read is the reader's goroutine. It ends with its socket. Each reader has a datagram in hand to read into, so those
// that wait for nothing leave the free ones to the others.
func (p *portable) read(c *conn) {
	control := make([]byte, 256)
	d := new(datagram)
	failures := 0
	for {
		if err := c.receive(d, control); err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// Some peer caused the error, as a rule. If it lasts, do not spin.
			if failures++; failures > 16 {
				select {
				case <-p.closed:
					return
				case <-time.After(10 * time.Millisecond):
				}
			}
			continue
		}
		failures = 0
		next := p.spare(c)
		if next == nil {
			return
		}
		p.arrivals <- d
		d = next
	}
}

// spare takes a free datagram. It waits while the worker has them all, and returns nil when the socket or the port is
// closed meanwhile.
func (p *portable) spare(c *conn) *datagram {
	select {
	case d := <-p.free:
		return d
	case <-p.closed:
	case <-c.closed:
	}
	return nil
}

// receive reads one datagram.
func (c *conn) receive(d *datagram, control []byte) error {
	n, controlLen, _, remote, err := c.ReadMsgUDPAddrPort(d.memory[:], control)
	d.arrival = Now()
	d.size, d.malformed = n, false
	if errors.Is(err, wsaMsgSize) {
		d.malformed = true
		return nil
	}
	if err != nil {
		return err
	}
	remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	d.path = port.Path{Remote: remote, Local: c.localOf(control[:controlLen], remote)}
	d.malformed = n > port.MaxDatagram || remote.Port() == 0 || !d.path.Local.IsValid()
	return nil
}

// localOf is the address that a datagram was sent to.
func (c *conn) localOf(control []byte, remote netip.AddrPort) netip.Addr {
	switch {
	case c.local.IsValid():
		return c.local
	case !c.informed:
		return c.outward(remote)
	}
	var destination net.IP
	if c.v6 {
		var m ipv6.ControlMessage
		if m.Parse(control) == nil {
			destination = m.Dst
		}
	} else {
		var m ipv4.ControlMessage
		if m.Parse(control) == nil {
			destination = m.Dst
		}
	}
	local, _ := netip.AddrFromSlice(destination)
	local = local.Unmap()
	if local.Is6() && local.IsLinkLocalUnicast() {
		local = local.WithZone(remote.Addr().Zone())
	}
	return local
}

// outward is the address that the system would send to remote from. It is right on a host with one address. Elsewhere
// it is a guess, for systems that do not report a datagram's destination.
func (c *conn) outward(remote netip.AddrPort) netip.Addr {
	if local, known := c.guessed[remote.Addr()]; known {
		return local
	}
	asked, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(remote)) // sends nothing
	if err != nil {
		return netip.Addr{}
	}
	defer asked.Close()
	local := asked.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
	if len(c.guessed) >= 1024 {
		clear(c.guessed)
	}
	c.guessed[remote.Addr()] = local
	return local
}

// LocalPort is the UDP port that is bound.
func (p *portable) LocalPort() uint16 { return p.bound.Port() }

// Segmentation is always ErrNoSegmentation here.
func (p *portable) Segmentation() error { return ErrNoSegmentation }

// Stats implements port.Port.
func (p *portable) Stats() port.Stats { return p.counters.Snapshot() }

// Receive implements port.Port. The batch's slice is the port's own.
func (p *portable) Receive(now port.Time, in *port.Batch) int {
	for _, d := range p.borrowed {
		p.free <- d
	}
	p.borrowed = p.borrowed[:0]
	n := 0
	for n < len(p.inbound) {
		d := p.next()
		if d == nil {
			break
		}
		p.borrowed = append(p.borrowed, d)
		if d.malformed {
			p.counters.Stats[port.Malformed]++
			continue
		}
		p.inbound[n] = port.Inbound{Path: d.path, Data: d.memory[:d.size:d.size], Arrival: clampArrival(d.arrival, now)}
		n++
		p.counters.Stats[port.Received]++
		p.counters.Stats[port.ReceivedBytes] += uint64(d.size)
	}
	in.Packets = p.inbound[:n]
	return n
}

// next is the next arrival, nil if there is none.
func (p *portable) next() *datagram {
	if d := p.peeked; d != nil {
		p.peeked = nil
		return d
	}
	select {
	case d := <-p.arrivals:
		return d
	default:
		return nil
	}
}

// Transmit implements port.Port.
func (p *portable) Transmit(now port.Time, out *port.Outgoing) {
	p.setRoutes(out.Routes)
	pending := p.lender.pending(out)
	done := 0
	if len(pending) > 0 {
		done = p.send(now, pending)
	}
	p.counters.Publish()
	p.lender.settle(out, pending, done)
}

func (p *portable) setRoutes(changes []port.RouteChange) {
	for _, c := range changes {
		if missing := int(c.Route) + 1 - len(p.routes); missing > 0 {
			p.routes = append(p.routes, make([]portableRoute, missing)...)
		}
		p.routes[c.Route] = p.prepareRoute(c.Path)
		if !c.Path.Remote.IsValid() {
			p.lender.revoke(c.Route)
		}
	}
}

func (p *portable) prepareRoute(path port.Path) portableRoute {
	r := portableRoute{to: path.Remote}
	if !path.Remote.IsValid() {
		return r
	}
	r.conn = p.find(path)
	if r.conn == nil || !r.conn.informed || !path.Local.IsValid() {
		return r
	}
	source := path.Local.AsSlice()
	if r.conn.v6 {
		m := ipv6.ControlMessage{Src: source, IfIndex: int(scopeID(path.Local.Zone()))}
		r.control = m.Marshal()
	} else {
		m := ipv4.ControlMessage{Src: source}
		r.control = m.Marshal()
	}
	return r
}

// ofVersion is the socket of the IP version of a path's peer, or nil.
func (p *portable) ofVersion(path port.Path) *conn {
	for _, c := range p.conns {
		if c.v6 == path.Remote.Addr().Is6() {
			return c
		}
	}
	return nil
}

// send sends the queue in order and returns how many of its frames are done with.
func (p *portable) send(now port.Time, pending []port.Frame) (done int) {
	var last *conn
	for ; done < len(pending); done++ {
		f := &pending[done]
		if p.lender.stale(now, pending, done) {
			p.counters.Stats[port.Stale]++
			continue
		}
		if uint64(f.Route) >= uint64(len(p.routes)) || !p.routes[f.Route].to.IsValid() {
			p.counters.Stats[port.Unroutable]++
			continue
		}
		r := &p.routes[f.Route]
		if len(f.Data) > port.MaxDatagram || r.conn == nil {
			p.counters.Stats[port.Rejected]++
			continue
		}
		if r.conn != last {
			last = r.conn
			last.bePatient()
		}
		err := p.write(r.conn, f.Data, r.control, r.to)
		if errors.Is(err, os.ErrDeadlineExceeded) { // used up by the frames before it, perhaps
			last.bePatient()
			err = p.write(r.conn, f.Data, r.control, r.to)
		}
		switch {
		case err == nil:
			p.counters.Stats[port.Calls]++
			p.counters.Stats[port.Sent]++
			p.counters.Stats[port.SentBytes] += uint64(len(f.Data))
		case busy(err):
			return done
		default:
			p.counters.Stats[port.Rejected]++
		}
	}
	return done
}

// bePatient lets writes block for a while from now.
func (c *conn) bePatient() { _ = c.SetWriteDeadline(time.Now().Add(writePatience)) }

func (c *conn) write(data, control []byte, to netip.AddrPort) error {
	_, _, err := c.WriteMsgUDPAddrPort(data, control, to)
	return err
}

// busy reports whether an error means "not now".
func busy(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, syscall.EAGAIN) ||
		errors.Is(err, syscall.ENOBUFS) || errors.Is(err, wsaNoBufs)
}

// Rest implements port.Port.
func (p *portable) Rest(until port.Time) { p.Wait(until) }

// Wait implements port.Port.
func (p *portable) Wait(until port.Time) {
	if p.peeked != nil {
		return
	}
	if p.lender.kept > 0 {
		until = min(until, Now()+portableRetry)
	}
	var due <-chan time.Time
	if until != port.Never {
		left := until - Now()
		if left <= 0 {
			return
		}
		p.alarm.Reset(time.Duration(left))
		defer p.alarm.Stop()
		due = p.alarm.C
	}
	select {
	case p.peeked = <-p.arrivals:
	case <-p.woken:
	case <-due:
	}
}

// Wake implements port.Port.
func (p *portable) Wake() {
	select {
	case p.woken <- struct{}{}:
	default: // a wake-up is under way
	}
}

// Close implements port.Port. A second call does nothing.
func (p *portable) Close() (err error) {
	p.close.Do(func() {
		close(p.closed)
		for _, c := range p.conns {
			err = errors.Join(err, c.Close())
		}
		p.readers.Wait()
		if err != nil {
			err = fmt.Errorf("close UDP %s: %w", p.bound, err)
		}
	})
	return err
}
