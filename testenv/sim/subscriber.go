package sim

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"

	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
	"ringcast/engine/srtp"
)

// A Subscriber receives, asks again for missing packets, and keeps all that came.
type Subscriber struct {
	agent
	opener *srtp.Opener
	Video  Reception
	Audio  Reception
	// Reports counts sender reports, Forged packets that could not be opened.
	Reports, Forged int
	// transports are the transport-wide sequence numbers seen, unwrapped, to check that none comes
	// twice.
	transports map[uint16]uint64
	transport  rtp.Unwrapper
	twice      int
	// Mute stops the NACKs.
	Mute bool
	// gone stops the reports.
	gone bool
	// last is the time of the last media.
	last port.Time
	// Browser is nil for a viewer without manners, way for one without a link.
	Browser *Browser
	way     *Way
}

// Reception is a subscriber's record of one track.
type Reception struct {
	spec *rtp.Track
	// Reports are the sender reports in the order in which they came.
	Reports []Report
	// unwrap of the media's and the retransmissions' numbering
	unwrap rtp.Unwrapper
	begun  bool
	// Low and High are the extended sequence numbers seen; Packets is by number from Low on.
	Low, High uint64
	Packets   map[uint64]Packet
	Resent    int
	Twice     int
	Padding   int // of the retransmissions' SSRC
	missing   map[uint64]gap
	// resends unwraps the numbering of retransmissions, lastResend is the highest.
	resends    rtp.Unwrapper
	lastResend uint64
}

// A Report is a sender report with the time at which it came.
type Report struct {
	At port.Time
	rtcp.SenderInfo
}

// gap is a packet that did not come yet.
type gap struct {
	asked port.Time // last
	tries int
}

// Packet is one received packet.
type Packet struct {
	Stamp     uint64 // 0 for padding
	Start     bool   // of a picture
	Key       bool   // of a keyframe's first packet
	Marker    bool   // the last of a picture
	Sets      bool   // parameter sets, without a stamp
	Timestamp uint32
	// Picture and TL0 are VP8's, where there are any.
	Pictured bool
	Picture  uint16
	TL0      uint8
	At       port.Time
}

// A Viewer has a subscriber's choices.
type Viewer struct {
	Stream bus.StreamID
	// RTX gives retransmissions their own SSRC.
	RTX     bool
	Profile srtp.Profile
	Codecs  []rtp.Codec // VP8 if there are none
	// Plain are the codecs without retransmissions, although the viewer has RTX.
	Plain []rtp.Codec
	// Manner, if set, makes the viewer behave as a browser. It has an IP address of its own then, or Home.
	Manner *Manner
	Home   netip.Addr
}

// Watch adds a subscriber.
func (w *World) Watch(v Viewer) *Subscriber {
	if len(v.Codecs) == 0 {
		v.Codecs = []rtp.Codec{rtp.VP8}
	}
	video, audio := videoTrack(v.RTX, v.RTX, v.Codecs...), audioTrack()
	for i := range video.Formats {
		if f := &video.Formats[i]; slices.Contains(v.Plain, f.Codec) {
			f.RTX = 0
		}
	}
	n := uint32(len(w.peers)) * 16
	video.SSRC, audio.SSRC = 0x80000000+n, 0x80000002+n
	if v.RTX {
		video.RTXSSRC = 0x80000001 + n
	}
	// The order of the lines is the peer's choice.
	tracks := []rtp.Track{audio, video}
	if n%32 == 0 {
		tracks = []rtp.Track{video, audio}
	}
	spec, keys := w.control.open(api.Subscriber, v.Stream, tracks, v.Profile)
	opener, err := srtp.NewOpener(keys)
	if err != nil {
		panic(err)
	}
	s := &Subscriber{opener: opener, transports: make(map[uint16]uint64)}
	for i := range tracks {
		r := &s.Video
		if tracks[i].Kind == rtp.Audio {
			r = &s.Audio
		}
		*r = Reception{spec: &tracks[i], Packets: make(map[uint64]Packet), missing: make(map[uint64]gap)}
	}
	home := w.home
	if v.Manner != nil {
		w.home = v.Home
		if !v.Home.IsValid() {
			w.home = netip.AddrFrom4([4]byte{198, 19, byte(spec.ID >> 8), byte(spec.ID)})
		}
	}
	s.start(w, s, spec)
	w.home = home
	w.at(w.clock.Now()+port.Time(s.rand.Int64N(int64(nackInterval))), s.nack)
	if v.Manner != nil {
		s.Browser = newBrowser(s, v.Manner)
	}
	return s
}

