package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ringcast/engine/api"
	"ringcast/engine/budget"
	"ringcast/engine/bus"
	"ringcast/engine/candidate"
	"ringcast/engine/dtls"
	"ringcast/engine/port"
	"ringcast/engine/udp"
	"ringcast/engine/worker"
)

// An Engine is the media server without its signalling: the workers, their ports, the bus between them
// and the controller.
type Engine struct {
	log        *slog.Logger
	now        func() port.Time
	ports      *ports
	bus        *bus.Bus
	runners    []*runner
	controller *controller
	memory     *budget.Budget // of the packet histories
	addresses  *candidate.Watcher
	list       listing
	stop       chan struct{}
	threads    sync.WaitGroup
}

// ntpEpoch is the time from 1900, from which NTP counts, to 1970, in nanoseconds (RFC 5905 section 6).
const ntpEpoch = 2_208_988_800 * int64(time.Second)

// listAge bounds the age of the list of streams.
const listAge = 200 * port.Millisecond

// A listing holds the streams as they were at one moment.
type listing struct {
	// stale is set by the controller where the streams are not what they were.
	stale atomic.Bool

	mu  sync.Mutex // guards the fields below
	all []api.Stream
	at  port.Time
}

// Start opens the UDP port and starts the workers. Shutdown ends them.
func Start(cfg Config) (*Engine, error) {
	if cfg.Workers == 0 {
		cfg.Workers = len(cfg.Host.CPUs) // 0: as many as the port can use
	}
	addresses, err := candidate.Watch(cfg.Public, cfg.Listen.Addr(), cfg.Log)
	if err != nil {
		return nil, err
	}
	opened, err := openPorts(&cfg, addresses.Public())
	if err != nil {
		addresses.Close()
		return nil, err
	}
	cfg.Workers = len(opened.all)
	if err := opened.openDialled(&cfg); err != nil {
		addresses.Close()
		return nil, errors.Join(err, opened.close())
	}
	keepProcessors(len(opened.each()))
	e := &Engine{
		log: cfg.Log, now: udp.Now, ports: opened, bus: bus.New(), memory: budget.New(cfg.HistoryMemory),
		addresses: addresses, stop: make(chan struct{}),
	}
	random := func(b []byte) {
		if _, err := io.ReadFull(cfg.Rand, b); err != nil {
			panic(fmt.Sprintf("no randomness: %v", err)) // nothing may be secret without it
		}
	}
	if e.controller, err = e.newController(&cfg, random, opened.guard); err != nil {
		return nil, errors.Join(err, e.close())
	}
	e.addRunners(&cfg, random)
	for _, r := range e.runners {
		r.beat.Store(int64(e.now()))
		e.threads.Go(r.run)
	}
	go e.controller.run(e.stop)
	e.log.Info("serving media", "io", joinRungs(opened.rungs()),
		"listen", netip.AddrPortFrom(cfg.Listen.Addr(), opened.number), "workers", cfg.Workers,
		"candidates", withPort(addresses.All(), opened.number))
	return e, nil
}

// keepProcessors raises GOMAXPROCS above the number of workers. A worker that dozes keeps its processor, so HTTP would
// wait for it if none were left. One more is for the controller and HTTP, one for a worker that wakes.
func keepProcessors(workers int) {
	if n := workers + 2; runtime.GOMAXPROCS(0) < n {
		runtime.GOMAXPROCS(n)
	}
}

// addRunners makes a runner with its worker for each port. The worker of dialled sessions is the last. It is kept on no
// core, and sleeps while nothing happens.
func (e *Engine) addRunners(cfg *Config, random func([]byte)) {
	wall := time.Now().UnixNano() + ntpEpoch - int64(e.now())
	all := e.ports.each()
	for i, p := range all {
		r := &runner{
			engine: e, index: i, cpu: cfg.cpu(i), port: p, bus: e.bus.Join(bus.Address(i)), busyPoll: cfg.Host.BusyPoll,
		}
		w := cfg.worker
		w.Index, w.Workers, w.Rand, w.EvenRuns = i, len(all), source(random), e.ports.evenRuns
		if bus.Address(i) == cfg.dialler() {
			r.cpu, r.busyPoll, w.EvenRuns = -1, false, false
		}
		w.Wall, w.Memory, w.Ufrags = wall, e.memory, e.controller.ufrags.keys
		w.Adapt, w.StartRate = cfg.Adapt, cfg.StartRate
		r.worker = worker.New(w)
		e.runners = append(e.runners, r)
	}
}

