package xsk

import (
	"math"

	"ringcast/engine/port"
	"ringcast/xsk/frame"
)

const (
	// noRoute marks a kept frame whose route was revoked: no route table reaches it.
	noRoute port.Route = math.MaxUint32
	// noChunk marks an entry of the lender's array that has no memory.
	noChunk uint32 = math.MaxUint32
)

// chunk is what is known of a frame and its memory once it was offered to a queue.
type chunk struct {
	sender  uint8 // which queue it was offered to
	queued  bool  // the frame is on the TX ring, or has not been marked as taken yet
	offered bool  // the memory is on the TX ring or further, until it completes or is taken back
	lost    bool  // the device dropped the frame
}

// lender owns the frames to send. Their memory is chunks, of the UMEM or (while there is none) of ordinary
// memory; a frame's Handle is its chunk's number. The frames lie in one array: the kept ones first, in
// order, then those lent to the worker, which fills them from the front, then entries without memory. So
// kept and filled frames are always one row. Every chunk is in that array, on the free stack, or with
// the kernel.
type lender struct {
	frames []port.Frame
	kept   int
	lent   int

	memory []byte
	stride int
	chunks []chunk
	free   []uint32 // a stack: memory that was used last is still in the cache
}

func newLender(frames int) lender {
	l := lender{frames: make([]port.Frame, frames)}
	for i := range l.frames {
		l.frames[i].Handle = noChunk
	}
	return l
}

// use makes the first n chunks of memory the lender's, and all others forgotten. Nothing may be kept.
func (l *lender) use(memory []byte, stride, n int) {
	l.memory, l.stride = memory, stride
	l.chunks = make([]chunk, n)
	l.free = make([]uint32, n)
	for i := range l.free {
		l.free[i] = uint32(n - 1 - i)
	}
	for i := range l.frames {
		l.frames[i] = port.Frame{Handle: noChunk}
	}
	l.kept, l.lent = 0, 0
}

// useHeap is use with ordinary memory.
func (l *lender) useHeap() {
	const stride = frame.Headroom + port.FrameSize
	l.use(make([]byte, len(l.frames)*stride), stride, len(l.frames))
}

// room is a chunk's memory: headroom and payload.
func (l *lender) room(chunk uint32) []byte {
	at := int(chunk) * l.stride
	return l.memory[at : at+frame.Headroom+port.FrameSize : at+frame.Headroom+port.FrameSize]
}

// queue is everything to be sent: what was kept and what the worker filled.
func (l *lender) queue(out *port.Outgoing) []port.Frame {
	if out.Filled > 0 && (out.Filled > l.lent || &out.Frames[0] != &l.frames[l.kept]) {
		panic("xsk: Transmit of frames that this port did not lend last")
	}
	return l.frames[:l.kept+out.Filled]
}

// drop frees the memory of a frame that is done with.
func (l *lender) drop(f *port.Frame) {
	l.free = append(l.free, f.Handle)
	f.Handle = noChunk
}

// settle closes the gaps that frames left in the queue whose memory is elsewhere now, and lends
// memory wherever there is some.
func (l *lender) settle(out *port.Outgoing, queue []port.Frame) {
	end := l.kept + l.lent
	l.kept = 0
	for i := range queue {
		if queue[i].Handle != noChunk {
			if i != l.kept {
				queue[l.kept], queue[i] = queue[i], queue[l.kept]
			}
			l.kept++
		}
	}
	gap := l.kept
	for ; gap < len(queue) && len(l.free) > 0; gap++ {
		l.lend(&l.frames[gap])
	}
	for ; gap < len(queue) && end > len(queue); gap++ {
		end--
		l.frames[gap], l.frames[end] = l.frames[end], l.frames[gap]
	}
	if gap < len(queue) {
		end = gap
	}
	for ; end < len(l.frames) && len(l.free) > 0; end++ {
		l.lend(&l.frames[end])
	}
	l.lent = end - l.kept
	out.Frames = l.frames[l.kept:end]
	out.Filled = 0
	out.Routes = out.Routes[:0]
}

// lend gives an entry the memory that was freed last.
func (l *lender) lend(f *port.Frame) {
	f.Handle = l.free[len(l.free)-1]
	l.free = l.free[:len(l.free)-1]
	f.Data = l.room(f.Handle)[frame.Headroom:frame.Headroom]
}
