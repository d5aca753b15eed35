package worker

import (
	"encoding/binary"

	"ringcast/engine/bus"
	"ringcast/engine/rtp"
	"ringcast/engine/worker/history"
)

const (
	// maxMID is the longest media line tag that is sent, in bytes.
	maxMID = 32
	// maxExtensions bounds the forwarded extensions of one packet, in bytes as stored.
	maxExtensions = 64
	// numberLen is the room of a transport-wide sequence number among a header's extensions, in bytes.
	numberLen = 4
	// maxHeader bounds an outgoing RTP header, in bytes: all but the number is padded to a multiple of four.
	maxHeader = (rtp.HeaderLen+4+2+maxMID+maxExtensions+3)/4*4 + numberLen
	// maxTag is the longest tag that sealing adds, in bytes.
	maxTag = 16
	// templates is how many packets' headers a shape with many subscribers holds at once, a power of two. One
	// subscriber after another is sent all of a burst, so templates should cover a burst. A shape with few
	// subscribers holds templatesPerUser for each, and one with a single subscriber none: it needs each header once.
	templates        = 64
	templatesPerUser = 8
	// maxShapes bounds the shapes of one stream that subscribers share. All others have a shape to themselves, which
	// holds no headers.
	maxShapes = 8
)

// A shape stands for all subscriptions of a stream that negotiated the same payload types, extension numbers and MID.
// Their headers differ only in sequence number, timestamp, SSRC and transport-wide sequence number.
type shape struct {
	kind       rtp.Kind
	mid        string
	extensions rtp.ExtensionMap
	formats    []rtp.Format
	users      int // subscriptions
	// listed is set for a shape that further subscribers may share.
	listed bool

	// generation is that of the publication that types and rtx are for.
	generation bus.Generation
	// types and rtx map the publisher's payload types to the subscriber's, of media and of retransmissions.
	types, rtx [128]uint8
	held       []template // empty, or a power of two
	spare      template   // for a shape that holds none
}

// noType is no payload type: the format was not negotiated.
const noType = 0xFF

// A template is a packet's header for a shape. The fields that differ between its subscribers are 0. The transport-wide
// sequence number comes last, in four bytes of its own, so one template serves packets with it and packets without.
type template struct {
	layer  *layer
	index  uint64
	length uint8 // without the number
	full   uint8 // with the number, if that was negotiated
	number uint8 // offset of the number
	media  uint8 // payload type
	rtx    uint8 // payload type of a retransmission, or noType
	bytes  [maxHeader]byte
}

// shapeOf finds or makes the shape of a subscription, and counts the subscription among its users.
func (st *stream) shapeOf(spec *rtp.Track) *shape {
	for _, sh := range st.shapes {
		if sh.kind == spec.Kind && sh.mid == spec.MID && sh.extensions == spec.Extensions &&
			sameFormats(sh.formats, spec.Formats) {
			sh.users++
			sh.resize()
			return sh
		}
	}
	sh := &shape{kind: spec.Kind, mid: spec.MID, extensions: spec.Extensions, formats: spec.Formats, users: 1}
	if len(st.shapes) < maxShapes {
		sh.listed = true
		st.shapes = append(st.shapes, sh)
	}
	return sh
}

// leaveShape takes a subscription off a shape, which ends with the last.
func (st *stream) leaveShape(sh *shape) {
	if sh.users--; sh.users > 0 {
		sh.resize()
		return
	}
	for i, x := range st.shapes {
		if x == sh {
			st.shapes = append(st.shapes[:i], st.shapes[i+1:]...)
			return
		}
	}
}

// resize gives a listed shape room for headers by its number of users. The room shrinks late, so that a viewer that
// comes and goes costs nothing.
func (sh *shape) resize() {
	if !sh.listed {
		return
	}
	n := 0
	if sh.users > 1 {
		n = templates
		for n/2 >= templatesPerUser*sh.users {
			n /= 2
		}
	}
	if n > len(sh.held) || 4*n < len(sh.held) {
		sh.held = make([]template, n)
	}
}

func sameFormats(a, b []rtp.Format) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// match fills in the payload types for a publication, unless they are those of it already.
func (sh *shape) match(p *publication) {
	if sh.generation == p.generation {
		return
	}
	sh.generation = p.generation
	for i := range sh.types {
		sh.types[i], sh.rtx[i] = noType, noType
	}
	clear(sh.held)
	t := p.track(sh.kind)
	if t == nil {
		return
	}
	for i := range t.spec.Formats {
		f := &t.spec.Formats[i]
		if g := f.Match(sh.formats); g != nil {
			sh.types[f.PayloadType&127] = g.PayloadType
			if g.RTX != 0 {
				sh.rtx[f.PayloadType&127] = g.RTX
			}
		}
	}
}

