package nexthop

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A notice is what one read of the kernel's notifications yields: messages, or the news that some were
// lost.
type notice struct {
	messages []syscall.NetlinkMessage
	lost     bool
}

// listen hands over the kernel's notifications until done.
func listen(socket *nl.NetlinkSocket, to chan<- notice, done <-chan struct{}) {
	for {
		messages, from, err := socket.Receive()
		if err == nil && from.Pid != nl.PidKernel {
			continue
		}
		select {
		case <-done: // which is why the socket was closed
			return
		default:
		}
		select {
		case to <- notice{messages, err != nil}:
		case <-done:
			return
		}
	}
}

// listing says what follow has to ask the kernel for again.
type listing uint8

const (
	listNothing listing = iota
	listRoutes          // link and routes
	listAll             // and the neighbours
)

// A follower holds what is known of the kernel. All of it belongs to one goroutine.
type follower struct {
	cfg    Config
	kernel *netlink.Handle
	table  *Table

	link       Link
	routes     []route
	ranges     ranges // the routes, flattened; snapshots share it
	neighbours map[address]*neighbour

	relist  listing
	changed bool   // since the last snapshot: something that Resolve answers from
	lives   uint32 // how often the link went away
	told    Link   // the link, as far as Events has been received
	warned  time.Time
}

// begin makes the first snapshot.
func (f *follower) begin() error {
	if err := f.list(); err != nil {
		return err
	}
	if f.link.Index == 0 {
		return ErrNoInterface
	}
	f.told = f.link
	f.warnOfRules()
	f.publish()
	return nil
}

// follow applies what listen hands over until the table is closed.
func (f *follower) follow(notices <-chan notice) {
	defer f.kernel.Close()
	defer close(f.table.events)
	refresh := time.NewTicker(f.cfg.Refresh)
	defer refresh.Stop()
	// settled fires when the next snapshot may be made; it is armed while one is due.
	settled := time.NewTimer(0)
	settled.Stop()
	var earliest time.Time
	due := false
	for {
		event, after, events := f.nextEvent()
		select {
		case n := <-notices:
			f.apply(n)
		case <-settled.C:
			due = false
			began := time.Now()
			pause := f.cfg.Settle
			if !f.renew() {
				pause = max(pause, retryListing)
			}
			// However large the tables are, at most a tenth of the time is spent on them.
			ended := time.Now()
			earliest = ended.Add(max(pause, 9*ended.Sub(began)))
		case <-refresh.C:
			f.refresh()
		case events <- event:
			f.told = after
		case <-f.table.done:
			return
		}
		if !due && (f.changed || f.relist != listNothing) {
			due = true
			settled.Reset(max(0, time.Until(earliest)))
		}
	}
}

// retryListing is the pause after a listing that failed.
const retryListing = time.Second

// apply takes a notice in.
func (f *follower) apply(n notice) {
	if n.lost {
		f.cfg.Log.Debug("Notifications of the kernel were lost, listing again", "interface", f.cfg.Interface)
		f.relist = listAll
	}
	for _, m := range n.messages {
		switch m.Header.Type {
		case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
			n, err := netlink.NeighDeserialize(m.Data)
			if err != nil || n.LinkIndex != f.link.Index {
				continue // of a new index of ours, all are listed with the link
			}
			f.learn(n, m.Header.Type == unix.RTM_DELNEIGH)
		case unix.RTM_DELLINK:
			// It may be back with the same index before we look: when it was in another namespace.
			// (A bridge says so too, of a link that leaves it.)
			if l := nl.DeserializeIfInfomsg(m.Data); int(l.Index) == f.link.Index && l.Family == unix.AF_UNSPEC {
				f.lives++
			}
			fallthrough
		default:
			f.relist = max(f.relist, listRoutes)
		}
	}
}

// learn takes in what the kernel says of one neighbour.
func (f *follower) learn(n *netlink.Neigh, deleted bool) {
	at, hardware, ok := usable(n)
	if !at.IsValid() {
		return
	}
	k := address(at.As16())
	known := f.neighbours[k]
	switch {
	case deleted || !ok:
		if known != nil {
			delete(f.neighbours, k)
			f.changed = true
		}
	case known != nil && known.address == hardware:
		known.state = n.State
	default:
		f.neighbours[k] = newNeighbour(known, hardware, n.State)
		f.changed = true
	}
}

// usableStates are those in which the kernel itself sends to a neighbour (NUD_VALID).
const usableStates = netlink.NUD_PERMANENT | netlink.NUD_NOARP | netlink.NUD_REACHABLE |
	netlink.NUD_PROBE | netlink.NUD_STALE | netlink.NUD_DELAY

