package sim

import (
	"encoding/binary"
	"math"
	"math/rand/v2"

	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
)

// A Rung is one layer of a Simulcast.
type Rung struct {
	// RID names it; a Simulcast of one rung needs none.
	RID string
	// Rate is in bits of payload a second.
	Rate float64
	// Width is that of the pictures in pixels. Their height is 9/16 of it.
	Width uint16
}

// Three are the layers that a browser sends of a camera with 1280x720.
var Three = []Rung{{"q", 150_000, 320}, {"h", 500_000, 640}, {"f", 1_800_000, 1280}}

// A Simulcast describes a publisher whose encoder holds its layers to rates.
type Simulcast struct {
	Rungs []Rung
	// Codec is the first that is sent, VP8 or H.264. The publisher may turn to the other, see Turn.
	Codec rtp.Codec
	// Apart makes a request key only the layer that it names. Without it every layer is keyed, as by libvpx.
	Apart bool
}

const (
	// mtu is the most payload of a packet, in bytes.
	mtu = 1150
	// keyframeSize is how much larger than the mean keyframes are, least and most.
	keyframeLeast, keyframeMost = 6, 8
	// deafness is how long a publisher ignores further requests for keyframes, as libwebrtc does.
	deafness = 300 * port.Millisecond
	// repayment is the share of a mean frame that the frames after a keyframe are smaller, until the rate is held.
	repayment = 0.2
)

// An encoder decides what the frames of a Simulcast weigh, and which are keyframes.
type encoder struct {
	Simulcast
	asked []port.Time // when a request for each layer was last heeded
	// Keyed are the times of the keyframes of each layer.
	Keyed [][]port.Time
	debts []float64 // bytes by which each layer is over its rate
}

// PublishSimulcast adds a publisher with an encoder to a stream.
func (w *World) PublishSimulcast(stream bus.StreamID, c Simulcast) *Publisher {
	var rids []string
	if len(c.Rungs) > 1 {
		for _, r := range c.Rungs {
			rids = append(rids, r.RID)
		}
	}
	if c.Codec == rtp.UnknownCodec {
		c.Codec = rtp.VP8
	}
	other := rtp.VP8 + rtp.H264 - c.Codec
	p := w.publish(stream, math.MaxInt, []rtp.Codec{c.Codec, other}, rids)
	p.Pictures = true
	n := len(c.Rungs)
	p.encoder = &encoder{
		Simulcast: c, asked: make([]port.Time, n), Keyed: make([][]port.Time, n), debts: make([]float64, n),
	}
	for i, r := range c.Rungs {
		p.layers[i].width = r.Width
	}
	return p
}

// Turn makes the publisher send another codec, from a keyframe on.
func (p *Publisher) Turn(c rtp.Codec) {
	p.codec = c
	f := formatOf(c, true, true)
	for _, l := range p.layers {
		l.pt, l.rtx.pt, l.wanted = f.PayloadType, f.RTX, true
	}
}

// request is a PLI or FIR for an SSRC.
func (p *Publisher) request(ssrc uint32) {
	e, now := p.encoder, p.world.clock.Now()
	all := e != nil && !e.Apart
	for i, l := range p.layers {
		if !all && l.ssrc != ssrc || e != nil && !e.heeds(i, now) {
			continue
		}
		l.wanted = true
	}
}

// heeds reports whether a layer is keyed for a request that comes now.
func (e *encoder) heeds(i int, now port.Time) bool {
	if e.asked[i] > 0 && now-e.asked[i] < deafness {
		return false
	}
	e.asked[i] = now
	return true
}

// frame returns the size of the next frame of a layer in bytes.
func (e *encoder) frame(i int, key bool, r *rand.Rand) int {
	mean := e.Rungs[i].Rate / 8 * frameInterval.Seconds()
	size := mean * math.Exp(0.2*r.NormFloat64()-0.02)
	if key {
		size *= keyframeLeast + r.Float64()*(keyframeMost-keyframeLeast)
	} else {
		size -= min(max(e.debts[i], 0), repayment*mean)
	}
	e.debts[i] += size - mean
	return int(size)
}

// sendEncoded sends a picture of a layer as its encoder makes it.
func (p *Publisher) sendEncoded(i int, key bool) {
	l, e := p.layers[i], p.encoder
	ts := p.timestamp(l)
	size := e.frame(i, key, p.rand)
	if key {
		e.Keyed[i] = append(e.Keyed[i], p.world.clock.Now())
		if p.codec == rtp.H264 {
			p.send(l, false, ts, setsOf(l.width), false)
		}
	}
	n := (size + mtu - 1) / mtu
	for k := range n {
		payload := p.payload(l, k == 0, key)
		if p.codec == rtp.H264 && n > 1 {
			payload = fragment(k == 0, k == n-1, key)
		}
		l.stamp++
		l.captured = append(l.captured, p.world.clock.Now())
		payload = binary.BigEndian.AppendUint64(payload, l.stamp)
		payload = append(payload, make([]byte, max(0, size/n-len(payload)))...)
		p.send(l, k == n-1, ts, payload, false)
	}
}

// fragment is the start of a piece of a slice of H.264, FU-A (RFC 6184 section 5.8).
func fragment(first, last, key bool) []byte {
	b := []byte{0x5C, 1, 0}
	if key {
		b[0], b[1] = 0x7C, 5
	}
	if first {
		b[1] |= 0x80
		b[2] = 0x80 // first_mb_in_slice is 0
	}
	if last {
		b[1] |= 0x40
	}
	return b
}

// setsOf returns a sequence and a picture parameter set in one packet, for pictures of a width (H.264 section
// 7.3.2.1.1, RFC 6184 section 5.7.1).
func setsOf(width uint16) []byte {
	const macroblock = 16
	height := uint(width) * 9 / 16
	rows := (height + macroblock - 1) / macroblock
	var b bitWriter
	for _, x := range [...]uint{0, 0, 2, 1} { // number, frame number's bits, order, reference frames
		b.golomb(x)
	}
	b.bit(0)
	b.golomb(uint(width)/macroblock - 1)
	b.golomb(rows - 1)
	b.bit(1)
	b.bit(1)
	if cut := (rows*macroblock - height) / 2; cut > 0 {
		b.bit(1)
		for _, x := range [...]uint{0, 0, 0, cut} {
			b.golomb(x)
		}
	} else {
		b.bit(0)
	}
	b.bit(0)
	b.bit(1) // the end
	sps := append([]byte{0x67, 0x42, 0xE0, 0x1F}, b.bytes...)
	out := append([]byte{0x78, 0, byte(len(sps))}, sps...)
	return append(out, 0, 4, 0x68, 0xCE, 0x3C, 0x80)
}

// A bitWriter writes bits, the highest of each byte first.
type bitWriter struct {
	bytes []byte
	n     int
}

func (b *bitWriter) bit(x uint) {
	if b.n%8 == 0 {
		b.bytes = append(b.bytes, 0)
	}
	b.bytes[b.n/8] |= byte(x << (7 - b.n%8))
	b.n++
}

// golomb writes an unsigned Exp-Golomb code (H.264 section 9.1).
func (b *bitWriter) golomb(x uint) {
	x++
	bits := 0
	for x>>bits > 1 {
		bits++
	}
	for range bits {
		b.bit(0)
	}
	for i := bits; i >= 0; i-- {
		b.bit(x >> i & 1)
	}
}
