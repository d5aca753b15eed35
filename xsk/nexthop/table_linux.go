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

// Config configures a Table.
type Config struct {
	// Interface is the name of the interface that AF_XDP is bound to.
	Interface string
	// Port is the UDP port that the paths leave from, for routing that looks at UDP ports. 0: any.
	Port uint16
	// Log gets problems that an operator can solve. nil: no log.
	Log *slog.Logger
	// Refresh is the time between two marks of neighbours in use. It must be well below the minute after which the
	// kernel evicts stale ones (gc_stale_time). 0: 2 seconds.
	Refresh time.Duration
	// Settle is the shortest time between two turns of listing and asking. 0: 10 milliseconds.
	Settle time.Duration

	// For tests: renewed is called after each turn, and buffer is the room for notifications in bytes.
	renewed func(*follower)
	buffer  int
}

// A Table follows the kernel's routes and neighbours for one interface. Close ends it.
type Table struct {
	current    atomic.Pointer[snapshot] // follow writes it
	generation atomic.Uint32            // follow writes it
	events     chan LinkEvent

	arrivals chan struct{} // holds a token while fresh holds ways
	mu       sync.Mutex
	fresh    []*way // that follow has not seen yet

	closers []io.Closer // sockets that follow and the listeners read from
	done    chan struct{}
	once    sync.Once
	ended   sync.WaitGroup
}

// groups are the notifications that change our knowledge, routeGroups those after which routes may have changed.
var (
	groups = []uint{
		unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
	}
	routeGroups = []uint{
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
		unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE, unix.RTNLGRP_NEXTHOP,
	}
)

const (
	// noticeBuffer is the room in bytes for notifications that follow has not read yet. After an overflow the kernel's
	// tables are listed again.
	noticeBuffer = 1 << 20
	// routeBuffer is the same for routes. It is small, since one notification has the same effect as many.
	routeBuffer = 4 << 10
	// reviewRounds is the number of refreshes between two questions for all ways. They find changes without
	// notification: a path MTU that the kernel forgets, hop limits that an administrator or a router changes.
	reviewRounds = 5
)

// Watch begins to follow. The first snapshot exists when it returns. The error wraps ErrNoInterface if there is no
// interface of the name. Later the interface may come and go.
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

// open opens the sockets and begins. Those that it opened are among the closers, even after an error.
func (t *Table) open(cfg Config) error {
	// Subscribe before listing, so that no change is missed in between.
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

// subscribe opens a socket that receives the kernel's notifications of some groups.
func (t *Table) subscribe(buffer int, groups []uint) (*nl.NetlinkSocket, error) {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, groups...)
	if err != nil {
		return nil, fmt.Errorf("subscribe to the kernel's notifications: %w", err)
	}
	t.closers = append(t.closers, closer(s.Close))
	// Best effort: without force the kernel may grant less, which suffices except in storms.
	if s.SetReceiveBufferSize(buffer, true) != nil {
		_ = s.SetReceiveBufferSize(buffer, false)
	}
	return s, nil
}

// listen starts a goroutine that passes on a socket's notifications.
func (t *Table) listen(s *nl.NetlinkSocket, room int) <-chan notice {
	to := make(chan notice, room)
	t.ended.Go(func() { listen(s, to, t.done) })
	return to
}

// Follow begins to follow a path, and returns at once. Until the kernel has answered, the Way is Unresolved. A datagram
// through a socket of the kernel's makes the kernel find the next hop meanwhile.
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

// arrived returns the ways that follow has not seen yet.
func (t *Table) arrived() (fresh []*way) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fresh, t.fresh = t.fresh, nil
	return fresh
}

// Generation changes when a Way that was not Unresolved may resolve to another answer than before. Callers read it
// before they resolve.
func (t *Table) Generation() uint32 { return t.generation.Load() }

// Own reports whether an address is this host's. Packets from such an address do not come from outside, unless they
// are forged.
func (t *Table) Own(a netip.Addr) bool { return t.current.Load().own.holds(a) }

// Link is the interface as it is now.
func (t *Table) Link() Link { return t.current.Load().link }

// Events reports changes of the link since Watch. An event waits until it is received. Changes that are undone before
// that are not reported. Close closes the channel.
func (t *Table) Events() <-chan LinkEvent { return t.events }

// Close ends following. Ways go on to resolve as they did last.
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
