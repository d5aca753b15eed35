package nexthop

import (
	"cmp"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"ringcast/engine/port"
)

// Config says what to follow.
type Config struct {
	// Interface is the name of the interface that AF_XDP is bound to.
	Interface string
	// Log is told of what an operator can do something about. nil: nobody is.
	Log *slog.Logger
	// Refresh is how often the kernel is told of neighbours in use: well below the minute after which it
	// throws stale ones out (gc_stale_time). 0: every 2 seconds.
	Refresh time.Duration
	// Linger is for how long after its last Resolve a neighbour counts as in use. 0: 3 minutes.
	Linger time.Duration
	// Settle is the shortest time between two snapshots. 0: 10 milliseconds.
	Settle time.Duration

	// For tests: what is told of each snapshot, and the room for notifications.
	published func(*snapshot)
	buffer    int
}

// A Table follows the kernel's routes and neighbours for one interface. Close ends it.
type Table struct {
	current atomic.Pointer[snapshot] // follow writes it
	tick    atomic.Uint32            // counts Config.Refresh; follow writes it
	events  chan LinkEvent

	notices *nl.NetlinkSocket
	done    chan struct{}
	once    sync.Once
	ended   sync.WaitGroup
}

// groups are the notifications that we follow.
var groups = []uint{
	unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH,
	unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE,
	unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_ROUTE,
	unix.RTNLGRP_NEXTHOP,
}

// noticeBuffer is the room, in bytes, for notifications that follow has not come to. What overflows is
// listed again.
const noticeBuffer = 1 << 20

// Watch begins to follow. It has the first snapshot when it returns. The error wraps ErrNoInterface if
// the interface is not there; from then on, it may come and go.
func Watch(cfg Config) (*Table, error) {
	cfg.Refresh = cmp.Or(cfg.Refresh, 2*time.Second)
	cfg.Linger = cmp.Or(cfg.Linger, 3*time.Minute)
	cfg.Settle = cmp.Or(cfg.Settle, 10*time.Millisecond)
	cfg.buffer = cmp.Or(cfg.buffer, noticeBuffer)
	if cfg.Refresh < 0 || cfg.Linger < 0 || cfg.Settle < 0 {
		return nil, fmt.Errorf("follow %s: negative interval: %v, %v, %v", cfg.Interface, cfg.Refresh, cfg.Linger, cfg.Settle)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}

	// Subscribed before anything is listed, so that nothing falls in between.
	notices, err := nl.Subscribe(unix.NETLINK_ROUTE, groups...)
	if err != nil {
		return nil, fmt.Errorf("subscribe to routes and neighbours: %w", err)
	}
	// Best effort: what the kernel allows without force is enough but for storms.
	if notices.SetReceiveBufferSize(cfg.buffer, true) != nil {
		_ = notices.SetReceiveBufferSize(cfg.buffer, false)
	}
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		notices.Close()
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	t := &Table{events: make(chan LinkEvent), notices: notices, done: make(chan struct{})}
	f := &follower{cfg: cfg, kernel: handle, table: t, ranges: flatten(nil), relist: listAll}
	t.tick.Store(1)
	if err := f.begin(); err != nil {
		notices.Close()
		handle.Close()
		return nil, fmt.Errorf("follow %s: %w", cfg.Interface, err)
	}
	messages := make(chan notice, 64)
	t.ended.Go(func() { listen(notices, messages, t.done) })
	t.ended.Go(func() { f.follow(messages) })
	return t, nil
}

// Resolve finds how a path leaves by the interface. It says no if the path leaves by another or is
// not to be left by at all, if path.Local is none of this host's addresses, if the link is down (which the Hop says), or if
// the next hop's hardware address is not known; what then is sent through a socket of the kernel's makes
// the kernel find it out. See the package's comment for how often to call it.
func (t *Table) Resolve(p port.Path) (Hop, bool) {
	return t.current.Load().resolve(p, t.tick.Load())
}

// Generation changes when Resolve may answer differently than before, and with each Config.Refresh, since
// only who resolves again shows that a neighbour is still in use. Take it before resolving.
func (t *Table) Generation() uint32 { return t.current.Load().generation + t.tick.Load() }

// Link is the interface as it is now.
func (t *Table) Link() Link { return t.current.Load().link }

// Events tells of changes of the link since Watch. An event waits until it is received; what is undone
// before that is not told. It is closed by Close.
func (t *Table) Events() <-chan LinkEvent { return t.events }

// Close ends following. Resolve keeps answering from the last snapshot.
func (t *Table) Close() error {
	t.once.Do(func() {
		close(t.done)
		t.notices.Close()
	})
	t.ended.Wait()
	return nil
}
