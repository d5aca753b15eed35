package candidate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Config holds an operator's public addresses. Start from DefaultConfig.
type Config struct {
	// Public are offered instead of the interfaces' addresses.
	Public []netip.Addr
	// Names are looked up at start and again at intervals. Their addresses count like Public. A name that is not
	// found keeps its last addresses.
	Names []string
	// Lookup finds the addresses of a name.
	Lookup func(ctx context.Context, name string) ([]netip.Addr, error) `json:"-"`
}

// DefaultConfig offers the interfaces' addresses. Names would be looked up by net.DefaultResolver.
func DefaultConfig() Config {
	return Config{Lookup: func(ctx context.Context, name string) ([]netip.Addr, error) {
		return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	}}
}

// Until returns a configuration whose look-ups also end with ctx, so that a cancelled start waits for none.
func (c Config) Until(ctx context.Context) Config {
	lookup := c.Lookup
	c.Lookup = func(one context.Context, name string) ([]netip.Addr, error) {
		one, cancel := context.WithCancel(one)
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		return lookup(one, name)
	}
	return c
}

const (
	// settleSpan is the time from a notification to the reading of the interfaces: changes come in bursts.
	settleSpan = 100 * time.Millisecond
	// lookupSpan is how long the look-up of one name may take.
	lookupSpan = 5 * time.Second
	// nameInterval is the time between look-ups of names, retryInterval after a failure.
	nameInterval  = 30 * time.Second
	retryInterval = 5 * time.Second
	// complainInterval is the least time between two log lines about a name.
	complainInterval = time.Minute
)

// interfaces are the machine's, as the platform reports them.
type interfaces interface {
	// read lists the addresses as they are now.
	read() ([]Address, error)
	// listen calls changed after each change until stop, or until it fails.
	listen(changed func()) error
	stop()
	// interval is the time between readings without a notification.
	interval() time.Duration
	// close frees everything, after the last read and listen.
	close()
}

// A Watcher keeps the addresses up to date. Close ends it.
type Watcher struct {
	cfg    Config
	local  netip.Addr // address of the UDP port
	log    *slog.Logger
	now    atomic.Pointer[set] // update writes it
	cancel context.CancelFunc
	ended  sync.WaitGroup

	kernel interfaces // nil where the interfaces do not matter

	mu     sync.Mutex              // guards the fields below
	found  []Address               // on the interfaces
	named  map[string][]netip.Addr // the last addresses of each name
	warned map[string]time.Time    // when the failure of each name was last logged
	unread bool                    // the last reading failed
}

// Watch reads the interfaces and looks the names up, and repeats both until Close. listen is the address of the UDP
// port: a specified one is the only candidate. Every change is logged. A name that is not found is no error: it may be
// found later.
func Watch(cfg Config, listen netip.Addr, log *slog.Logger) (*Watcher, error) {
	return watch(cfg, listen, log, openInterfaces)
}

func watch(cfg Config, listen netip.Addr, log *slog.Logger, open func() interfaces) (*Watcher, error) {
	cfg.Public = slices.DeleteFunc(slices.Clone(cfg.Public), func(a netip.Addr) bool {
		served := serves(listen, a)
		if !served {
			log.Warn("the UDP port does not have this public address's family", "address", a, "listen", listen)
		}
		return !served
	})
	ctx, cancel := context.WithCancel(context.Background())
	w := &Watcher{
		cfg: cfg, local: listen, log: log, cancel: cancel,
		named: make(map[string][]netip.Addr), warned: make(map[string]time.Time),
	}
	if len(cfg.Public) == 0 && (!listen.IsValid() || listen.IsUnspecified()) {
		w.kernel = open()
		var err error
		if w.found, err = w.kernel.read(); err != nil {
			w.kernel.stop()
			w.kernel.close()
			cancel()
			return nil, fmt.Errorf("list the interfaces' addresses: %w", err)
		}
	}
	failed := w.lookUp(ctx)
	w.update()
	if w.kernel != nil {
		changed := make(chan struct{}, 1)
		w.ended.Go(func() { w.listen(ctx, changed) })
		w.ended.Go(func() { w.follow(ctx, changed) })
	}
	if len(cfg.Names) > 0 {
		w.ended.Go(func() { w.resolve(ctx, failed) })
	}
	return w, nil
}

// serves reports whether a UDP port on listen has the family of an address. No address, and IPv6's unspecified one,
// have both families.
func serves(listen, a netip.Addr) bool {
	both := !listen.IsValid() || listen == netip.IPv6Unspecified()
	return both || listen.Unmap().Is4() == a.Unmap().Is4()
}

// Close ends the Watcher.
func (w *Watcher) Close() {
	w.cancel()
	if w.kernel != nil {
		w.kernel.stop()
		defer w.kernel.close()
	}
	w.ended.Wait()
}

// For lists the addresses for a peer that signals from source, the best first. The zero Addr stands for an unknown
// source. The caller must not write to the list. It is empty where the machine has no address.
func (w *Watcher) For(source netip.Addr) []netip.Addr { return w.now.Load().forSource(source) }

