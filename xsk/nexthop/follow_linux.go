package nexthop

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A notice is the result of one read of the kernel's notifications: messages, or the news that some were lost.
type notice struct {
	messages []syscall.NetlinkMessage
	lost     bool
}

// listen passes on the kernel's notifications until done.
func listen(socket *nl.NetlinkSocket, to chan<- notice, done <-chan struct{}) {
	for {
		messages, from, err := socket.Receive()
		if err == nil && from.Pid != nl.PidKernel {
			continue
		}
		select {
		case <-done: // Close closed the socket
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

// listing is the part of the kernel's tables that follow has to list again.
type listing uint8

const (
	listNothing listing = iota
	listLink            // and our own addresses
	listAll             // and the neighbours
)

// A follower holds our knowledge of the kernel's tables. All of it belongs to one goroutine.
type follower struct {
	cfg    Config
	kernel *netlink.Handle
	table  *Table

	link       Link
	own        addressSet
	neighbours map[address]*neighbour
	ways       roster

	relist  listing
	changed bool   // the data that Resolve answers from, since the last snapshot
	news    bool   // the kernel notified of routes since the last turn
	lives   uint32 // how often the link went away
	told    Link   // the link, as far as Events has been received
	round   uint32 // of refreshes
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
	f.publish()
	return nil
}

// sources are the channels that follow reads.
type sources struct {
	notices <-chan notice     // of links, addresses and neighbours
	routes  <-chan notice     // of routes, rules and next hops
	tooBig  <-chan netip.Addr // destinations whose path MTU may be another
}

// follow applies notices and hints until the table is closed.
func (f *follower) follow(from sources) {
	defer f.close()
	defer close(f.table.events)
	refresh := time.NewTicker(f.cfg.Refresh)
	defer refresh.Stop()
	// settled fires when the next turn may begin. It is armed while one is due.
	settled := time.NewTimer(0)
	settled.Stop()
	var earliest time.Time
	due := false
	for {
		event, after, events := f.nextEvent()
		routes, tooBig := from.routes, from.tooBig
		if f.news { // one more would add nothing, and a storm stays with the kernel
			routes = nil
		}
		if f.ways.hinted() {
			tooBig = nil
		}
		select {
		case n := <-from.notices:
			f.apply(n)
		case n := <-routes:
			f.applyRoutes(n)
		case destination := <-tooBig:
			f.ways.hint(destination)
			// The kernel delivers the message to us a moment before it heeds it.
			earliest = later(earliest, time.Now().Add(f.cfg.Settle))
		case <-f.table.arrivals:
			f.ways.add(f.table.arrived())
		case <-settled.C:
			due = false
			earliest = f.turn()
		case <-refresh.C:
			f.refresh()
		case events <- event:
			f.told = after
		case <-f.table.done:
			return
		}
		if !due && (f.changed || f.news || f.relist != listNothing || f.ways.pending()) {
			due = true
			settled.Reset(max(0, time.Until(earliest)))
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (f *follower) close() {
	f.kernel.Close()
	f.ways.asker.close()
}

// retryAfter is the pause after a listing or a question that failed.
const retryAfter = time.Second

// turn lists and asks as far as that is due, and returns the earliest time of the next turn. With any number of
// questions, turns take at most a tenth of the time.
func (f *follower) turn() (next time.Time) {
	began := time.Now()
	pause := f.cfg.Settle
	if !f.renew() {
		pause = max(pause, retryAfter)
	}
	ended := time.Now()
	return ended.Add(max(pause, 9*ended.Sub(began)))
}

// apply applies a notice of links, addresses or neighbours.
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
				continue // neighbours of a new index of ours are listed with the link
			}
			if m.Header.Type == unix.RTM_DELNEIGH {
				f.forget(n)
			} else {
				f.learn(n)
			}
		case unix.RTM_DELLINK:
			// It may be back with the same index before we look, if it was in another namespace. (A bridge sends this
			// message too, about a link that leaves it.)
			if l := nl.DeserializeIfInfomsg(m.Data); int(l.Index) == f.link.Index && l.Family == unix.AF_UNSPEC {
				f.lives++
			}
			fallthrough
		default:
			f.relist = max(f.relist, listLink)
		}
	}
}

// applyRoutes applies a notice of routes, rules or next hops. It makes all ways due.
func (f *follower) applyRoutes(n notice) {
	f.news = true
	own := n.lost
	for _, m := range n.messages {
		isRoute := m.Header.Type == unix.RTM_NEWROUTE || m.Header.Type == unix.RTM_DELROUTE
		own = own || isRoute && len(m.Data) >= unix.SizeofRtMsg && m.Data[7] == unix.RTN_LOCAL
	}
	if own {
		f.relist = max(f.relist, listLink)
	}
}

// forget removes a neighbour that the kernel deleted or cannot send to.
func (f *follower) forget(n *netlink.Neigh) {
	at, _, _ := usable(n)
	if !at.IsValid() {
		return
	}
	k := address(at.As16())
	if f.neighbours[k] != nil {
		delete(f.neighbours, k)
		f.changed = true
	}
}

// learn applies the kernel's news of a neighbour.
func (f *follower) learn(n *netlink.Neigh) {
	at, hardware, ok := usable(n)
	if !ok || !at.IsValid() {
		f.forget(n)
		return
	}
	k := address(at.As16())
	switch known := f.neighbours[k]; {
	case known != nil && known.address == hardware:
		known.state = n.State
	default:
		f.neighbours[k] = &neighbour{address: hardware, state: n.State}
		f.changed = true
	}
}

// usableStates are those in which the kernel itself sends to a neighbour (NUD_VALID).
const usableStates = netlink.NUD_PERMANENT | netlink.NUD_NOARP | netlink.NUD_REACHABLE |
	netlink.NUD_PROBE | netlink.NUD_STALE | netlink.NUD_DELAY

// usable reads an entry of the kernel's; ok is false if frames cannot be sent by it. That holds for entries of
// multicast and broadcast addresses too, which are not neighbours.
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

// renew lists and asks as far as that is due, and publishes changes. It reports whether it could.
func (f *follower) renew() bool {
	if f.news || f.relist != listNothing {
		f.news = false
		f.ways.askAll() // not every change of a route is notified: IPv4's go silently with their link
	}
	if f.relist != listNothing {
		if err := f.list(); err != nil {
			// Our knowledge stays, and relist too.
			f.warn("Cannot list links, addresses and neighbours", err)
			return false
		}
	}
	changed, err := f.ways.ask(f.link)
	if f.changed {
		f.publish()
	} else if changed {
		f.table.generation.Add(1)
	}
	if f.cfg.renewed != nil {
		f.cfg.renewed(f)
	}
	if err != nil {
		f.warn("Cannot ask for routes", err)
	}
	return err == nil
}

// publish makes a snapshot of our knowledge.
func (f *follower) publish() {
	f.changed = false
	f.table.current.Store(&snapshot{f.link, f.own, maps.Clone(f.neighbours)})
	f.table.generation.Add(1)
}

// listAttempts bounds the attempts of a listing. One fails if the kernel's tables change during it.
const listAttempts = 5

// list lists the tables that relist names.
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
	own, err := f.listOwn(link)
	if err != nil {
		return err
	}
	neighbours := map[address]*neighbour{}
	if link.Index != 0 {
		if link.Index == f.link.Index && link.life == f.link.life && f.relist != listAll {
			neighbours = f.neighbours
		} else if neighbours, err = f.listNeighbours(link.Index); err != nil {
			return fmt.Errorf("list neighbours: %w", err)
		}
	}
	same := func(a, b *neighbour) bool { return a.address == b.address }
	if link != f.link || !own.equal(&f.own) || !maps.EqualFunc(neighbours, f.neighbours, same) {
		f.changed = true
	}
	f.link, f.own, f.neighbours, f.relist = link, own, neighbours, listNothing
	return nil
}

// listLink returns the interface as it is, the zero Link if there is none.
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
	if link.hops, err = f.ways.asker.hopLimits(a.Index); err != nil {
		return Link{}, err
	}
	if a.MasterIndex != 0 {
		master, err := f.kernel.LinkByIndex(a.MasterIndex)
		if err != nil {
			return Link{}, fmt.Errorf("its master: %w", err)
		}
		link.domain = domainOf(master)
	}
	return link, nil
}