// newController makes the controller. guard is nil where no XDP program judges datagrams.
func (e *Engine) newController(cfg *Config, random func([]byte), guard ufragGuard) (*controller, error) {
	keys, err := newUfrags(e.now(), random, guard)
	if err != nil {
		return nil, err
	}
	c := &controller{
		log: cfg.Log, now: e.now, random: random, workers: cfg.Workers,
		limits: cfg.Sessions, quota: newQuota(), waiting: waiting{newPool(&cfg.Sessions), dials{worker: cfg.dialler()}},
		bus: e.bus.Join(bus.Controller), wake: e.wake, inbox: newInbox(),
		sessions: make(map[api.SessionID]*session), ufrags: keys,
		streams: streamSet{named: make(map[string]*stream), backed: make(map[*stream]struct{})},
	}
	c.setLimits(cfg.Sessions.Limits)
	c.negotiated, c.cname = newNegotiated(random), c.token(9)
	d := dtls.DefaultConfig()
	d.Log, d.Rand = cfg.Log, cfg.Rand
	c.dtls, err = newHandshakes(d, c.poke)
	return c, err
}

// source makes a fast generator for a worker, seeded once.
func source(random func([]byte)) func() uint64 {
	var seed [16]byte
	random(seed[:])
	return mathrand.NewPCG(binary.LittleEndian.Uint64(seed[:]), binary.LittleEndian.Uint64(seed[8:])).Uint64
}

// wake ends the sleep of a worker or of the controller.
func (e *Engine) wake(address bus.Address) {
	if address == bus.Controller {
		e.controller.poke()
		return
	}
	e.runners[address].wakeUp()
}

// Publish opens a session for a publisher of a stream.
func (e *Engine) Publish(ctx context.Context, stream string, p api.Offer) (api.Local, error) {
	return e.open(ctx, api.Publisher, stream, p)
}

// Subscribe opens a session for a subscriber of a stream.
func (e *Engine) Subscribe(ctx context.Context, stream string, p api.Offer) (api.Local, error) {
	return e.open(ctx, api.Subscriber, stream, p)
}

func (e *Engine) open(ctx context.Context, role api.Role, stream string, p api.Offer) (l api.Local, err error) {
	candidates, err := e.candidates(p.Source)
	if err != nil {
		return api.Local{}, err
	}
	if ended := e.controller.do(ctx, func() { l, err = e.controller.open(role, stream, p) }); ended != nil {
		return api.Local{}, ended
	}
	l.Candidates = candidates
	return l, err
}

// Restart makes new ICE credentials for a session whose peer has new ones, remote. The old ones stay valid until the
// peer nominates with the new ones. The peer may have moved: source is the address from which it signals now.
func (e *Engine) Restart(
	ctx context.Context, id api.SessionID, remote api.Credentials, source netip.Addr,
) (l api.Local, err error) {
	candidates, err := e.candidates(source)
	if err != nil {
		return api.Local{}, err
	}
	if ended := e.controller.do(ctx, func() { l, err = e.controller.restart(id, remote) }); ended != nil {
		return api.Local{}, ended
	}
	l.Candidates = candidates
	return l, err
}

// Close ends a session. An unknown one is ignored.
func (e *Engine) Close(id api.SessionID) { e.End(id, api.ReasonClosed) }

// End ends a session for a reason. It reports false for an unknown one.
func (e *Engine) End(id api.SessionID, why api.Reason) (ended bool) {
	c := e.controller
	_ = c.do(context.Background(), func() { // when the controller has ended, so has the session
		if s := c.sessions[id]; s != nil {
			c.close(s, why)
			ended = true
		}
	})
	return ended
}