// template returns the header of the packet at an index, nil if the packet's format was not negotiated.
func (sh *shape) template(l *layer, index uint64, e *history.Entry) *template {
	t := &sh.spare
	if len(sh.held) > 0 {
		t = &sh.held[index&uint64(len(sh.held)-1)]
		if t.layer == l && t.index == index {
			return t
		}
	}
	pt := sh.types[e.PayloadType&127]
	if pt == noType {
		return nil
	}
	t.layer, t.index = l, index
	t.media, t.rtx = pt, sh.rtx[e.PayloadType&127]
	rtp.FixedHeader{Marker: e.Flags&bus.Marker != 0}.Put(t.bytes[:])
	sh.writeExtensions(t, l.history.Extensions(e))
	return t
}

// writeExtensions adds the extension block (RFC 8285). It has the two-byte form only if a number or a length needs it.
func (sh *shape) writeExtensions(t *template, stored []byte) {
	twoByte := len(sh.mid) > 16
	for _, id := range sh.extensions {
		twoByte = twoByte || id > 14
	}
	const start = rtp.HeaderLen + 4
	b := t.bytes[:start]
	put := func(e rtp.Extension, value ...byte) bool {
		id := sh.extensions[e]
		if id == 0 || len(value) == 0 || !twoByte && len(value) > 16 || len(b)+2+len(value) > maxHeader-numberLen {
			return false
		}
		if twoByte {
			b = append(b, id, byte(len(value)))
		} else {
			b = append(b, id<<4|byte(len(value)-1))
		}
		b = append(b, value...)
		return true
	}
	if sh.extensions[rtp.MID] != 0 {
		var mid [maxMID]byte
		put(rtp.MID, mid[:copy(mid[:], sh.mid)]...)
	}
	for len(stored) >= 2 {
		n := int(stored[1])
		put(rtp.Extension(stored[0]), stored[2:2+n]...)
		stored = stored[2+n:]
	}
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	profile := uint16(0xBEDE)
	if twoByte {
		profile = 0x1000
	}
	binary.BigEndian.PutUint16(t.bytes[rtp.HeaderLen:], profile)
	binary.BigEndian.PutUint16(t.bytes[rtp.HeaderLen+2:], uint16((len(b)-start)/4))
	t.length = uint8(len(b))
	if len(b) == start {
		t.length = rtp.HeaderLen
	} else {
		t.bytes[0] |= rtp.ExtensionBit
	}
	t.full = t.length
	if id := sh.extensions[rtp.TransportSequence]; id != 0 {
		element := [numberLen]byte{id<<4 | 1}
		t.number = uint8(len(b) + 1)
		if twoByte {
			element = [numberLen]byte{id, 2}
			t.number++
		}
		t.full = uint8(len(append(b, element[:]...)))
	}
}

// plain writes the header without a transport-wide number.
func (t *template) plain(frame []byte) []byte { return append(frame[:0], t.bytes[:t.length]...) }

// numbered writes the header with a transport-wide number. That must have been negotiated.
func (t *template) numbered(frame []byte, number uint16) []byte {
	frame = append(frame[:0], t.bytes[:t.full]...)
	frame[0] |= rtp.ExtensionBit
	frame[rtp.HeaderLen+3] = (t.full - rtp.HeaderLen - 4) / 4
	binary.BigEndian.PutUint16(frame[t.number:], number)
	return frame
}

// forwarded are the extensions that subscribers get as the publisher sent them. Extensions about the publisher's clock
// are not forwarded: they would mislead the subscribers' estimators of bandwidth.
var forwarded = [...]rtp.Extension{rtp.AudioLevel, rtp.VideoOrientation, rtp.PlayoutDelay, rtp.ColorSpace}

// forwardedExtensions appends the forwarded extensions of a packet to b, as far as b has capacity. Each is a byte of
// rtp.Extension, a byte of length, and the value.
func forwardedExtensions(b []byte, h *rtp.Header, data []byte) []byte {
	for _, e := range forwarded {
		v, ok := h.Value(data, e)
		if !ok || len(b)+2+len(v) > cap(b) {
			continue
		}
		b = append(b, byte(e), byte(len(v)))
		b = append(b, v...)
	}
	return b
}