// domainOf returns a link's master if it is a VRF, the zero vrf otherwise.
func domainOf(master netlink.Link) vrf {
	if v, ok := master.(*netlink.Vrf); ok {
		return vrf{v.Index, v.Table}
	}
	return vrf{}
}

// listOwn returns the addresses of this host. Those of a link in a VRF are in the VRF's table.
func (f *follower) listOwn(link Link) (addressSet, error) {
	tables := []uint32{unix.RT_TABLE_LOCAL}
	if link.domain.table != 0 {
		tables = append(tables, link.domain.table)
	}
	var all []netip.Prefix
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		for _, table := range tables {
			own, err := f.ways.asker.ours(family, table)
			if err != nil {
				return addressSet{}, err
			}
			all = append(all, own...)
		}
	}
	return newAddressSet(all), nil
}

// listNeighbours returns the neighbours on a link.
func (f *follower) listNeighbours(index int) (map[address]*neighbour, error) {
	list, err := f.kernel.NeighListExecute(netlink.Ndmsg{Index: uint32(index)})
	if err != nil {
		return nil, err
	}
	neighbours := make(map[address]*neighbour, len(list))
	for i := range list {
		n := &list[i]
		if at, hardware, ok := usable(n); ok && at.IsValid() {
			neighbours[at.As16()] = &neighbour{address: hardware, state: n.State}
		}
	}
	return neighbours, nil
}

