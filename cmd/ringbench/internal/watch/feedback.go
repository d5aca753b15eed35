package watch

import (
	"encoding/binary"
	"math"
)

const (
	// An arrival's time is reported in steps of 250 µs, from a reference in steps of 64 ms
	// (draft-holmer-rmcat-transport-wide-cc-extensions-01 section 3.1).
	deltaStep     = 250_000
	stepsPerEpoch = 256
	// maxStatuses bounds the packets of one feedback: a second at 40 Mbit/s.
	maxStatuses = 4096

	notReceived, smallDelta, largeDelta = 0, 1, 2
	maxRun                              = 1<<13 - 1
	vectorSymbols                       = 7

	feedbackFormat, feedbackType = 15, 205
)

// arrival is a packet by its transport-wide number.
type arrival struct {
	seq uint16
	at  int64 // ns
}

// feedback gathers a viewer's arrivals until they are reported.
type feedback struct {
	arrivals []arrival
	base     uint16 // the next number to report
	started  bool
	count    uint8 // of feedbacks
}

// note takes in an arrival. A packet that was reported as lost stays lost.
func (f *feedback) note(seq uint16, at int64) {
	if !f.started {
		f.started, f.base = true, seq
	}
	if int16(seq-f.base) < 0 || len(f.arrivals) == maxStatuses {
		return
	}
	i := len(f.arrivals)
	f.arrivals = append(f.arrivals, arrival{seq, at})
	for ; i > 0 && int16(seq-f.arrivals[i-1].seq) < 0; i-- { // seldom
		f.arrivals[i] = f.arrivals[i-1]
	}
	f.arrivals[i] = arrival{seq, at}
}

// spread takes in n packets that end with last, as if they had arrived evenly between two times.
func (f *feedback) spread(last uint16, n int, from, to int64) {
	n = min(n, maxStatuses)
	for i := range n {
		f.note(last-uint16(n-1-i), from+(to-from)*int64(i+1)/int64(n))
	}
}

// appendFeedback appends the feedback on all arrivals since the last one (section 3.1), and forgets them. Without
// arrivals it appends nothing.
func (f *feedback) appendFeedback(dst []byte, sender, media uint32) []byte {
	a := f.arrivals
	if len(a) == 0 {
		return dst
	}
	n := int(a[len(a)-1].seq-f.base) + 1
	if n > maxStatuses { // the numbers leapt
		f.base = a[0].seq
		n = min(int(a[len(a)-1].seq-f.base)+1, maxStatuses)
	}
	reference := a[0].at / deltaStep / stepsPerEpoch
	start := len(dst)
	dst = append(dst, 2<<6|feedbackFormat, feedbackType, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, sender)
	dst = binary.BigEndian.AppendUint32(dst, media)
	dst = binary.BigEndian.AppendUint16(dst, f.base)
	dst = binary.BigEndian.AppendUint16(dst, uint16(n))
	dst = binary.BigEndian.AppendUint32(dst, uint32(reference&0xFFFFFF)<<8|uint32(f.count))
	dst = f.appendChunks(dst, n, reference*stepsPerEpoch)
	dst = f.appendDeltas(dst, n, reference*stepsPerEpoch)
	for (len(dst)-start)%4 != 0 {
		dst = append(dst, 0)
	}
	binary.BigEndian.PutUint16(dst[start+2:], uint16((len(dst)-start)/4-1))
	f.base += uint16(n)
	f.count++
	f.arrivals = a[:0]
	return dst
}

// symbols yields the status of each number in turn, and the delta to the number before.
func (f *feedback) symbols(n int, last int64, yield func(symbol int, delta int64)) {
	next := 0
	for i := range n {
		seq := f.base + uint16(i)
		if next == len(f.arrivals) || f.arrivals[next].seq != seq {
			yield(notReceived, 0)
			continue
		}
		steps := f.arrivals[next].at / deltaStep
		for next < len(f.arrivals) && f.arrivals[next].seq == seq { // duplicates
			next++
		}
		delta := steps - last
		if delta >= 0 && delta <= math.MaxUint8 {
			yield(smallDelta, delta)
		} else {
			delta = min(max(delta, math.MinInt16), math.MaxInt16)
			yield(largeDelta, delta)
		}
		last += delta
	}
}

func (f *feedback) appendChunks(dst []byte, n int, reference int64) []byte {
	run, symbol := 0, notReceived // equal symbols that are not written yet
	var vector uint16             // symbols of a vector chunk that is not full yet
	filled := 0
	put := func(s int) {
		vector |= uint16(s) << (2 * (vectorSymbols - 1 - filled))
		if filled++; filled == vectorSymbols {
			dst = binary.BigEndian.AppendUint16(dst, 3<<14|vector)
			vector, filled = 0, 0
		}
	}
	flush := func() {
		for ; run > 0 && filled > 0; run-- {
			put(symbol)
		}
		if run >= vectorSymbols {
			dst = binary.BigEndian.AppendUint16(dst, uint16(symbol)<<13|uint16(run))
			run = 0
		}
		for ; run > 0; run-- {
			put(symbol)
		}
	}
	f.symbols(n, reference, func(s int, _ int64) {
		if run > 0 && (s != symbol || run == maxRun) {
			flush()
		}
		run, symbol = run+1, s
	})
	flush()
	if filled > 0 {
		dst = binary.BigEndian.AppendUint16(dst, 3<<14|vector)
	}
	return dst
}

func (f *feedback) appendDeltas(dst []byte, n int, reference int64) []byte {
	f.symbols(n, reference, func(s int, delta int64) {
		switch s {
		case smallDelta:
			dst = append(dst, byte(delta))
		case largeDelta:
			dst = binary.BigEndian.AppendUint16(dst, uint16(int16(delta)))
		}
	})
	return dst
}
