package sim

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"

	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
	"ringcast/engine/srtp"
	"ringcast/engine/stun"
)

const (
	checkRetry    = 50 * port.Millisecond
	checkInterval = 2500 * port.Millisecond
)

// agent is the ICE side of a peer: it checks, nominates, and goes on checking.
type agent struct {
	world  *World
	self   peer
	addr   netip.AddrPort
	spec   *bus.Session
	hasher *stun.Hasher
	rand   *rand.Rand
	// connected is when the first check was answered, 0 before.
	connected port.Time
	// silent stops the checks.
	silent bool
}

func (a *agent) address() netip.AddrPort { return a.addr }

func (a *agent) start(w *World, self peer, spec *bus.Session) {
	a.world, a.self, a.spec, a.hasher = w, self, spec, stun.NewHasher()
	a.addr = w.join(self)
	a.rand = rand.New(rand.NewPCG(w.cfg.Seed, 1000+uint64(spec.ID)))
	a.check()
}

func (a *agent) check() {
	if a.silent {
		return
	}
	var id [12]byte
	binary.BigEndian.PutUint64(id[:], a.rand.Uint64())
	name := a.spec.Local.Ufrag + ":" + a.spec.RemoteUfrag
	a.world.up(a.self, a.hasher.AppendRequest(nil, &id, name, a.spec.Local.Password, 1, true, 7))
	wait := checkInterval
	if a.connected == 0 {
		wait = checkRetry
	}
	a.world.at(a.world.now+wait, a.check)
}

// answered takes in a datagram if it is STUN; first tells of the first success.
func (a *agent) answered(data []byte) (is, first bool) {
	if data[0] > 3 {
		return false, false
	}
	_, ok, mapped, valid := a.hasher.VerifyResponse(data, a.spec.Local.Password)
	if valid && ok && mapped == a.addr && a.connected == 0 {
		a.connected = a.world.now
		return true, true
	}
	return true, false
}

// Payload types and extension numbers of the simulation.
const (
	typeVP8, typeVP8RTX, typeOpus = 96, 97, 111

	idMID, idTransport, idAudioLevel = 4, 3, 1
)

func videoTrack(rtx, transport bool) rtp.Track {
	t := rtp.Track{Kind: rtp.Video, MID: "1", Formats: []rtp.Format{{
		PayloadType: typeVP8, Codec: rtp.VP8, Feedback: rtp.NACK | rtp.PLI | rtp.FIR,
	}}}
	t.Extensions[rtp.MID] = idMID
	if rtx {
		t.Formats[0].RTX = typeVP8RTX
	}
	if transport {
		t.Formats[0].Feedback |= rtp.TransportCC
		t.Extensions[rtp.TransportSequence] = idTransport
	}
	return t
}

func audioTrack() rtp.Track {
	t := rtp.Track{Kind: rtp.Audio, MID: "0", Formats: []rtp.Format{{
		PayloadType: typeOpus, Codec: rtp.Opus, Feedback: rtp.NACK,
	}}}
	t.Extensions[rtp.MID] = idMID
	t.Extensions[rtp.AudioLevel] = idAudioLevel
	return t
}

const (
	videoSSRC, videoRTX, audioSSRC = 0x1001, 0x1002, 0x2001

	frameInterval = 33 * port.Millisecond
	audioInterval = 20 * port.Millisecond
	// stampLen is the length of what subscribers check, behind the VP8 descriptor and first byte.
	stampLen = 8
)

// A Publisher sends video frames in bursts and audio, answers NACKs and PLIs.
type Publisher struct {
	agent
	sealer srtp.Sealer
	video  sending
	audio  sending
	frame  int
	wanted bool // a keyframe
	next   uint16
	rtxSeq uint64
	// KeyframeEvery is in frames.
	KeyframeEvery int
	// Padding sends padding-only packets after keyframes.
	Padding bool
	stopped bool
	// PLIs are the times at which keyframes were asked for, NACKed how many packets were.
	PLIs      []port.Time
	NACKed    int
	Feedbacks int
	// Unopened counts feedback that did not open.
	Unopened int
}

type sending struct {
	ssrc  uint32
	seq   uint64
	stamp uint64
	sent  map[uint16][]byte // packets in the clear, by sequence number
}