// refresh marks the next hops of all ways as used. The kernel then asks for those that it does not know, and verifies
// those that are stale. Each reviewRounds it makes all ways due.
func (f *follower) refresh() {
	if f.round++; f.round%reviewRounds == 0 {
		f.ways.askAll()
		f.relist = max(f.relist, listLink) // its hop limits
	}
	left := neighboursAtMost
	for next := range f.overlooked() {
		err := f.kernel.NeighSet(&netlink.Neigh{
			LinkIndex: f.link.Index,
			IP:        net.IP(netip.AddrFrom16(next).Unmap().AsSlice()),
			Flags:     netlink.NTF_USE,
		})
		if err != nil {
			f.warn("Cannot keep a neighbour alive; needs CAP_NET_ADMIN", err)
			return
		}
		if left--; left == 0 {
			return // the others follow in one of the next rounds, as a map has no order
		}
	}
}

// neighboursAtMost bounds the system calls of a refresh.
const neighboursAtMost = 4096

// overlooked are the next hops that the kernel does not ask for or verify on its own.
func (f *follower) overlooked() map[address]struct{} {
	out := make(map[address]struct{})
	if !f.link.Up {
		return out
	}
	for _, w := range f.ways.all {
		a := w.answer.Load()
		if w.gone.Load() || a == nil || a.reach != byLink || a.index != f.link.Index {
			continue
		}
		// Never mark permanent ones: a mark ends their permanence (net/core/neighbour.c, ____neigh_update).
		if n := f.neighbours[a.next]; n == nil || n.state == netlink.NUD_STALE {
			out[a.next] = struct{}{}
		}
	}
	return out
}

// nextEvent returns the next event for Events, and the link as its receiver knows it afterwards. The channel is nil if
// there is no event.
func (f *follower) nextEvent() (event LinkEvent, after Link, events chan<- LinkEvent) {
	told, now := f.told, f.link
	other := told.Index != now.Index || told.life != now.life
	switch {
	case other && told.Index != 0:
		return LinkEvent{LinkGone, told.Index}, Link{life: now.life}, f.table.events
	case other && now.Index != 0:
		after = Link{Index: now.Index, Address: now.Address, life: now.life}
		return LinkEvent{LinkBack, now.Index}, after, f.table.events
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

// warn logs a problem, at most once a minute.
func (f *follower) warn(message string, err error) {
	if now := time.Now(); now.Sub(f.warned) > time.Minute {
		f.warned = now
		f.cfg.Log.Warn(message, "interface", f.cfg.Interface, "error", err)
	}
}
