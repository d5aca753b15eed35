package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ringcast/engine/port"
	"ringcast/testenv/netpath"
)

const (
	// maxInTransit bounds the packets that an Internet holds.
	maxInTransit = 1 << 16
	// carrierPriority is the real-time priority of its thread, above that of preferred processes.
	carrierPriority = 20
)

// An Internet carries IP packets between hosts. Each way of each pair of hosts has a path of its own, with delay, loss
// and rate. This process carries the packets, so they may be late: see Lateness.
type Internet struct {
	lab *Lab
	// began is Time 0 of the paths.
	began time.Time
	bell  *os.File // an eventfd that ends the carrier's wait

	wait sync.WaitGroup

	mu       sync.Mutex
	uplinks  []*uplink
	paths    map[way]netpath.Path
	clock    *netpath.Clock
	transit  int
	late     [lateBuckets]int
	overflow int
	closed   bool
}

// way is one direction between two hosts.
type way struct{ from, to *Host }

// An uplink is a host's TUN device (Documentation/networking/tuntap.rst in Linux), by its descriptor.
type uplink struct {
	host      *Host
	tun       int
	addresses []netip.Addr
}

// Internet makes one, which no host is connected to. The lab closes it.
func (l *Lab) Internet() (*Internet, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("make an eventfd: %w", err)
	}
	n := &Internet{
		lab: l, began: time.Now(), bell: os.NewFile(uintptr(fd), "bell"),
		paths: make(map[way]netpath.Path), clock: netpath.NewClock(0),
	}
	n.wait.Go(n.carry)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.internets = append(l.internets, n)
	return n, nil
}

// Connect gives a host a device with a way to all others. It is the host's default route.
func (n *Internet) Connect(e End) error {
	u := &uplink{host: e.Host}
	for _, p := range e.Addrs {
		u.addresses = append(u.addresses, p.Addr())
	}
	if err := e.Host.Enter(func() (err error) {
		u.tun, err = openTUN(e.Name)
		return err
	}); err != nil {
		return fmt.Errorf("make %s of %s: %w", e.Name, e.Host.Name, err)
	}
	d := &Device{End: e, up: true}
	if err := errors.Join(d.find(), d.configure(false), d.routeAll(), d.settle()); err != nil {
		return errors.Join(err, unix.Close(u.tun))
	}
	e.Host.mu.Lock()
	e.Host.devices = append(e.Host.devices, d)
	e.Host.mu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.uplinks = append(n.uplinks, u)
	n.ring()
	return nil
}

// openTUN makes a TUN device, whose packets have no header before IP's.
func openTUN(name string) (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, err
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		return 0, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// routeAll makes a device without next hops the host's default routes.
func (d *Device) routeAll() error {
	for _, all := range prefixes("0.0.0.0/0", "::/0") {
		route := &netlink.Route{LinkIndex: d.Index, Dst: ipNet(all), Scope: netlink.SCOPE_LINK}
		if err := d.Host.handle.RouteReplace(route); err != nil {
			return fmt.Errorf("route all through %s: %w", d.Name, err)
		}
	}
	return nil
}

// settle waits until the kernel receives for the device's IPv6 addresses: it adds their routes from a thread of its own
// (addrconf_dad_work in net/ipv6/addrconf.c).
func (d *Device) settle() error {
	local := &netlink.Route{LinkIndex: d.Index, Table: unix.RT_TABLE_LOCAL}
	for giveUp := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		routes, err := d.Host.handle.RouteListFiltered(netlink.FAMILY_V6, local,
			netlink.RT_FILTER_TABLE|netlink.RT_FILTER_OIF)
		if err != nil {
			return fmt.Errorf("routes of %s: %w", d.Name, err)
		}
		missing := slices.DeleteFunc(slices.Clone(d.Addrs), func(p netip.Prefix) bool {
			return p.Addr().Is4() || slices.ContainsFunc(routes, func(r netlink.Route) bool {
				return r.Dst != nil && r.Dst.IP.Equal(p.Addr().AsSlice())
			})
		})
		if len(missing) == 0 {
			return nil
		}
		if time.Now().After(giveUp) {
			return fmt.Errorf("%s of %s does not receive for %s after %v", d.Name, d.Host.Name, missing, patience)
		}
	}
}

// Set sets the path from one host to another. Without stages the way takes no time. Packets under way keep the time of
// their arrival.
func (n *Internet) Set(from, to *Host, stages ...netpath.Stage) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.paths[way{from, to}] = stages
}

// Cut loses all packets from one host to another. Set mends it.
func (n *Internet) Cut(from, to *Host) { n.Set(from, to, cut{}) }

// cut is a stage that nothing passes.
type cut struct{}

func (cut) Pass(port.Time, int) (port.Time, bool) { return 0, false }

// now is the time of the paths: Time 0 is when the Internet was made.
func (n *Internet) now() port.Time { return port.Time(time.Since(n.began)) }

// Now is the time that the stages' schedules go by.
func (n *Internet) Now() port.Time { return n.now() }

// collect takes in the packets that wait in a host's device. The caller holds the lock.
func (n *Internet) collect(u *uplink, buffer []byte) {
	for {
		size, err := unix.Read(u.tun, buffer)
		if err != nil {
			return // none is left
		}
		n.take(u, buffer[:size])
	}
}

