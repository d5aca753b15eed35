package sim

import (
	"encoding/binary"

	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
	"ringcast/engine/srtp"
)

const (
	videoSSRC, videoRTX, audioSSRC = 0x1001, 0x1002, 0x2001

	frameInterval = 33 * port.Millisecond
	audioInterval = 20 * port.Millisecond
	// stampLen is the length of the number that subscribers check, after the descriptor and first byte.
	stampLen = 8
	// earlyPackets is how many packets of a simulcast layer name their RID.
	earlyPackets = 30
	// sentKept is how many packets a publisher can send again.
	sentKept = 3000
)

// A Publisher sends video frames in bursts and audio, answers NACKs and PLIs.
type Publisher struct {
	agent
	sealer srtp.Sealer
	codec  rtp.Codec
	layers []*sending
	audio  *sending
	frame  int
	began  port.Time
	next   uint16
	// KeyframeEvery is in frames.
	KeyframeEvery int
	// Padding sends padding-only packets after keyframes.
	Padding bool
	// Wall returns the publisher's wall clock, in nanoseconds since 1900; nil reports nothing.
	Wall func(now port.Time) int64
	// Drift is how much faster the publisher's clocks run than the world's, both wall and media.
	Drift float64
	// Pictures adds picture IDs and TL0PICIDX to VP8.
	Pictures bool
	// SetsOnce sends H.264 parameter sets before the first picture alone.
	SetsOnce bool
	// Tiny makes the first packet of each frame as short as possible. Ragged gives each packet a length of its own.
	// Else a frame is cut into two lengths, the longer by a byte and last, as libwebrtc does.
	Tiny, Ragged bool
	// Levels adds the audio level to the sound.
	Levels  bool
	stopped bool
	encoder *encoder // of a Simulcast, or nil
	Feedback
}

// Feedback counts the messages that a Publisher got.
type Feedback struct {
	// PLIs are the times of the requests for keyframes, NACKed the number of packets requested again.
	PLIs   []port.Time
	NACKed int
	// Feedbacks counts transport-wide feedback.
	Feedbacks int
	// Unopened counts messages that did not open.
	Unopened int
}

// source is the numbering of one SSRC.
type source struct {
	ssrc uint32
	pt   uint8
	seq  uint64
}

// sending is one SSRC and its retransmissions.
type sending struct {
	source
	rtx    source
	rid    string
	stamp  uint64
	base   uint32 // timestamp of the beginning
	sent   map[uint16][]byte
	wanted bool // a keyframe
	paused bool
	// captured are the times of capture of the stamps, from the first stamp on.
	captured []port.Time
	// packets are the least and the most packets of a frame, size their greatest length.
	packets [2]int
	size    int
	picture uint16
	tl0     uint8
	// width is that of the pictures, in pixels.
	width uint16
	// early and earlyRTX count the packets that named their RID.
	early, earlyRTX int
	announced       bool // its parameter sets were sent
}

// Publish adds a publisher of VP8 to a stream.
func (w *World) Publish(stream bus.StreamID, every int) *Publisher {
	return w.PublishAs(stream, every, rtp.VP8)
}

// PublishAs adds a publisher to a stream. With rids the video is simulcast, its SSRCs unannounced,
// each layer about twice the one before.
func (w *World) PublishAs(stream bus.StreamID, every int, codec rtp.Codec, rids ...string) *Publisher {
	return w.publish(stream, every, []rtp.Codec{codec}, rids)
}

