package worker

import (
	"ringcast/engine/bus"
	"ringcast/engine/port"
)

// Outgoing is a batch that Poll fills: frames and route changes for the port, messages for the bus.
type Outgoing struct {
	port.Outgoing
	// Control and Media have one capacity, which both together do not exceed. The Data of Media is borrowed until the
	// worker is called again.
	Control []bus.Control
	Media   []bus.Media
}

// room is how many more messages fit.
func (o *Outgoing) room() int { return cap(o.Media) - len(o.Media) - len(o.Control) }

// Poll fills out with frames and messages to send, and reports whether there are more. The driver carries
// out Routes, passes Control and Media on and transmits the frames before it calls the worker again.
func (w *Worker) Poll(now port.Time, out *Outgoing) (more bool) {
	w.current = nil
	out.Routes = w.routes.poll(out.Routes)
	if more = !w.outbox.pollControl(out); !more { // else the strays wait for the next batch, too
		w.counters.Drops[DropStrays] += uint64(w.outbox.pollStrays(out))
	}
	replied, recorded := w.pollReplies(now, out), w.pollChecks(now, out) && w.pollRecords(now, out)
	if !replied || !recorded || !w.pollReports(now, out) || !w.pollStreams(now, out) {
		return true
	}
	// The walk itself may have made requests: a keyframe for a joiner, packets that a feed lost.
	return more || len(w.due) > 0 || len(w.outbox.control) > 0
}
