package engine

import (
	"runtime"
	"runtime/debug"
	"sync/atomic"

	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/worker"
)

const (
	// silentAfter is the time without media after which a runner is in no hurry.
	silentAfter = port.Second
	// publishInterval is the greatest age of the counts that other threads see.
	publishInterval = 200 * port.Millisecond
	// A runner that has not completed a turn for stuckSpan is stuck. While it sleeps it makes a turn each beatInterval.
	beatInterval = port.Second
	stuckSpan    = 4 * port.Second

	batchPackets  = 64
	batchMessages = 256
	// A turn takes in at most controlTurn control messages and mediaTurn lossy ones, so that a burst of
	// either leaves the port its turn.
	controlTurn = 512
	mediaTurn   = 512
	// farewellSpan is how long a runner that is to stop waits for its port to send the last goodbyes.
	farewellSpan = worker.GoodbyeSpan + port.StaleAfter
)

// A runner is the goroutine of one worker: the only place where the clock, the port, the bus and the sans-I/O core
// meet. It has a thread of its own if it is kept on a core, or polls all the time.
type runner struct {
	engine *Engine
	index  int
	cpu    int // that the thread is kept on, or -1
	worker *worker.Worker
	port   port.Port
	bus    *bus.Endpoint
	// busyPoll makes it poll all the time instead of sleeping.
	busyPoll bool

	// sleeping is set while the runner waits, or is about to. The sender of a message wakes it then.
	sleeping atomic.Bool
	stop     atomic.Bool
	beat     atomic.Int64 // start of the last turn, in port.Time
	turns    uint64       // so far
	shared   shared

	in        port.Batch
	received  int       // packets of in that are still to be handled
	submitted uint64    // frames that the port was given
	stopped   port.Time // when the runner first saw that it is to stop, 0 before
}

// run is the loop. Each turn receives a batch, takes in messages, handles the packets, polls one bounded
// batch and transmits it. One batch a turn keeps a large fan-out from starving reception.
func (r *runner) run() {
	if r.cpu >= 0 || r.busyPoll {
		runtime.LockOSThread() // otherwise the thread that finds work goes on with it, which saves a switch
		r.pin()
	}
	r.in.Packets = make([]port.Inbound, batchPackets)
	out := worker.Outgoing{Control: make([]bus.Control, 0, batchMessages), Media: make([]bus.Media, 0, batchMessages)}
	now := r.engine.now()
	r.transmit(now, &out)            // lends the first frames
	busy := now                      // when there was something to do
	media, mediaAt := uint64(0), now // packets in and out, and when there were more
	published := now
	for {
		stopping := r.stop.Load() // before the bus, which has all messages that were sent before the stop
		now = r.engine.now()
		if stopping && r.stopped == 0 {
			r.stopped = now
		}
		worked := r.takeIn(now)
		more, polled := false, out.Free() > 0
		if polled {
			more = r.poll(now, &out)
			r.deliver(&out)
		}
		if n := r.media(); n != media {
			media, mediaAt = n, now
		}
		if worked || more || out.Filled > 0 {
			busy = now
		}
		r.transmit(now, &out)

		if now-published >= publishInterval {
			r.publish()
			published = now
		}
		switch {
		case stopping && !more && !worked && r.farewell(now, polled):
			r.publish()
			return
		case more || r.busyPoll && !stopping:
			continue
		}
		until := min(r.worker.Deadline(), now+beatInterval)
		if published <= busy {
			until = min(until, published+publishInterval)
		}
		if stopping {
			until = min(until, now+port.StaleAfter) // for the port, not for long
		}
		r.sleep(until, now-mediaAt > silentAfter)
	}
}

// takeIn receives a batch, takes in messages, handles a due deadline, and handles the batch. It reports whether there
// was anything to do.
//
// The packets wait, for some turns if need be, until all messages of the controller are taken in. So a session that was
// announced before its HTTP answer is known when its first check is handled.
func (r *runner) takeIn(now port.Time) (worked bool) {
	if r.received == 0 {
		r.received = r.port.Receive(now, &r.in)
	}
	r.beat.Store(int64(now))
	r.turns++
	worked = r.received > 0
	worked = r.listen(now) || worked
	if !r.bus.Lags() {
		for i := range r.received {
			if i%worker.Foreseen == 0 {
				r.worker.Foresee(r.in.Packets[i:r.received])
			}
			r.handlePacket(now, &r.in.Packets[i])
		}
		r.received = 0
	}
	if r.worker.Deadline() <= now {
		r.handleTimeout(now)
		worked = true
	}
	return worked
}