func (s *Subscriber) receive(data []byte) {
	if is, _ := s.answered(data); is {
		return
	}
	if rtp.IsRTCP(data) {
		s.receiveRTCP(data)
	} else {
		s.receiveRTP(data)
	}
}

func (s *Subscriber) receiveRTCP(data []byte) {
	data, result := s.opener.OpenRTCP(data)
	if result != srtp.OpenOK {
		if result != srtp.OpenReplayed {
			s.Forged++
		}
		return
	}
	var x rtcp.Packet
	for r := rtcp.NewReader(data); r.Next(&x); {
		if info, ok := x.SenderInfo(); ok {
			s.Reports++
			r := &s.Video
			if x.SSRC == s.Audio.spec.SSRC {
				r = &s.Audio
			}
			r.Reports = append(r.Reports, Report{s.world.clock.Now(), info})
		}
	}
}

func (s *Subscriber) receiveRTP(data []byte) {
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
		ext := s.transport.Unwrap(seq)
		if s.transports[seq] == ext {
			s.twice++
		}
		s.transports[seq] = ext
	}
	s.Browser.numbered(&h, data)
	payload := data[h.HeaderLen:]
	r, seq, resent := &s.Video, h.Sequence, false
	switch h.SSRC {
	case s.Video.spec.SSRC:
	case s.Audio.spec.SSRC:
		r = &s.Audio
	case s.Video.spec.RTXSSRC:
		r.lastResend = max(r.lastResend, r.resends.Unwrap(seq))
		if h.Padding && int(data[len(data)-1]) == len(payload) {
			r.Padding++
			return
		}
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
	s.last = s.world.clock.Now()
	ext := r.take(s.world.clock.Now(), seq, &h, payload)
	s.Browser.received(r, ext, len(data), resent)
}

// take records a packet and returns its extended number.
func (r *Reception) take(now port.Time, seq uint16, h *rtp.Header, payload []byte) uint64 {
	ext := r.unwrap.Unwrap(seq)
	if !r.begun {
		r.begun, r.Low, r.High = true, ext, ext
	}
	for e := r.High + 1; e < ext; e++ {
		r.missing[e] = gap{asked: now - nackInterval} // a first chance to come by itself
	}
	for e := ext + 1; e < r.Low; e++ {
		r.missing[e] = gap{asked: now - nackInterval}
	}
	r.Low, r.High = min(r.Low, ext), max(r.High, ext)
	delete(r.missing, ext)
	if _, ok := r.Packets[ext]; ok {
		r.Twice++
		return ext
	}
	p := Packet{Timestamp: h.Timestamp, At: now, Marker: h.Marker}
	if len(payload) > 0 {
		p.parse(h.PayloadType, payload)
	}
	r.Packets[ext] = p
	return ext
}

// parse reads the payloads of Publisher.payload and its like.
func (p *Packet) parse(pt uint8, b []byte) {
	at := 2
	switch {
	case pt == typeOpus:
		p.Start = true
	case (pt == typeH264 || pt == typeH264RTX) && b[0] == parameterSets[0]:
		p.Sets = true
		return
	case (pt == typeH264 || pt == typeH264RTX) && b[0]&0x1F == 28: // FU-A
		at = 3
		p.Start = b[1]&0x80 != 0
		p.Key = p.Start && b[1]&0x1F == 5
	case pt == typeH264 || pt == typeH264RTX:
		p.Start = b[1] == 0x80
		p.Key = p.Start && b[0] == 0x65
	case b[0]&0x80 != 0:
		at = 7
		p.Pictured, p.Picture, p.TL0 = true, binary.BigEndian.Uint16(b[2:])&0x7FFF, b[4]
		fallthrough
	default:
		p.Start = b[0]&0x10 != 0
		if p.Key = p.Start && b[at-1] == 0; p.Key {
			at += vp8KeyLen
		}
	}
	p.Stamp = binary.BigEndian.Uint64(b[at:])
}

// layerOf returns the layer of a packet.
func (p *Packet) layerOf() int { return int(p.Stamp >> 32 & 0xFF) }

// vp8KeyLen is the rest of a keyframe's header, see Publisher.payload.
const vp8KeyLen = 9

const (
	nackInterval = 20 * port.Millisecond
	nackRetry    = 60 * port.Millisecond
	nackTries    = 50 // three seconds: then it will not come any more
)

