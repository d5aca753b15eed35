package sim

import (
	"encoding/binary"
	"math"

	"ringcast/engine/port"
	"ringcast/engine/rtcp"
)

// A Lie is a way to abuse feedback.
type Lie uint8

const (
	// LieNumbers reports on numbers that were never sent.
	LieNumbers Lie = iota
	// LieTimes reports on packets that came, at times that jump back and forth.
	LieTimes
	// LieFlood reports a thousand times a second.
	LieFlood
	// LieBytes sends feedback whose body is chance.
	LieBytes
	// LieNone and LieAll estimate 0 and 10 Tbit/s.
	LieNone
	LieAll
	// LieNACKs asks for everything again and again.
	LieNACKs
	// LiePLIs asks for keyframes a hundred times a second.
	LiePLIs
	lies
)

var lieNames = [lies]string{"numbers", "times", "flood", "bytes", "no rate", "10 Tbit/s", "NACKs", "PLIs"}

func (l Lie) String() string { return lieNames[l] }

const lieInterval = 10 * port.Millisecond

// Lie makes a viewer with manners lie from now on, beside what it sends truly.
func (s *Subscriber) Lie(l Lie) {
	b := s.Browser
	b.every(lieInterval, func() {
		if b.s.connected > 0 {
			b.lie(l)
		}
	})
}

// lie sends one round of lies.
func (b *Browser) lie(l Lie) {
	r := b.s.rand
	media := b.s.Video.spec.SSRC
	fresh := func() []byte { return make([]byte, 0, 1400) }
	switch l {
	case LieNumbers, LieTimes:
		var a rtcp.Arrivals
		first, at := uint16(r.Uint32()), int64(b.now())
		if l == LieTimes {
			first = b.newest - 20
		}
		for i := range uint16(20) {
			if r.IntN(4) > 0 {
				a.Note(first+i, at)
			}
			at += r.Int64N(int64(8*port.Second)) - int64(4*port.Second)
		}
		packet, _ := a.AppendFeedback(fresh(), feedbackRoom, 1, media)
		if len(packet) > 0 {
			b.send(packet)
		}
	case LieFlood:
		for i := range uint16(10) {
			var a rtcp.Arrivals
			a.Note(b.newest-i, int64(b.now()))
			packet, _ := a.AppendFeedback(fresh(), feedbackRoom, 1, media)
			b.send(packet)
		}
	case LieBytes:
		const words = 40
		packet := binary.BigEndian.AppendUint16([]byte{0x8F, 205}, words+2)
		packet = binary.BigEndian.AppendUint32(append(packet, 0, 0, 0, 1), media)
		for range words {
			packet = binary.BigEndian.AppendUint32(packet, r.Uint32())
		}
		b.send(append(fresh(), packet...))
	case LieNone, LieAll:
		rate := uint64(0)
		if l == LieAll {
			rate = 10e12
		}
		b.send(appendREMB(rtcp.AppendReceiverReport(fresh(), 1, nil), rate, media))
	case LieNACKs:
		var seqs []uint16
		for e := max(b.r.High, 200) - 200; e <= b.r.High; e++ {
			seqs = append(seqs, uint16(e))
		}
		b.s.AskAgain(seqs)
	case LiePLIs:
		b.send(rtcp.AppendPLI(fresh(), 1, media))
		b.send(rtcp.AppendFIR(fresh(), 1, media, uint8(r.Uint32N(math.MaxUint8))))
	}
}
