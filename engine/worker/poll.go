package worker

import (
	"ringcast/engine/bus"
	"ringcast/engine/port"
)

// The queues between two polls are bounded by these.
const (
	maxReplies = 1024
	maxDTLSOut = 1024
)

// A reply is an answer to a check that is still to be written.
type reply struct {
	session  *session
	route    port.Route
	remote   port.Path
	id       [12]byte
	code     int // 0 for success
	unknown  [4]uint16
	nUnknown int
	password string
}

// A record is a datagram of the controller's to be sent. It is worth nothing from until on, and its route may
// then lead elsewhere.
type record struct {
	route port.Route
	until port.Time
	data  []byte
}

// GoodbyeSpan is how long a session's goodbye may wait for the port: nothing is sent again after it.
const GoodbyeSpan = port.Second

// Outgoing is what one Poll fills: frames and route changes for the port, messages for the bus.
type Outgoing struct {
	port.Outgoing
	// Control and Media have one capacity, which both together do not exceed. The Data of Media is borrowed until the
	// worker is called again.
	Control []bus.Control
	Media   []bus.Media
}

// room is how many more messages fit.
func (o *Outgoing) room() int { return cap(o.Media) - len(o.Media) - len(o.Control) }

// Poll fills out with what is to be sent next and reports whether there is more. The driver carries
// out Routes, passes Control and Media on and transmits the frames before it calls the worker again.
func (w *Worker) Poll(now port.Time, out *Outgoing) (more bool) {
	w.current = nil
	out.Routes = append(out.Routes, w.routes...)
	w.routes = w.routes[:0]
	more = !w.pollControl(out)
	w.pollStrays(out)
	if !w.pollReplies(now, out) || !w.pollReports(now, out) || !w.pollStreams(now, out) {
		return true
	}
	// The walk itself may have made wishes: a keyframe for a joiner, packets that a feed lost.
	return more || len(w.due) > 0 || len(w.outbox) > 0
}

// pollControl emits control messages; false when there are more than fit.
func (w *Worker) pollControl(out *Outgoing) bool {
	n := min(len(w.outbox), out.room())
	out.Control = append(out.Control, w.outbox[:n]...)
	rest := copy(w.outbox, w.outbox[n:])
	clear(w.outbox[rest:])
	w.outbox = w.outbox[:rest]
	return rest == 0
}

// pollStrays emits datagrams for other workers. Those that do not fit are lost: the lane is lossy, and the memory is
// needed again.
func (w *Worker) pollStrays(out *Outgoing) {
	n := min(len(w.strays), out.room())
	out.Media = append(out.Media, w.strays[:n]...)
	w.counters.Drops[DropStrays] += uint64(len(w.strays) - n)
	w.strays = w.strays[:0]
}

// pollReplies writes answers to checks and the controller's DTLS.
func (w *Worker) pollReplies(now port.Time, out *Outgoing) bool {
	n := 0
	for ; n < len(w.replies); n++ {
		f := out.Reserve()
		if f == nil {
			break
		}
		r := &w.replies[n]
		w.current = r.session
		if r.session.ending || r.session.spec == nil {
			continue
		}
		if r.code == 0 {
			f.Data = w.hasher.AppendSuccess(f.Data, &r.id, r.remote.Remote, r.password)
		} else {
			f.Data = w.hasher.AppendError(f.Data, &r.id, r.code, r.unknown[:r.nUnknown], r.password)
		}
		f.Route, f.Born = r.route, now
		out.Submit()
	}
	rest := copy(w.replies, w.replies[n:])
	clear(w.replies[rest:])
	w.replies = w.replies[:rest]

	w.current = nil
	n = 0
	for ; n < len(w.records); n++ {
		r := &w.records[n]
		if now >= r.until {
			w.drop(DropReplies)
			continue
		}
		f := out.Reserve()
		if f == nil {
			break
		}
		f.Data = append(f.Data, r.data...)
		f.Route, f.Born = r.route, r.until-port.StaleAfter
		out.Submit()
	}
	rest = copy(w.records, w.records[n:])
	clear(w.records[rest:])
	w.records = w.records[:rest]
	return len(w.replies) == 0 && len(w.records) == 0
}

// send queues a control message for the next Poll.
func (w *Worker) send(m bus.Control) { w.outbox = append(w.outbox, m) }