// nack asks for missing packets, oldest first.
func (s *Subscriber) nack() {
	if s.Mute {
		return
	}
	now := s.world.clock.Now()
	first, retry, tries := nackRetry, nackRetry, nackTries
	if s.Browser != nil {
		first, retry, tries = nackInterval, browserRetry, browserTries
	}
	b := make([]byte, 0, 1400)
	for _, r := range [...]*Reception{&s.Audio, &s.Video} {
		var seqs []uint16
		for _, e := range slices.Sorted(maps.Keys(r.missing)) {
			x := r.missing[e]
			wait := retry
			if x.tries == 0 {
				wait = first
			}
			if len(seqs) == 100 || now-x.asked < wait {
				continue
			}
			seqs = append(seqs, uint16(e))
			if x.tries++; x.tries == tries {
				delete(r.missing, e)
				continue
			}
			x.asked = now
			r.missing[e] = x
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

// ReportEvery sends empty receiver reports from now on.
func (s *Subscriber) ReportEvery(interval port.Time) {
	if s.gone {
		return
	}
	s.Report()
	s.world.at(s.world.clock.Now()+interval, func() { s.ReportEvery(interval) })
}

// AskKeyframe sends a PLI.
func (s *Subscriber) AskKeyframe() {
	s.world.up(s, s.opener.SealRTCP(rtcp.AppendPLI(make([]byte, 0, 64), 1, s.Video.spec.SSRC)))
}

// AskAgain sends a NACK for packets of the video, wanted or not.
func (s *Subscriber) AskAgain(seqs []uint16) {
	s.world.up(s, s.opener.SealRTCP(rtcp.AppendNACK(make([]byte, 0, 1400), 1, s.Video.spec.SSRC, seqs)))
}

// Report sends an empty receiver report.
func (s *Subscriber) Report() {
	s.world.up(s, s.opener.SealRTCP(rtcp.AppendReceiverReport(make([]byte, 0, 64), 1, nil)))
}

// Gaps returns the extended sequence numbers that never came, and the breaks: places where the content does not follow.
// It looks from the first keyframe (of video) or packet on and up to high.
func (r *Reception) Gaps(high uint64) (from uint64, gaps, breaks []uint64) {
	v := r.Judge(high)
	return v.From, v.Gaps, append(v.Cuts, v.Breaks...)
}

// A Verdict is a track as its receiver saw it, from its first keyframe on. All but From and Pause are extended sequence
// numbers.
type Verdict struct {
	From uint64
	// Gaps never came.
	Gaps []uint64
	// Cuts are where the content goes on elsewhere, properly: with a keyframe, if it is video.
	Cuts []uint64
	// Breaks are where it goes on elsewhere, and not with a keyframe.
	Breaks []uint64
	// Backwards are where a new picture's timestamp is not after the last one's, or differs
	// within a picture.
	Backwards []uint64
	// Pictures are where the picture ID or TL0PICIDX is not the next.
	Pictures []uint64
	// Pause is the longest between two packets.
	Pause port.Time
}

// Judge looks at all packets from the first keyframe (of video) or packet on and up to high.
func (r *Reception) Judge(high uint64) (v Verdict) {
	video := r.spec.Kind == rtp.Video
	v.From = r.Low
	if video {
		for v.From <= r.High && !r.Packets[v.From].Key {
			v.From++
		}
	}
	var last Packet
	whole := false // nothing is missing since last
	latest := port.Time(0)
	for e := v.From; e <= high; e++ {
		p, ok := r.Packets[e]
		if !ok {
			v.Gaps = append(v.Gaps, e)
			whole = false
			continue
		}
		if latest > 0 {
			v.Pause = max(v.Pause, p.At-latest)
		}
		latest = max(latest, p.At)
		if p.Stamp == 0 {
			continue
		}
		if last.Stamp != 0 {
			v.compare(e, &last, &p, video, whole)
		}
		last, whole = p, true
	}
	return v
}

func (v *Verdict) compare(e uint64, last, p *Packet, video, whole bool) {
	if whole && p.Stamp != last.Stamp+1 {
		if video && !p.Key {
			v.Breaks = append(v.Breaks, e)
		} else {
			v.Cuts = append(v.Cuts, e)
		}
	}
	switch d := int32(p.Timestamp - last.Timestamp); {
	case p.Start && d <= 0, !p.Start && whole && d != 0, d < 0:
		v.Backwards = append(v.Backwards, e)
	}
	if !whole || !p.Pictured || !last.Pictured {
		return
	}
	step := uint16(0)
	if p.Start {
		step = 1
	}
	if p.Picture != (last.Picture+step)&0x7FFF || p.TL0 != last.TL0+uint8(step) {
		v.Pictures = append(v.Pictures, e)
	}
}
