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
	// silentAfter is how long there must have been no media for a runner to be in no hurry.
	silentAfter = port.Second
	// publishInterval is how old the counts that others see may be.
	publishInterval = 200 * port.Millisecond
	// flushInterval is how soon control messages without room are tried again.
	flushInterval = port.Millisecond
	// A runner that has not completed a turn for stuckSpan is stuck; asleep it turns over once in
	// beatInterval.
	beatInterval = port.Second
	stuckSpan    = 4 * port.Second

	batchPackets  = 64
	batchMessages = 256
)

// A runner is the thread of one worker: the only place where the clock, the port, the bus and the
// sans-I/O core meet.
type runner struct {
	engine *Engine
	index  int
	cpu    int // that the thread is kept on, or -1
	worker *worker.Worker
	port   port.Port
	bus    *bus.Endpoint

	// sleeping is set while the runner waits, or is about to: whoever sends it a message then
	// wakes it.
	sleeping atomic.Bool
	stop     atomic.Bool
	beat     atomic.Int64 // start of the last turn, in port.Time
	shared   shared
}

// run is the loop. Each turn receives a batch, then drains the bus (so that a session announced
// before its HTTP answer is known when its first check arrives), handles the packets, polls one
// bounded batch and transmits it. One batch a turn keeps a large fan-out from starving reception.
func (r *runner) run() {
	runtime.LockOSThread()
	r.pin()
	in := port.Batch{Packets: make([]port.Inbound, batchPackets)}
	out := worker.Outgoing{Messages: make([]bus.Message, 0, batchMessages)}
	now := r.engine.now()
	r.port.Transmit(now, &out.Outgoing) // lends the first frames
	busy := now                         // when there was something to do
	media, mediaAt := uint64(0), now    // packets in and out, and when there were more
	published := now
	for {
		stopping := r.stop.Load() // before the bus: what was sent before the stop is in it
		now = r.engine.now()
		n := r.port.Receive(now, &in)
		r.beat.Store(int64(now))
		worked := n > 0
		for m := r.bus.Next(); m != nil; m = r.bus.Next() {
			r.handleMessage(now, m)
			r.bus.Done()
			worked = true
		}
		for i := range n {
			r.handlePacket(now, &in.Packets[i])
		}
		if r.worker.Deadline() <= now {
			r.handleTimeout(now)
			worked = true
		}
		more := false
		if out.Free() > 0 {
			more = r.poll(now, &out)
			r.deliver(&out)
		}
		if n := r.media(); n != media {
			media, mediaAt = n, now
		}
		if worked || more || out.Filled > 0 {
			busy = now
		}
		r.port.Transmit(now, &out.Outgoing)
		flushed := r.bus.Flush(r.engine.wake)

		if now-published >= publishInterval {
			r.publish()
			published = now
		}
		switch {
		case stopping && !more && flushed && !worked:
			r.publish()
			return
		case more || r.engine.busyPoll && !stopping:
			continue
		}
		until := min(r.worker.Deadline(), now+beatInterval)
		if published <= busy {
			until = min(until, published+publishInterval)
		}
		if !flushed {
			until = min(until, now+flushInterval)
		}
		r.sleep(until, now-mediaAt > silentAfter)
	}
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

// These four keep a panic that one peer's packet causes from ending anything but that peer's session.
func (r *runner) handleMessage(now port.Time, m *bus.Message) {
	defer r.recover()
	r.worker.HandleMessage(now, m)
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
	r.engine.log.Error("a session made its worker panic and is ended", "session", uint64(id), "panic", cause, "stack", string(debug.Stack()))
}

// media is how many packets of media came and went so far.
func (r *runner) media() uint64 {
	c := r.worker.Counters()
	return c.Counts[worker.ReceivedRTP] + c.Counts[worker.SentRTP]
}

// deliver passes the worker's messages on and wakes who sleeps.
func (r *runner) deliver(out *worker.Outgoing) {
	for i := range out.Messages {
		m := &out.Messages[i]
		if !r.bus.Send(m) {
			r.shared.lost.Add(1)
			continue
		}
		r.engine.wake(m.To)
	}
	clear(out.Messages)
	out.Messages = out.Messages[:0]
}

// sleep waits for the port, a message or the deadline. The order of the two atomics on either side
// (set sleeping, look at the bus; send, look at sleeping) makes sure that no message is missed.
func (r *runner) sleep(until port.Time, silent bool) {
	r.sleeping.Store(true)
	if r.bus.Empty() && !r.stop.Load() {
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