// publish adds a publisher that has announced some codecs, of which it sends the first.
func (w *World) publish(stream bus.StreamID, every int, codecs []rtp.Codec, rids []string) *Publisher {
	video := videoTrack(true, true, codecs...)
	audio := audioTrack()
	audio.Extensions[rtp.TransportSequence] = idTransport
	audio.Encodings = []rtp.Encoding{{SSRC: audioSSRC}}
	if len(rids) == 0 {
		video.Encodings = []rtp.Encoding{{SSRC: videoSSRC, RTXSSRC: videoRTX}}
	} else {
		video.Extensions[rtp.RID], video.Extensions[rtp.RepairedRID] = idRID, idRepairedRID
		for _, rid := range rids {
			video.Encodings = append(video.Encodings, rtp.Encoding{RID: rid})
		}
	}
	spec, keys := w.control.open(api.Publisher, stream, []rtp.Track{audio, video}, srtp.AEADAES128GCM)
	sealer, err := srtp.NewSealer(keys)
	if err != nil {
		panic(err)
	}
	p := &Publisher{sealer: sealer, KeyframeEvery: every, codec: codecs[0]}
	p.Wall = func(now port.Time) int64 { return 3_900_000_000e9 + int64(now) }
	// Stamps distinguish sources.
	stamp := uint64(spec.ID) << 40
	for i := range max(1, len(rids)) {
		s := &sending{
			// The numbers soon wrap around, like the timestamps.
			source: source{videoSSRC, video.Formats[0].PayloadType, 65000},
			rtx:    source{videoRTX, video.Formats[0].RTX, 65000},
			stamp:  stamp + uint64(i)<<32, base: 0xFFFF0000, sent: make(map[uint16][]byte),
			packets: [2]int{1, 4}, size: 500, width: 320,
		}
		if len(rids) > 0 {
			s.rid, s.ssrc, s.rtx.ssrc = rids[i], uint32(0x3001+16*i), uint32(0x3002+16*i)
			s.base += uint32(i) * 0x11111111
			s.packets, s.width = [2]int{1 << i, 2 << i}, 320<<i
			s.picture, s.tl0 = uint16(0x7FF0+5*i), uint8(0xF0+5*i)
		}
		p.layers = append(p.layers, s)
	}
	p.audio = &sending{source: source{audioSSRC, typeOpus, 100}, stamp: stamp, sent: make(map[uint16][]byte)}
	p.start(w, p, spec)
	return p
}

// StandBy makes the publisher a backup: it waits for the live one of its stream to fail.
func (p *Publisher) StandBy() { p.world.control.sessions[p.spec.ID].backup = true }

// Pause stops the media, and Resume goes on with it. The reports go on.
func (p *Publisher) Pause() { p.quiet(true) }

// Resume ends a Pause.
func (p *Publisher) Resume() { p.quiet(false) }

func (p *Publisher) quiet(on bool) {
	p.audio.paused = on
	for _, l := range p.layers {
		l.paused = on
	}
}

// Stop ends the media.
func (p *Publisher) Stop() { p.stopped = true }

func (p *Publisher) receive(data []byte) {
	is, first := p.answered(data)
	if first {
		p.began = p.world.clock.Now() + 20*port.Millisecond
		p.world.at(p.began, p.sendFrame)
		p.world.at(p.began, p.sendAudio)
		p.world.at(p.began+80*port.Millisecond, p.sendReport)
	}
	if is {
		return
	}
	data, result := p.sealer.OpenRTCP(data)
	if result != srtp.OpenOK {
		p.Unopened++ // duplicates, if nothing is wrong
		return
	}
	var x rtcp.Packet
	for r := rtcp.NewReader(data); r.Next(&x); {
		switch x.Type {
		case rtcp.PLI, rtcp.FIR:
			p.PLIs = append(p.PLIs, p.world.clock.Now())
			p.request(x.Media)
		case rtcp.TransportCC:
			p.Feedbacks++
		case rtcp.NACK:
			for n := x.NACKs(); ; {
				seq, ok := n.Next()
				if !ok {
					break
				}
				p.NACKed++
				p.resend(&x, seq)
			}
		}
	}
}

func (p *Publisher) resend(x *rtcp.Packet, seq uint16) {
	if x.Media == audioSSRC {
		if raw := p.audio.sent[seq]; raw != nil {
			p.seal(raw, p.audio.seq-uint64(uint16(p.audio.seq)-seq))
		}
		return
	}
	for _, l := range p.layers {
		raw := l.sent[seq]
		if l.ssrc != x.Media || raw == nil {
			continue
		}
		var h rtp.Header
		h.Parse(raw, nil)
		named := l.rid != "" && l.earlyRTX < earlyPackets
		l.earlyRTX++
		b := p.header(l, idRepairedRID, named)
		rtp.FixedHeader{
			Marker: h.Marker, Extension: true, PayloadType: l.rtx.pt, Sequence: uint16(l.rtx.seq),
			Timestamp: h.Timestamp,
			SSRC:      l.rtx.ssrc,
		}.Put(b)
		b = append(b, byte(seq>>8), byte(seq))
		if raw[0]&0x20 == 0 { // of padding nothing is left
			b = append(b, raw[h.HeaderLen:]...)
		}
		p.seal(b, l.rtx.seq)
		l.rtx.seq++
	}
}

