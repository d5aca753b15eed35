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

// A chunkState is where a TX chunk is in its life. Package comment, "The life of a TX chunk", has the transitions.
type chunkState uint8

const (
	// chunkOurs: on the free stack, or the memory of a frame that is lent, filled or kept, and on no ring.
	chunkOurs chunkState = iota
	// chunkOffered: its descriptor is on the TX ring, and its frame is kept. The kernel may have consumed the
	// descriptor since the frames were counted last.
	chunkOffered
	// chunkInFlight: the kernel consumed the descriptor. The frame is counted, and has left the lender's array.
	chunkInFlight
	// chunkReturned: the kernel is done with it, before its frame was counted.
	chunkReturned
)

// A chunk is the lender's knowledge of one TX chunk.
type chunk struct {
	state   chunkState
	sender  uint8 // that it was offered to
	dropped bool  // the device dropped its frame
}

// withKernel reports whether the kernel may use the memory.
func (c *chunk) withKernel() bool { return c.state == chunkOffered || c.state == chunkInFlight }

// uncounted reports whether the chunk was offered, and its frame is not counted yet.
func (c *chunk) uncounted() bool { return c.state == chunkOffered || c.state == chunkReturned }

// lender owns the frames to send. Their memory is chunks, of the UMEM or (while there is none) of ordinary memory; a
// frame's Handle is its chunk's number. The frames lie in one array. The kept ones come first, in order, then those
// lent to the worker, which fills them from the front, then entries without memory. So the pending frames, kept and
// filled, are always one row. Every chunk is in that array, on the free stack, or with the kernel.
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

// use gives the lender the first n chunks of memory, in place of those that it had. No frame may be kept.
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

// useHeap gives the lender ordinary memory.
func (l *lender) useHeap() {
	const stride = frame.Headroom + port.FrameSize
	l.use(make([]byte, len(l.frames)*stride), stride, len(l.frames))
}

// room is a chunk's memory: headroom and payload.
func (l *lender) room(chunk uint32) []byte {
	at := int(chunk) * l.stride
	return l.memory[at : at+frame.Headroom+port.FrameSize : at+frame.Headroom+port.FrameSize]
}

// pending is all frames to send: the kept ones, then those that the worker filled.
func (l *lender) pending(out *port.Outgoing) []port.Frame {
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

// settle keeps the pending frames that still have memory, closes the gaps between them, and lends free memory.
func (l *lender) settle(out *port.Outgoing, pending []port.Frame) {
	end := l.kept + l.lent
	l.kept = 0
	for i := range pending {
		if pending[i].Handle != noChunk {
			if i != l.kept {
				pending[l.kept], pending[i] = pending[i], pending[l.kept]
			}
			l.kept++
		}
	}
	gap := l.kept
	for ; gap < len(pending) && len(l.free) > 0; gap++ {
		l.lend(&l.frames[gap])
	}
	for ; gap < len(pending) && end > len(pending); gap++ {
		end--
		l.frames[gap], l.frames[end] = l.frames[end], l.frames[gap]
	}
	if gap < len(pending) {
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
