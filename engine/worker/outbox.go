package worker

import (
	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
)

// maxStrays bounds the datagrams for other workers between two polls.
const maxStrays = 64

// An outbox holds messages for the bus until Poll passes them on.
type outbox struct {
	control []bus.Control
	// strays are datagrams for other workers. The memory of their bytes is used again.
	strays []bus.Media
}

func newOutbox() outbox { return outbox{strays: make([]bus.Media, 0, maxStrays)} }

// stray adds a copy of a datagram for the worker that owns its session; false where there is no room.
func (o *outbox) stray(owner bus.Address, id api.SessionID, in *port.Inbound) bool {
	n := len(o.strays)
	if n == cap(o.strays) {
		return false
	}
	o.strays = o.strays[:n+1]
	data := append(o.strays[n].Data[:0], in.Data...)
	o.strays[n] = bus.DatagramTo(owner, id, in)
	o.strays[n].Data = data
	return true
}

// pollControl emits control messages; false when there are more than fit.
func (o *outbox) pollControl(out *Outgoing) bool {
	n := min(len(o.control), out.room())
	out.Control = append(out.Control, o.control[:n]...)
	o.control = without(o.control, n)
	return len(o.control) == 0
}

// pollStrays emits datagrams for other workers, and returns the number of those that do not fit. They are lost, because
// the lane may lose them and their memory is needed again.
func (o *outbox) pollStrays(out *Outgoing) (lost int) {
	n := min(len(o.strays), out.room())
	out.Media = append(out.Media, o.strays[:n]...)
	lost = len(o.strays) - n
	o.strays = o.strays[:0]
	return lost
}

// send adds a control message for the next Poll.
func (w *Worker) send(m bus.Control) { w.outbox.control = append(w.outbox.control, m) }

// without removes the first n elements of a slice, and keeps nothing of them alive.
func without[T any](s []T, n int) []T {
	rest := copy(s, s[n:])
	clear(s[rest:])
	return s[:rest]
}