// header makes room for a fixed header and writes the extensions after it. The transport-wide sequence number comes
// first, then, where the packet is to be named, MID and RID.
func (p *Publisher) header(s *sending, rid byte, named bool) []byte {
	b := make([]byte, rtp.HeaderLen+4, 1500)
	b = append(b, idTransport<<4|1, 0, 0)
	if named {
		b = append(b, idMID<<4, '1', rid<<4|byte(len(s.rid)-1))
		b = append(b, s.rid...)
	}
	if p.Levels && s == p.audio {
		b = append(b, idAudioLevel<<4, byte(s.stamp)&0x7F)
	}
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	binary.BigEndian.PutUint16(b[rtp.HeaderLen:], 0xBEDE)
	binary.BigEndian.PutUint16(b[rtp.HeaderLen+2:], uint16(len(b)-rtp.HeaderLen-4)/4)
	return b
}

// seal protects and sends a packet, with the next transport-wide sequence number in its extension.
func (p *Publisher) seal(raw []byte, index uint64) {
	var h rtp.Header
	h.Parse(raw, nil)
	frame := make([]byte, h.HeaderLen, len(raw)+32)
	copy(frame, raw)
	binary.BigEndian.PutUint16(frame[rtp.HeaderLen+5:], p.next)
	p.next++
	p.world.up(p, p.sealer.SealRTP(frame, h.HeaderLen, raw[h.HeaderLen:], index))
}

func (p *Publisher) send(s *sending, marker bool, ts uint32, payload []byte, padding bool) {
	named := s.rid != "" && s.early < earlyPackets
	s.early++
	b := p.header(s, idRID, named)
	rtp.FixedHeader{
		Marker: marker, Extension: true, PayloadType: s.pt, Sequence: uint16(s.seq), Timestamp: ts, SSRC: s.ssrc,
	}.Put(b)
	b = append(b, payload...)
	if padding {
		b[0] |= 0x20
	}
	s.sent[uint16(s.seq)] = b
	delete(s.sent, uint16(s.seq-sentKept))
	p.seal(b, s.seq)
	s.seq++
}

func (p *Publisher) sendFrame() {
	if p.stopped {
		return
	}
	for i, l := range p.layers {
		if !l.paused {
			p.sendPicture(i, l)
		}
	}
	p.frame++
	p.world.at(p.world.clock.Now()+frameInterval, p.sendFrame)
}

func (p *Publisher) sendPicture(i int, l *sending) {
	key := l.wanted || p.frame%p.KeyframeEvery == 0
	l.wanted = false
	if p.encoder != nil {
		p.sendEncoded(i, key)
	} else {
		p.sendDrawn(l, key)
	}
	l.picture, l.tl0 = (l.picture+1)&0x7FFF, l.tl0+1
}

// sendDrawn sends a picture of a size that chance draws.
func (p *Publisher) sendDrawn(l *sending, key bool) {
	n := l.packets[0] + p.rand.IntN(l.packets[1]-l.packets[0]+1)
	if key {
		n = l.packets[1] + 2 + p.rand.IntN(6)
	}
	ts := p.timestamp(l)
	if p.SetsOnce && key && !l.announced {
		l.announced = true
		p.send(l, false, ts, []byte(parameterSets), false)
	}
	size, longer := l.size/5+p.rand.IntN(l.size*4/5), p.rand.IntN(n)
	for i := range n {
		payload := p.payload(l, i == 0, key)
		l.stamp++
		l.captured = append(l.captured, p.world.clock.Now())
		payload = binary.BigEndian.AppendUint64(payload, l.stamp)
		switch {
		case i == 0 && p.Tiny:
		case p.Ragged:
			payload = append(payload, make([]byte, l.size/5+p.rand.IntN(l.size*4/5))...)
		case i >= n-longer:
			payload = append(payload, make([]byte, size+1)...)
		default:
			payload = append(payload, make([]byte, size)...)
		}
		p.send(l, i == n-1, ts, payload, false)
	}
	if key && p.Padding {
		for range 2 {
			pad := make([]byte, 50)
			pad[49] = 50
			p.send(l, false, ts, pad, true)
		}
	}
}