// listen takes in a bounded number of messages and reports whether there were any.
func (r *runner) listen(now port.Time) (heard bool) {
	for range controlTurn {
		m := r.bus.NextControl()
		if m == nil {
			break
		}
		r.handleControl(now, m)
		r.bus.ControlDone()
		heard = true
	}
	for range mediaTurn {
		m := r.bus.NextMedia()
		if m == nil {
			break
		}
		r.handleMedia(now, m)
		r.bus.MediaDone()
		heard = true
	}
	return heard
}

// transmit hands a batch to the port.
func (r *runner) transmit(now port.Time, out *worker.Outgoing) {
	r.submitted += uint64(out.Filled)
	r.port.Transmit(now, &out.Outgoing)
}

// farewell reports whether a runner that is to stop may end. It may once the worker has no more to send and the port
// keeps no frame, and in any case after farewellSpan. A worker that was not polled, because the
// port lent no frame, may have more to send.
func (r *runner) farewell(now port.Time, polled bool) bool {
	s := r.port.Stats()
	done := s[port.Sent] + s[port.Stale] + s[port.Rejected] + s[port.Unroutable]
	return polled && done >= r.submitted || now-r.stopped >= farewellSpan
}

// pin keeps the thread on the core that the configuration names for it.
func (r *runner) pin() {
	if r.cpu < 0 {
		return
	}
	if err := pinThread(r.cpu); err != nil {
		r.engine.log.Warn("worker not pinned", "worker", r.index, "cpu", r.cpu, "error", err)
	}
}

// These five keep a panic that one peer's packet causes from ending anything but that peer's session.
func (r *runner) handleControl(now port.Time, m *bus.Control) {
	defer r.recover()
	r.worker.HandleControl(now, m)
}

func (r *runner) handleMedia(now port.Time, m *bus.Media) {
	defer r.recover()
	r.worker.HandleMedia(now, m)
}

func (r *runner) handlePacket(now port.Time, in *port.Inbound) {
	defer r.recover()
	r.worker.HandlePacket(now, in)
}

func (r *runner) handleTimeout(now port.Time) {
	defer r.recover()
	r.worker.HandleTimeout(now)
}

func (r *runner) poll(now port.Time, out *worker.Outgoing) (more bool) {
	more = true // also after a panic
	defer r.recover()
	return r.worker.Poll(now, out)
}

// recover gives up the session that made the worker panic. A panic that is nobody's goes on.
func (r *runner) recover() {
	cause := recover()
	if cause == nil {
		return
	}
	id, ok := r.worker.Abandon()
	if !ok {
		panic(cause)
	}
	r.shared.faults.Add(1)
	r.engine.log.Error("a session made its worker panic and is ended",
		"session", uint64(id), "worker", r.index, "error", cause, "stack", string(debug.Stack()))
}

// media is how many packets of media came and went so far.
func (r *runner) media() uint64 {
	c := r.worker.Counters()
	return c.Counts[worker.ReceivedRTP] + c.Counts[worker.SentRTP]
}

// deliver passes the worker's messages on and wakes who sleeps.
func (r *runner) deliver(out *worker.Outgoing) {
	for i := range out.Control {
		m := &out.Control[i]
		r.sent(m.To, r.bus.SendControl(m))
	}
	for i := range out.Media {
		m := &out.Media[i]
		r.sent(m.To, r.bus.SendMedia(m))
	}
	clear(out.Control)
	clear(out.Media)
	out.Control, out.Media = out.Control[:0], out.Media[:0]
}

// sent wakes the receiver of a message, or counts a message that found no room.
func (r *runner) sent(to bus.Address, found bool) {
	if found {
		r.engine.wake(to)
	} else {
		r.shared.lost.Add(1)
	}
}

// sleep waits for the port, a message or the deadline. No message is missed, because of the order on either side: set
// sleeping, then look at the bus; send, then look at sleeping.
func (r *runner) sleep(until port.Time, silent bool) {
	r.sleeping.Store(true)
	if r.bus.Empty() && r.stop.Load() == (r.stopped != 0) {
		if silent {
			r.port.Rest(until)
		} else {
			r.port.Wait(until)
		}
	}
	r.sleeping.Store(false)
}

// wakeUp ends a sleep, if there is one.
func (r *runner) wakeUp() {
	if r.sleeping.Load() {
		r.port.Wake()
	}
}
