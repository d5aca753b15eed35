package udp

import (
	"math"

	"ringcast/engine/port"
)

// noRoute marks a kept frame whose route was revoked: no route table reaches it.
const noRoute port.Route = math.MaxUint32

// lender owns a port's frames. They lie in one array: the kept ones first, in order, then those lent to
// the worker, which fills them from the front. So the pending frames, kept and filled, are always one row.
type lender struct {
	frames []port.Frame
	memory []byte // FrameSize bytes per frame, by Handle
	kept   int
}

func newLender(n int) lender {
	l := lender{frames: make([]port.Frame, n), memory: make([]byte, n*port.FrameSize)}
	for i := range l.frames {
		l.frames[i].Handle = uint32(i)
		l.restore(&l.frames[i])
	}
	return l
}

// restore points a frame's Data at its memory again, which the worker may have resliced.
func (l *lender) restore(f *port.Frame) {
	at := int(f.Handle) * port.FrameSize
	f.Data = l.memory[at : at : at+port.FrameSize]
}

// pending is all frames to send: the kept ones, then those that the worker filled.
func (l *lender) pending(out *port.Outgoing) []port.Frame {
	if out.Filled > 0 && &out.Frames[0] != &l.frames[l.kept] {
		panic("udp: Transmit of frames that this port did not lend last")
	}
	return l.frames[:l.kept+out.Filled]
}

// settle keeps pending[done:] and lends all other frames.
func (l *lender) settle(out *port.Outgoing, pending []port.Frame, done int) {
	kept := len(pending) - done
	if done > 0 {
		for i := range kept {
			pending[i], pending[done+i] = pending[done+i], pending[i]
		}
	}
	l.lend(out, pending, kept)
}

// lend keeps pending[:kept] and lends all other frames.
func (l *lender) lend(out *port.Outgoing, pending []port.Frame, kept int) {
	for i := range pending[kept:] {
		l.restore(&pending[kept+i])
	}
	l.kept = kept
	out.Frames = l.frames[kept:]
	out.Filled = 0
	out.Routes = out.Routes[:0]
}

// revoke makes the kept frames of a route unroutable, so that they do not leave on a path that the route gets later.
func (l *lender) revoke(r port.Route) {
	for i := range l.frames[:l.kept] {
		if l.frames[i].Route == r {
			l.frames[i].Route = noRoute
		}
	}
}

// stale reports whether the i-th pending frame was kept for too long.
func (l *lender) stale(now port.Time, pending []port.Frame, i int) bool {
	return i < l.kept && now-pending[i].Born > port.StaleAfter
}