// Choose sets the layer above which a subscriber is sent none, by its RID; an empty one lifts the bound. The subscriber
// is sent less where its network does not carry that layer. The bound stays when another publication has a layer of
// that name.
func (e *Engine) Choose(ctx context.Context, id api.SessionID, rid string) (err error) {
	if ended := e.controller.do(ctx, func() { err = e.controller.choose(id, rid) }); ended != nil {
		return ended
	}
	return err
}

// View describes what a subscriber is sent. ok is false once the session has ended.
func (e *Engine) View(id api.SessionID) (v api.View, ok bool) {
	_ = e.controller.do(context.Background(), func() { v, ok = e.controller.view(id) })
	return v, ok
}

// Stream describes a stream that is published now.
func (e *Engine) Stream(name string) (st api.Stream, ok bool) {
	c := e.controller
	_ = c.do(context.Background(), func() {
		if s := c.streams.named[name]; s != nil && s.live != nil {
			st, ok = s.describe(), true
		}
	})
	return st, ok
}

// Streams describes all published streams but hidden ones, in no order. The list is at most listAge old: anybody may
// request it, and each walk over the streams takes time of the controller. It has the first packet of each publisher
// that OnMedia has reported.
func (e *Engine) Streams() []api.Stream {
	l := &e.list
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := e.now(); l.stale.Swap(false) || l.all == nil || now-l.at >= listAge {
		l.all, l.at = nil, now
		c := e.controller
		_ = c.do(context.Background(), func() {
			for _, s := range c.streams.named {
				if s.live != nil && !s.live.hidden() {
					l.all = append(l.all, s.describe())
				}
			}
		})
	}
	return slices.Clone(l.all)
}

// OnEnded registers a function that is called, on the controller's goroutine, for every session that ends. It must not
// call the Engine.
func (e *Engine) OnEnded(f func(api.SessionID, api.Reason)) {
	c := e.controller
	_ = c.do(context.Background(), func() { c.onEnded = append(c.onEnded, f) })
}

// OnMedia registers a function that is called, on the controller's goroutine, when a publisher of this server sends the
// first packet of a track. It must not call the Engine.
func (e *Engine) OnMedia(f func()) {
	c := e.controller
	_ = c.do(context.Background(), func() {
		c.onMedia = append(c.onMedia, func() {
			e.list.stale.Store(true)
			f()
		})
	})
}

// Ready returns an error if new sessions cannot be served.
func (e *Engine) Ready() error {
	closing := true
	if err := e.controller.do(context.Background(), func() { closing = e.controller.closing }); err != nil {
		return err
	}
	if closing {
		return api.ErrClosing
	}
	for _, r := range e.runners {
		if quiet := e.now() - port.Time(r.beat.Load()); quiet > stuckSpan {
			return fmt.Errorf("worker %d has been stuck for %.1f s", r.index, quiet.Seconds())
		}
	}
	return nil
}

// Shutdown says goodbye to every peer, stops workers and controller, and closes the ports. When ctx ends first, it
// returns early with an error; the process should exit then.
func (e *Engine) Shutdown(ctx context.Context) error {
	for done := false; !done; {
		if err := e.controller.do(ctx, func() { done = e.controller.shutdown() }); err != nil {
			return err
		}
	}
	err := e.controller.dtls.Shutdown(ctx)
	for _, r := range e.runners {
		r.stop.Store(true) // it ends once its part of the bus is drained
		r.port.Wake()
	}
	stopped := make(chan struct{})
	go func() {
		e.threads.Wait()
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-ctx.Done():
		return errors.Join(err, fmt.Errorf("stop the workers: %w", ctx.Err()))
	}
	close(e.stop)
	<-e.controller.done
	return errors.Join(err, e.close())
}

// close ends the watching of addresses and closes the ports, which no worker uses any more.
func (e *Engine) close() error {
	e.addresses.Close()
	return e.ports.close()
}