// Publish adds a publisher to a stream.
func (w *World) Publish(stream bus.StreamID, every int) *Publisher {
	video := videoTrack(true, true)
	video.Encodings = []rtp.Encoding{{SSRC: videoSSRC, RTXSSRC: videoRTX}}
	audio := audioTrack()
	audio.Extensions[rtp.TransportSequence] = idTransport
	audio.Encodings = []rtp.Encoding{{SSRC: audioSSRC}}
	spec, keys := w.control.open(bus.Publisher, stream, []rtp.Track{audio, video}, srtp.AEADAES128GCM)
	sealer, err := srtp.NewSealer(keys)
	if err != nil {
		panic(err)
	}
	p := &Publisher{sealer: sealer, KeyframeEvery: every}
	p.video = sending{ssrc: videoSSRC, seq: 65000, sent: make(map[uint16][]byte)} // soon to wrap around
	p.audio = sending{ssrc: audioSSRC, seq: 100, sent: make(map[uint16][]byte)}
	p.start(w, p, spec)
	return p
}

// Stop ends the media.
func (p *Publisher) Stop() { p.stopped = true }

func (p *Publisher) receive(data []byte) {
	is, first := p.answered(data)
	if first {
		p.world.at(p.world.now+20*port.Millisecond, p.sendFrame)
		p.world.at(p.world.now+20*port.Millisecond, p.sendAudio)
		p.world.at(p.world.now+100*port.Millisecond, p.sendReport)
	}
	if is {
		return
	}
	data, ok := p.sealer.OpenRTCP(data)
	if !ok {
		p.Unopened++ // duplicates, if nothing is wrong
		return
	}
	var x rtcp.Packet
	for r := rtcp.NewReader(data); r.Next(&x); {
		switch x.Type {
		case rtcp.PLI, rtcp.FIR:
			p.wanted = true
			p.PLIs = append(p.PLIs, p.world.now)
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
	raw := p.video.sent[seq]
	if raw == nil {
		return
	}
	var h rtp.Header
	h.Parse(raw, nil)
	b := append([]byte(nil), raw[:h.HeaderLen]...)
	b[0] &^= 0x20 // whatever padding there was is payload now
	b[1] = b[1]&0x80 | typeVP8RTX
	binary.BigEndian.PutUint16(b[2:], uint16(p.rtxSeq))
	binary.BigEndian.PutUint32(b[8:], videoRTX)
	b = append(b, byte(seq>>8), byte(seq))
	payload := raw[h.HeaderLen:]
	if raw[0]&0x20 != 0 {
		payload = nil
	}
	p.seal(append(b, payload...), p.rtxSeq)
	p.rtxSeq++
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

func (p *Publisher) send(s *sending, pt uint8, marker bool, ts uint32, payload []byte, padding bool) {
	b := make([]byte, rtp.HeaderLen+4+4, 1500)
	rtp.PutHeader(b, marker, true, pt, uint16(s.seq), ts, s.ssrc)
	copy(b[rtp.HeaderLen:], []byte{0xBE, 0xDE, 0, 1, idTransport<<4 | 1, 0, 0, 0})
	b = append(b, payload...)
	if padding {
		b[0] |= 0x20
	}
	s.sent[uint16(s.seq)] = b
	delete(s.sent, uint16(s.seq-1000))
	p.seal(b, s.seq)
	s.seq++
}

func (p *Publisher) sendFrame() {
	if p.stopped {
		return
	}
	key := p.wanted || p.frame%p.KeyframeEvery == 0
	p.wanted = false
	n := 1 + p.rand.IntN(4)
	if key {
		n = 6 + p.rand.IntN(6)
	}
	ts := uint32(0xFFFF0000) + uint32(p.frame)*2970
	for i := range n {
		payload := make([]byte, 2+stampLen+100+p.rand.IntN(400))
		if i == 0 {
			payload[0] = 0x10
		}
		payload[1] = 1
		if key {
			payload[1] = 0
		}
		p.video.stamp++
		binary.BigEndian.PutUint64(payload[2:], p.video.stamp)
		p.send(&p.video, typeVP8, i == n-1, ts, payload, false)
	}
	if key && p.Padding {
		for range 2 {
			pad := make([]byte, 50)
			pad[49] = 50
			p.send(&p.video, typeVP8, false, ts, pad, true)
		}
	}
	p.frame++
	p.world.at(p.world.now+frameInterval, p.sendFrame)
}

func (p *Publisher) sendAudio() {
	if p.stopped {
		return
	}
	p.audio.stamp++
	payload := make([]byte, 2+stampLen+60)
	binary.BigEndian.PutUint64(payload[2:], p.audio.stamp)
	p.send(&p.audio, typeOpus, false, uint32(p.audio.stamp*960), payload, false)
	p.world.at(p.world.now+audioInterval, p.sendAudio)
}

func (p *Publisher) sendReport() {
	if p.stopped {
		return
	}
	now := p.world.now
	ntp := uint64(3_900_000_000+now/port.Second)<<32 | uint64(now%port.Second)<<32/uint64(port.Second)
	b := rtcp.AppendSenderReport(make([]byte, 0, 256), videoSSRC, rtcp.SenderInfo{NTP: ntp, RTP: uint32(0xFFFF0000) + uint32(p.frame)*2970})
	b = rtcp.AppendSDES(b, videoSSRC, "publisher")
	b = rtcp.AppendSenderReport(b, audioSSRC, rtcp.SenderInfo{NTP: ntp, RTP: uint32(p.audio.stamp * 960)})
	p.world.up(p, p.sealer.SealRTCP(b))
	p.world.at(now+port.Second, p.sendReport)
}

// A Subscriber receives, asks again for what is missing, and keeps what it got.
type Subscriber struct {
	agent
	opener *srtp.Opener
	Video  Reception
	Audio  Reception
	// Reports counts sender reports, Forged what could not be opened.
	Reports, Forged int
	// transports are the transport-wide sequence numbers seen, to check that none comes twice.
	transports map[uint16]bool
	twice      int
	// Mute stops the NACKs.
	Mute bool
}

// Reception is what a subscriber got of one track.
type Reception struct {
	spec *rtp.Track
	// unwrap of the media's and the retransmissions' numbering
	unwrap rtp.Unwrapper
	begun  bool
	// Low and High are the extended sequence numbers seen; Packets is by number from Low on.
	Low, High uint64
	Packets   map[uint64]Packet
	Resent    int
	Twice     int
	missing   map[uint64]port.Time // asked last
}

// Packet is one received packet.
type Packet struct {
	Stamp     uint64 // 0 for padding
	Key       bool
	Timestamp uint32
	At        port.Time
}

// Watch adds a subscriber to a stream. With rtx retransmissions have their own SSRC.
func (w *World) Watch(stream bus.StreamID, rtx bool, profile srtp.Profile) *Subscriber {
	video, audio := videoTrack(rtx, rtx), audioTrack()
	n := uint32(len(w.peers)) * 16
	video.SSRC, audio.SSRC = 0x80000000+n, 0x80000002+n
	if rtx {
		video.RTXSSRC = 0x80000001 + n
	}
	// The order of the lines is the peer's choice.
	tracks := []rtp.Track{audio, video}
	if n%32 == 0 {
		tracks = []rtp.Track{video, audio}
	}
	spec, keys := w.control.open(bus.Subscriber, stream, tracks, profile)
	opener, err := srtp.NewOpener(keys)
	if err != nil {
		panic(err)
	}
	s := &Subscriber{opener: opener, transports: make(map[uint16]bool)}
	for i := range tracks {
		r := &s.Video
		if tracks[i].Kind == rtp.Audio {
			r = &s.Audio
		}
		*r = Reception{spec: &tracks[i], Packets: make(map[uint64]Packet), missing: make(map[uint64]port.Time)}
	}
	s.start(w, s, spec)
	w.at(w.now+port.Time(s.rand.Int64N(int64(nackInterval))), s.nack)
	return s
}

func (s *Subscriber) receive(data []byte) {
	if is, _ := s.answered(data); is {
		return
	}
	if rtp.IsRTCP(data) {
		data, result := s.opener.OpenRTCP(data)
		if result != srtp.OpenOK {
			if result != srtp.OpenReplayed {
				s.Forged++
			}
			return
		}
		var x rtcp.Packet
		for r := rtcp.NewReader(data); r.Next(&x); {
			if x.Type == rtcp.SR {
				s.Reports++
			}
		}
		return
	}
	data, result := s.opener.OpenRTP(data)
	if result != srtp.OpenOK {
		if result != srtp.OpenReplayed { // the network duplicates
			s.Forged++
		}
		return
	}
	var m rtp.ExtensionMap
	m[rtp.MID], m[rtp.TransportSequence] = idMID, idTransport
	var h rtp.Header
	if !h.Parse(data, &m) {
		panic("a subscriber was sent a malformed packet")
	}
	if v, ok := h.Value(data, rtp.TransportSequence); ok {
		seq := binary.BigEndian.Uint16(v)
		if s.transports[seq] {
			s.twice++
		}
		s.transports[seq] = true
		delete(s.transports, seq-30000)
	}
	payload := data[h.HeaderLen:]
	r, seq, resent := &s.Video, h.Sequence, false
	switch h.SSRC {
	case s.Video.spec.SSRC:
	case s.Audio.spec.SSRC:
		r = &s.Audio
	case s.Video.spec.RTXSSRC:
		seq, resent = binary.BigEndian.Uint16(payload), true
		payload = payload[2:]
	default:
		panic("a subscriber was sent an unknown SSRC")
	}
	if v, ok := h.Value(data, rtp.MID); !ok || string(v) != r.spec.MID {
		panic("a subscriber was sent a wrong MID")
	}
	if resent {
		r.Resent++
	}
	r.take(s.world.now, seq, &h, payload)
}

func (r *Reception) take(now port.Time, seq uint16, h *rtp.Header, payload []byte) {
	ext := r.unwrap.Unwrap(seq)
	if !r.begun {
		r.begun, r.Low, r.High = true, ext, ext
	}
	for e := r.High + 1; e < ext; e++ {
		r.missing[e] = now - nackInterval // a first chance to come by itself
	}
	for e := ext + 1; e < r.Low; e++ {
		r.missing[e] = now - nackInterval
	}
	r.Low, r.High = min(r.Low, ext), max(r.High, ext)
	delete(r.missing, ext)
	if _, ok := r.Packets[ext]; ok {
		r.Twice++
		return
	}
	p := Packet{Timestamp: h.Timestamp, At: now}
	if len(payload) >= 2+stampLen {
		p.Stamp = binary.BigEndian.Uint64(payload[2:])
		p.Key = payload[0] == 0x10 && payload[1] == 0
	}
	r.Packets[ext] = p
}

const (
	nackInterval = 20 * port.Millisecond
	nackRetry    = 60 * port.Millisecond
)

// nack asks for what is missing, oldest first.
func (s *Subscriber) nack() {
	if s.Mute {
		return
	}
	now := s.world.now
	b := make([]byte, 0, 1400)
	for _, r := range [...]*Reception{&s.Audio, &s.Video} {
		var seqs []uint16
		for e := r.Low; e < r.High && len(r.missing) > 0 && len(seqs) < 100; e++ {
			if at, ok := r.missing[e]; ok && now-at >= nackRetry {
				r.missing[e] = now
				seqs = append(seqs, uint16(e))
			}
		}
		if len(seqs) > 0 {
			b = rtcp.AppendNACK(b, 1, r.spec.SSRC, seqs)
		}
	}
	if len(b) > 0 {
		s.world.up(s, s.opener.SealRTCP(b))
	}
	s.world.at(now+nackInterval, s.nack)
}

// AskKeyframe sends a PLI.
func (s *Subscriber) AskKeyframe() {
	s.world.up(s, s.opener.SealRTCP(rtcp.AppendPLI(make([]byte, 0, 64), 1, s.Video.spec.SSRC)))
}

// Gaps are the extended sequence numbers, from the first keyframe (of video) or packet on and up to
// high, that never came, and Breaks the places where the content is not what follows.
func (r *Reception) Gaps(high uint64, video bool) (from uint64, gaps, breaks []uint64) {
	from = r.Low
	if video {
		for from = r.Low; from <= r.High && !r.Packets[from].Key; from++ {
		}
	}
	last := uint64(0)
	for e := from; e <= high; e++ {
		p, ok := r.Packets[e]
		if !ok {
			gaps = append(gaps, e)
			last = 0
			continue
		}
		if p.Stamp == 0 {
			continue
		}
		if last != 0 && p.Stamp != last+1 {
			breaks = append(breaks, e)
		}
		last = p.Stamp
	}
	return from, gaps, breaks
}