// usable reads an entry of the kernel's; ok is false if frames cannot be sent by it. Entries for
// multicast and broadcast are among them, and are not neighbours.
func usable(n *netlink.Neigh) (at netip.Addr, hardware [6]byte, ok bool) {
	if n.Family != unix.AF_INET && n.Family != unix.AF_INET6 {
		return at, hardware, false // a bridge's or a tunnel's forwarding entry
	}
	at, _ = netip.AddrFromSlice(n.IP)
	if len(n.HardwareAddr) != len(hardware) || n.State&usableStates == 0 || n.Flags&netlink.NTF_PROXY != 0 {
		return at, hardware, false
	}
	hardware = [6]byte(n.HardwareAddr)
	return at, hardware, hardware[0]&1 == 0 && hardware != [6]byte{}
}

// renew lists what has to be listed and publishes what has changed. It reports whether it could.
func (f *follower) renew() bool {
	if f.relist != listNothing {
		if err := f.list(); err != nil {
			// What is known stays, and what has to be listed too.
			f.warn("Cannot list links, routes and neighbours", err)
			return false
		}
	}
	if f.changed {
		f.publish()
	}
	return true
}

// publish makes a snapshot of what is known.
func (f *follower) publish() {
	f.changed = false
	var generation uint32
	if before := f.table.current.Load(); before != nil {
		generation = before.generation + 1
	}
	s := newSnapshot(generation, f.cfg.Interface, f.link, f.ranges, maps.Clone(f.neighbours))
	f.table.current.Store(s)
	if f.cfg.published != nil {
		f.cfg.published(s)
	}
}

// listAttempts is how often a listing is begun again because the kernel's tables changed under it.
const listAttempts = 5

// list asks the kernel for what relist says.
func (f *follower) list() (err error) {
	for range listAttempts {
		if err = f.listOnce(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return err
}

func (f *follower) listOnce() error {
	link, err := f.listLink()
	if err != nil {
		return fmt.Errorf("ask for the link: %w", err)
	}
	var routes []route
	neighbours := map[address]*neighbour{}
	if link.Index != 0 {
		if routes, err = f.listRoutes(link.Index); err != nil {
			return fmt.Errorf("list routes: %w", err)
		}
		if link.Index == f.link.Index && link.life == f.link.life && f.relist != listAll {
			neighbours = f.neighbours
		} else if neighbours, err = f.listNeighbours(link.Index); err != nil {
			return fmt.Errorf("list neighbours: %w", err)
		}
	}
	same := func(a, b *neighbour) bool { return a.address == b.address }
	if link != f.link || !maps.EqualFunc(neighbours, f.neighbours, same) {
		f.changed = true
	}
	if !slices.Equal(routes, f.routes) {
		f.changed = true
		f.ranges = flatten(routes)
	}
	f.link, f.routes, f.neighbours, f.relist = link, routes, neighbours, listNothing
	return nil
}

// listLink is the interface as it is, the zero Link if there is none.
func (f *follower) listLink() (Link, error) {
	l, err := f.kernel.LinkByName(f.cfg.Interface)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return Link{}, nil
	}
	if err != nil {
		return Link{}, err
	}
	const able = unix.IFF_UP | unix.IFF_RUNNING
	a := l.Attrs()
	link := Link{Index: a.Index, MTU: a.MTU, life: f.lives, Up: a.RawFlags&able == able}
	copy(link.Address[:], a.HardwareAddr)
	return link, nil
}

// listNeighbours are those on the link, with the stamps of those that we knew.
func (f *follower) listNeighbours(index int) (map[address]*neighbour, error) {
	list, err := f.kernel.NeighListExecute(netlink.Ndmsg{Index: uint32(index)})
	if err != nil {
		return nil, err
	}
	neighbours := make(map[address]*neighbour, len(list))
	for i := range list {
		n := &list[i]
		if at, hardware, ok := usable(n); ok && at.IsValid() {
			k := address(at.As16())
			neighbours[k] = newNeighbour(f.neighbours[k], hardware, n.State)
		}
	}
	return neighbours, nil
}

// listRoutes are those of the tables local and main.
func (f *follower) listRoutes(index int) (routes []route, err error) {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		// The filter for no table lets all of them through.
		every := &netlink.Route{Table: unix.RT_TABLE_UNSPEC}
		list, err := f.kernel.RouteListFiltered(family, every, netlink.RT_FILTER_TABLE)
		if err != nil {
			return nil, err
		}
		for i := range list {
			if r, ok := readRoute(&list[i], index); ok {
				routes = append(routes, r)
			}
		}
	}
	return routes, nil
}

