package nexthop

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"ringcast/engine/port"
)

// Config configures Watch.
type Config struct {
	// Interface is the name of the interface that AF_XDP is bound to.
	Interface string
	// Port is the UDP port that the paths leave from, for routing that looks at ports. 0: none that matters.
	Port uint16
	// Log gets the events that an operator can act on; nil drops them.
	Log *slog.Logger
	// Refresh is how often the kernel is told of neighbours in use: well below the minute after which it
	// throws stale ones out (gc_stale_time). 0: every 2 seconds.
	Refresh time.Duration
	// Settle is the shortest time between two turns of listing and asking. 0: 10 milliseconds.
	Settle time.Duration

	// For tests: renewed is called after each turn of listing and asking; buffer is the room for notifications.
	renewed func(*follower)
	buffer  int
}

// A Table follows the kernel's routes and neighbours for one interface. Close ends it.
type Table struct {
	current    atomic.Pointer[snapshot] // follow writes it
	generation atomic.Uint32            // follow's too
	events     chan LinkEvent

	arrivals chan struct{} // holds something while fresh does
	mu       sync.Mutex
	fresh    []*way // that follow has not seen yet

	closers []io.Closer // the sources of follow and the listeners
	done    chan struct{}
	once    sync.Once
	ended   sync.WaitGroup
}

// groups are the notifications that change our knowledge; routeGroups those after which routes may be others.
var (
	groups = []uint{
		unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
	}
	routeGroups = []uint{
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE,
		unix.RTNLGRP_NEXTHOP,
	}
)

const (
	// noticeBuffer is the room, in bytes, for notifications that follow has not come to. If it overflows, all is listed
	// again.
	noticeBuffer = 1 << 20
	// routeBuffer is the same for routes: little, as one notification says as much as many.
	routeBuffer = 4 << 10
	// reviewRounds is the number of refreshes between two turns over all ways. They are for changes without
	// notification: a path MTU that the kernel forgets, hop limits that an administrator or a router changes.
	reviewRounds = 5
)

// Watch begins to follow. It has the first snapshot when it returns. The error wraps ErrNoInterface if
// the interface is not there; from then on, it may come and go.
func Watch(cfg Config) (*Table, error) {
	cfg.Refresh = cmp.Or(cfg.Refresh, 2*time.Second)
	cfg.Settle = cmp.Or(cfg.Settle, 10*time.Millisecond)
	cfg.buffer = cmp.Or(cfg.buffer, noticeBuffer)
	if cfg.Refresh < 0 || cfg.Settle < 0 {
		return nil, fmt.Errorf("follow %s: negative interval: %v, %v", cfg.Interface, cfg.Refresh, cfg.Settle)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	t := &Table{events: make(chan LinkEvent), arrivals: make(chan struct{}, 1), done: make(chan struct{})}
	if err := t.open(cfg); err != nil {
		t.closeAll()
		return nil, fmt.Errorf("follow %s: %w", cfg.Interface, err)
	}
	return t, nil
}

// open opens the sockets and begins. The sockets that it opened are among the closers, also after an error.
func (t *Table) open(cfg Config) error {
	// Subscribed before anything is listed, so that nothing falls in between.
	notices, err := t.subscribe(cfg.buffer, groups)
	if err != nil {
		return err
	}
	routes, err := t.subscribe(routeBuffer, routeGroups)
	if err != nil {
		return err
	}
	kernel, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	asker, err := newAsker()
	if err != nil {
		kernel.Close()
		return err
	}
	f := &follower{
		cfg: cfg, table: t, kernel: kernel, relist: listAll,
		ways: roster{asker: asker, local: cfg.Port, name: cfg.Interface},
	}
	if err := f.begin(); err != nil {
		f.close()
		return err
	}
	from := sources{t.listen(notices, 64), t.listen(routes, 0), t.hear(cfg.Log)}
	t.ended.Go(func() { f.follow(from) })
	return nil
}

// subscribe opens a socket that the kernel's notifications of some groups come to.
func (t *Table) subscribe(buffer int, groups []uint) (*nl.NetlinkSocket, error) {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, groups...)
	if err != nil {
		return nil, fmt.Errorf("subscribe to the kernel's notifications: %w", err)
	}
	t.closers = append(t.closers, closer(s.Close))
	// Best effort: the kernel's limit without force is enough but for storms.
	if s.SetReceiveBufferSize(buffer, true) != nil {
		_ = s.SetReceiveBufferSize(buffer, false)
	}
	return s, nil
}

// listen starts a goroutine that hands over a socket's notifications.
func (t *Table) listen(s *nl.NetlinkSocket, room int) <-chan notice {
	to := make(chan notice, room)
	t.ended.Go(func() { listen(s, to, t.done) })
	return to
}

// Follow begins to follow a path, and returns at once. Until the kernel has answered, the Way is Unresolved. A datagram
// through a socket of the kernel's meanwhile makes the kernel find the next hop.
func (t *Table) Follow(p port.Path) Way {
	w := &way{table: t, path: p}
	t.mu.Lock()
	t.fresh = append(t.fresh, w)
	t.mu.Unlock()
	select {
	case t.arrivals <- struct{}{}:
	default:
	}
	return w
}

// arrived takes over the ways that follow has not seen yet.
func (t *Table) arrived() (fresh []*way) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fresh, t.fresh = t.fresh, nil
	return fresh
}

// Generation changes when a Way that was not Unresolved may resolve to something else than before. Take it before
// resolving.
func (t *Table) Generation() uint32 { return t.generation.Load() }

// Own reports whether an address is this host's. Packets from such an address do not come from outside, unless they
// are forged.
func (t *Table) Own(a netip.Addr) bool { return t.current.Load().own.holds(a) }

// Link is the interface as it is now.
func (t *Table) Link() Link { return t.current.Load().link }

// Events reports changes of the link since Watch. An event waits until it is received; a change that is undone before
// that is not reported. Close closes it.
func (t *Table) Events() <-chan LinkEvent { return t.events }

// Close ends following. Ways keep resolving as they did last.
func (t *Table) Close() error {
	t.once.Do(func() {
		close(t.done)
		t.closeAll()
	})
	t.ended.Wait()
	return nil
}

func (t *Table) closeAll() {
	for _, c := range t.closers {
		c.Close()
	}
}

// A closer is a Close that cannot fail.
type closer func()

func (c closer) Close() error {
	c()
	return nil
}
