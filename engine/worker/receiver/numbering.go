package receiver

// maxShifts bounds the shifts that late packets are numbered around.
const maxShifts = 16

// A numbering gives packets their numbers.
type numbering struct {
	// offset is a packet's number minus its extended sequence number, before all shifts and modulo 2^64. Before the
	// start it is the next number.
	offset uint64
	// shifts are the latest ones, by their place in the order in which they came, modulo maxShifts.
	shifts [maxShifts]shift
	count  int // of all shifts
}

// A shift changes the numbers of packets from an extended sequence number on.
type shift struct {
	from uint64
	by   int64 // with all shifts before it
}

// start gives the next number to the extended sequence number base.
func (x *numbering) start(base uint64) { x.offset -= base }

// skip leaves ext, the highest so far, out.
func (x *numbering) skip(ext uint64) {
	if n := x.count; n > 0 && x.shifts[(n-1)%maxShifts].from == ext {
		x.shifts[(n-1)%maxShifts].from++ // consecutive ones are one shift
	}
	x.shift(ext+1, -1)
}

// shift changes the numbers from an extended sequence number on, of which none was given away yet.
func (x *numbering) shift(from uint64, by int64) {
	if n := x.count; n > 0 {
		last := &x.shifts[(n-1)%maxShifts]
		if last.from == from {
			last.by += by
			return
		}
		by += last.by
	}
	x.shifts[x.count%maxShifts] = shift{from, by}
	x.count++
}

// number is the number of ext; ok is false when the shifts around it are forgotten.
func (x *numbering) number(ext uint64) (number uint64, ok bool) {
	by := int64(0)
	for i := x.count - 1; i >= 0; i-- {
		if i <= x.count-1-maxShifts {
			return 0, false
		}
		if s := &x.shifts[i%maxShifts]; s.from <= ext {
			by = s.by
			break
		}
	}
	return x.offset + ext + uint64(by), true
}