// All lists every address that may be offered to a peer.
func (w *Watcher) All() []netip.Addr { return w.now.Load().all() }

// Public lists the addresses that an operator gave, directly or by a name.
func (w *Watcher) Public() []netip.Addr {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.public()
}

// public needs the lock.
func (w *Watcher) public() []netip.Addr {
	out := slices.Clone(w.cfg.Public)
	for _, name := range w.cfg.Names {
		for _, a := range w.named[name] {
			if !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	return out
}

// listen passes on the kernel's notifications, several as one.
func (w *Watcher) listen(ctx context.Context, changed chan<- struct{}) {
	err := w.kernel.listen(func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	if err != nil && ctx.Err() == nil {
		w.log.Warn("changes of addresses are noticed late", "within", w.kernel.interval(), "error", err)
	}
}

// follow reads the interfaces after changes, and at intervals.
func (w *Watcher) follow(ctx context.Context, changed <-chan struct{}) {
	ticker := time.NewTicker(w.kernel.interval())
	defer ticker.Stop()
	settle := settleSpan
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-changed:
			select {
			case <-ctx.Done():
				return
			case <-time.After(settle):
			}
		}
		began := time.Now()
		found, err := w.kernel.read()
		// With any number of interfaces, reading takes at most a tenth of the time.
		settle = max(settleSpan, 9*time.Since(began))
		w.mu.Lock()
		if err == nil {
			w.found = found
		} else if !w.unread {
			w.log.Warn("the interfaces' addresses cannot be read, the candidates stay the same", "error", err)
		}
		w.unread = err != nil
		w.mu.Unlock()
		w.update()
	}
}

// resolve looks the names up at intervals, sooner after a failure.
func (w *Watcher) resolve(ctx context.Context, failed bool) {
	for {
		wait := nameInterval
		if failed {
			wait = retryInterval
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		failed = w.lookUp(ctx)
		w.update()
	}
}

// lookUp looks every name up once, all at the same time. A name that is not found keeps its last addresses.
func (w *Watcher) lookUp(ctx context.Context) (failed bool) {
	var asked sync.WaitGroup
	for _, name := range w.cfg.Names {
		asked.Go(func() {
			found, err := w.cfg.resolve(ctx, name, w.local)
			w.mu.Lock()
			defer w.mu.Unlock()
			if err == nil {
				w.named[name] = found
				return
			}
			failed = true
			if now := time.Now(); !errors.Is(err, context.Canceled) && now.Sub(w.warned[name]) >= complainInterval {
				w.warned[name] = now
				w.log.Warn("a public name cannot be looked up", "name", name, "kept", w.named[name], "error", err)
			}
		})
	}
	asked.Wait()
	return failed
}

// Resolve lists the public addresses, those of names included, at which others reach a port on listen. Beside an
// error, about names that are not found, the list holds for the others.
func (c *Config) Resolve(ctx context.Context, listen netip.Addr) (all []netip.Addr, err error) {
	all = slices.Clone(c.Public)
	for _, name := range c.Names {
		found, e := c.resolve(ctx, name, listen)
		if e != nil {
			err = errors.Join(err, fmt.Errorf("public-ip: %w", e))
		}
		all = append(all, found...)
	}
	return all, err
}

// resolve finds the addresses of a name at which others reach a port on listen, IPv4 first, always in the same
// order. Finding none is an error.
func (c *Config) resolve(ctx context.Context, name string, listen netip.Addr) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupSpan)
	defer cancel()
	found, err := c.Lookup(ctx, name)
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, a := range found {
		a = a.Unmap()
		// Debian's /etc/hosts has 127.0.1.1 for the machine's own name.
		useless := a.IsUnspecified() || a.IsMulticast() || a.IsLinkLocalUnicast() ||
			a.IsLoopback() && !listen.IsLoopback()
		if !useless && serves(listen, a) && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s has no address at which others reach the UDP port: it has %v", name, found)
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out, nil
}

// update makes the set of the addresses known now, and logs every change after the first set.
func (w *Watcher) update() {
	w.mu.Lock()
	defer w.mu.Unlock()
	next := choose(w.found, w.local.Is4())
	next.fixed = w.public()
	if a := w.local; len(next.fixed) == 0 && a.IsValid() && !a.IsUnspecified() {
		next.fixed = []netip.Addr{a.Unmap().WithZone("")}
	}
	last := w.now.Swap(&next)
	if last == nil {
		return
	}
	before, after := last.all(), next.all()
	missing := func(from []netip.Addr) func(netip.Addr) bool {
		return func(a netip.Addr) bool { return slices.Contains(from, a) }
	}
	added := slices.DeleteFunc(slices.Clone(after), missing(before))
	removed := slices.DeleteFunc(slices.Clone(before), missing(after))
	switch {
	case len(added)+len(removed) == 0:
	case len(after) == 0:
		w.log.Warn("no candidates are left: the machine has no address", "removed", removed)
	default:
		w.log.Info("candidates changed", "added", added, "removed", removed, "candidates", after)
	}
}