// take decides when a packet arrives, and where. The caller holds the lock.
func (n *Internet) take(from *uplink, packet []byte) {
	to, ok := destination(packet)
	if !ok {
		return
	}
	i := slices.IndexFunc(n.uplinks, func(u *uplink) bool { return slices.Contains(u.addresses, to) })
	if i < 0 {
		return // also multicast, for which nobody listens here
	}
	receiver, now := n.uplinks[i], n.now()
	at, ok := n.paths[way{from.host, receiver.host}].Pass(now, len(packet))
	if !ok {
		return
	}
	if n.transit == maxInTransit {
		n.overflow++
		return
	}
	n.transit++
	packet = slices.Clone(packet)
	n.clock.At(at, func() { n.deliver(receiver, packet, at) })
}

// destination reads the destination of an IP packet.
func destination(packet []byte) (a netip.Addr, ok bool) {
	switch {
	case len(packet) >= 20 && packet[0]>>4 == 4:
		return netip.AddrFrom4([4]byte(packet[16:20])), true
	case len(packet) >= 40 && packet[0]>>4 == 6:
		return netip.AddrFrom16([16]byte(packet[24:40])), true
	}
	return a, false
}

// deliver hands a packet to its receiver. Its caller holds the lock.
func (n *Internet) deliver(u *uplink, packet []byte, due port.Time) {
	n.transit--
	_, _ = unix.Write(u.tun, packet) // a device that is down, or full, loses it
	n.late[min(int((n.now()-due)/lateBucket), lateBuckets-1)]++
}

// carry takes in packets, and delivers them when they are due. Its thread runs before all programs, where it may: an
// Internet that waits for a processor is late.
func (n *Internet) carry() {
	// Go's own timers have the resolution of epoll_wait, a millisecond.
	runtime.LockOSThread() // and never unlocked: the thread ends with its priority
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	_ = fifo(0, carrierPriority)
	poll := []unix.PollFd{{Fd: int32(n.bell.Fd()), Events: unix.POLLIN}}
	buffer := make([]byte, 1<<16)
	for {
		n.mu.Lock()
		if n.closed {
			n.mu.Unlock()
			return
		}
		for _, u := range n.uplinks[len(poll)-1:] {
			poll = append(poll, unix.PollFd{Fd: int32(u.tun), Events: unix.POLLIN})
		}
		for i := range poll[1:] {
			switch events := poll[1+i].Revents; {
			case events&unix.POLLERR != 0: // the device is gone
				poll[1+i].Fd = -1
			case events != 0:
				n.collect(n.uplinks[i], buffer)
			}
		}
		n.clock.Run(n.now())
		next := n.clock.Next()
		n.mu.Unlock()
		var timeout *unix.Timespec
		if next != port.Never {
			t := unix.NsecToTimespec(int64(max(next-n.now(), 0)))
			timeout = &t
		}
		k, _ := unix.Ppoll(poll, timeout, nil)
		if k <= 0 { // also after a signal, which leaves the events as they were
			for i := range poll {
				poll[i].Revents = 0
			}
		}
		if poll[0].Revents != 0 {
			_, _ = unix.Read(int(poll[0].Fd), buffer[:8])
		}
	}
}

// ring ends the carrier's wait.
func (n *Internet) ring() {
	_, _ = unix.Write(int(n.bell.Fd()), []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

// close removes the hosts' devices.
func (n *Internet) close() error {
	n.mu.Lock()
	n.closed = true
	uplinks := n.uplinks
	n.ring()
	n.mu.Unlock()
	n.wait.Wait()
	var errs []error
	for _, u := range uplinks {
		errs = append(errs, unix.Close(u.tun))
	}
	return errors.Join(append(errs, n.bell.Close())...)
}

const (
	lateBucket  = 20 * port.Microsecond
	lateBuckets = 1024
)

// Lateness is how much later than due an Internet delivered its packets: its own error.
type Lateness struct {
	// Packets were delivered, and Overflow lost since too many were under way.
	Packets, Overflow int
	// P50, P99 and Most are of all packets, rounded up to 20 µs. Most is 20 ms at most.
	P50, P99, Most time.Duration
}

// Void returns an error if figures that were measured over the Internet are void: the error is above a millisecond.
func (l Lateness) Void() error {
	if l.P99 > time.Millisecond || l.Overflow > 0 {
		return fmt.Errorf("void: the network was late by %v (p99), and lost %d packets that it had no room for", l.P99,
			l.Overflow)
	}
	return nil
}

// Lateness returns the error since the last call.
func (n *Internet) Lateness() Lateness {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := Lateness{Overflow: n.overflow}
	for _, k := range n.late {
		l.Packets += k
	}
	seen := 0
	for i, k := range n.late {
		if seen += k; k == 0 {
			continue
		}
		span := time.Duration(i+1) * time.Duration(lateBucket)
		if 2*(seen-k) < l.Packets {
			l.P50 = span
		}
		if 100*(seen-k) < 99*l.Packets {
			l.P99 = span
		}
		l.Most = span
	}
	n.late, n.overflow = [lateBuckets]int{}, 0
	return l
}