// readRoute reads a route of the kernel's as one for the interface of the index; ok is false if it does
// not count.
func readRoute(r *netlink.Route, index int) (out route, ok bool) {
	dead := r.Flags&unix.RTNH_F_DEAD != 0
	if dead || r.Tos != 0 || r.Dst == nil || r.Table != unix.RT_TABLE_MAIN && r.Table != unix.RT_TABLE_LOCAL {
		return route{}, false
	}
	first, valid := netip.AddrFromSlice(r.Dst.IP) // IPv4 in 4 bytes, but for the default route, in 16
	ones, size := r.Dst.Mask.Size()
	if !valid || size == 0 {
		return route{}, false
	}
	bits := 128 - size + ones
	out = route{first: first.As16(), bits: bits, rank: bits, metric: uint32(r.Priority)}
	if r.Table == unix.RT_TABLE_LOCAL {
		out.rank += rankLocal
	}
	switch r.Type {
	case unix.RTN_LOCAL:
		out.reach = ourOwn
	case unix.RTN_UNICAST:
		out.way = readHop(r, index)
	}
	return out, true
}

// readHop says where a unicast route leads, seen from the interface of the index. Of several next hops it
// takes the first on that interface.
func readHop(r *netlink.Route, index int) way {
	hops := r.MultiPath
	if len(hops) == 0 {
		hops = []*netlink.NexthopInfo{{LinkIndex: r.LinkIndex, Gw: r.Gw, Via: r.Via, Encap: r.Encap}}
	}
	for _, hop := range hops {
		if hop.LinkIndex != index || hop.Flags&unix.RTNH_F_DEAD != 0 || hop.Encap != nil || r.Encap != nil {
			continue
		}
		gateway := hop.Gw
		if via, ok := hop.Via.(*netlink.Via); ok { // of the other family: IPv4 behind an IPv6 router
			gateway = via.Addr
		}
		w := way{reach: onLink, mtu: r.MTU}
		if len(gateway) != 0 {
			addr, ok := netip.AddrFromSlice(gateway)
			if !ok {
				return way{}
			}
			w.reach, w.gateway = viaGateway, addr.As16()
		}
		return w
	}
	return way{}
}

// refresh tells the kernel of stale neighbours that are in use.
func (f *follower) refresh() {
	now := f.table.tick.Load()
	linger := uint32((f.cfg.Linger + f.cfg.Refresh - 1) / f.cfg.Refresh)
	for k, n := range f.neighbours {
		if n.state != netlink.NUD_STALE || !n.inUse(now, linger) {
			continue
		}
		// Never of permanent ones: being told of their use takes their permanence away
		// (net/core/neighbour.c, ____neigh_update). The hardware address is not looked at.
		err := f.kernel.NeighSet(&netlink.Neigh{
			LinkIndex:    f.link.Index,
			IP:           net.IP(netip.AddrFrom16(k).Unmap().AsSlice()),
			HardwareAddr: n.address[:],
			Flags:        netlink.NTF_USE,
		})
		if err != nil {
			f.warn("Cannot keep a neighbour alive; needs CAP_NET_ADMIN", err)
			break
		}
	}
	f.table.tick.Store(now + 1)
}

// nextEvent is what Events has to tell next and the link as it is known afterwards; events is nil if
// there is nothing to tell.
func (f *follower) nextEvent() (event LinkEvent, after Link, events chan<- LinkEvent) {
	told, now := f.told, f.link
	other := told.Index != now.Index || told.life != now.life
	switch {
	case other && told.Index != 0:
		return LinkEvent{LinkGone, told.Index}, Link{life: now.life}, f.table.events
	case other && now.Index != 0:
		return LinkEvent{LinkBack, now.Index}, Link{Index: now.Index, Address: now.Address, life: now.life}, f.table.events
	case told.Address != now.Address:
		told.Address = now.Address
		return LinkEvent{LinkAddress, now.Index}, told, f.table.events
	case told.Up && !now.Up:
		return LinkEvent{LinkDown, now.Index}, now, f.table.events
	case !told.Up && now.Up:
		return LinkEvent{LinkUp, now.Index}, now, f.table.events
	}
	return LinkEvent{}, told, nil
}

// warn logs what does not work, at most once a minute.
func (f *follower) warn(message string, err error) {
	if now := time.Now(); now.Sub(f.warned) > time.Minute {
		f.warned = now
		f.cfg.Log.Warn(message, "interface", f.cfg.Interface, "error", err)
	}
}

// warnOfRules tells of policy rules, which we do not follow.
func (f *follower) warnOfRules() {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		rules, err := f.kernel.RuleList(family)
		if err != nil {
			continue // without IPv6, or without rules at all
		}
		for _, r := range rules {
			switch r.Table {
			case unix.RT_TABLE_LOCAL, unix.RT_TABLE_MAIN, unix.RT_TABLE_DEFAULT:
			default:
				f.cfg.Log.Warn("Policy routing rules are not followed: paths are found by the main table",
					"interface", f.cfg.Interface, "rule", r.String())
			}
		}
	}
}