// timestamp is that of the present frame.
func (p *Publisher) timestamp(l *sending) uint32 {
	return l.base + p.ticks(90)
}

// ticks is the time since the beginning by the publisher's clock, in units of a clock of some kHz.
func (p *Publisher) ticks(kHz port.Time) uint32 {
	return uint32(p.clock() / port.Microsecond * kHz / 1000)
}

// clock is the time since the beginning by the publisher's clock.
func (p *Publisher) clock() port.Time {
	span := p.world.clock.Now() - p.began
	return span + port.Time(float64(span)*p.Drift)
}

// parameterSets are a sequence and a picture parameter set in one packet (RFC 6184 section 5.7.1).
const parameterSets = "\x78\x00\x05\x67\x42\xe0\x1f\x80\x00\x02\x68\xc0"

// payload returns the bytes before the stamp.
func (p *Publisher) payload(l *sending, first, key bool) []byte {
	if p.codec == rtp.H264 {
		b := []byte{0x41, 0x00}
		if key {
			b[0] = 0x65 // a slice of an IDR picture
		}
		if first {
			b[1] = 0x80 // first_mb_in_slice is 0
		}
		return b
	}
	start, frame := byte(0), byte(1)
	if first {
		start = 0x10
	}
	if key {
		frame = 0
	}
	b := []byte{start, frame}
	if p.Pictures {
		b = []byte{0x80 | start, 0xE0, 0x80 | byte(l.picture>>8), byte(l.picture), l.tl0, 0, frame}
	}
	if first && key { // RFC 6386 section 9.1
		b = append(b, 0, 0, 0x9D, 0x01, 0x2A, byte(l.width), byte(l.width>>8), byte(l.width*9/16),
			byte(l.width*9/16>>8))
	}
	return b
}

func (p *Publisher) sendAudio() {
	if p.stopped {
		return
	}
	p.world.at(p.world.clock.Now()+audioInterval, p.sendAudio)
	if p.audio.paused {
		return
	}
	p.audio.stamp++
	p.audio.captured = append(p.audio.captured, p.world.clock.Now())
	payload := make([]byte, 2+stampLen+60)
	binary.BigEndian.PutUint64(payload[2:], p.audio.stamp)
	p.send(p.audio, false, p.ticks(48), payload, false)
}

// sendReport reports the layers, and the audio 400 ms later: clocks are not reported at one moment.
func (p *Publisher) sendReport() {
	if p.stopped {
		return
	}
	p.world.at(p.world.clock.Now()+port.Second, p.sendReport)
	var live []*sending
	for _, l := range p.layers {
		if !l.paused {
			live = append(live, l)
		}
	}
	p.report(live...)
	p.world.at(p.world.clock.Now()+400*port.Millisecond, func() { p.report(p.audio) })
}

func (p *Publisher) report(sources ...*sending) {
	if p.Wall == nil || p.stopped || len(sources) == 0 {
		return
	}
	wall := p.Wall(p.began + p.clock())
	ntp := uint64(wall/1e9)<<32 | uint64(wall%1e9)<<32/1e9
	b := make([]byte, 0, 512)
	for _, s := range sources {
		ts := p.ticks(48)
		if s != p.audio {
			ts = p.timestamp(s)
		}
		b = rtcp.AppendSenderReport(b, s.ssrc, rtcp.SenderInfo{NTP: ntp, RTP: ts})
		b = rtcp.AppendSDES(b, s.ssrc, "publisher")
	}
	p.world.up(p, p.sealer.SealRTCP(b))
}
