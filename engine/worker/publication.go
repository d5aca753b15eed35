package worker

import (
	"encoding/binary"

	"github.com/pion/interceptor/pkg/twcc"

	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
	"ringcast/engine/srtp"
)

const (
	// maxSources bounds the SSRCs that a publisher may use in one session.
	maxSources = 64
	// lossKeyframeInterval is the least time between two keyframe requests for a layer, joinKeyframeInterval
	// that between two for the sake of joiners alone: a steady crowd must not turn the stream
	// into keyframes.
	lossKeyframeInterval = 500 * port.Millisecond
	joinKeyframeInterval = port.Second
	// feedbackInterval is the pause between transport-wide feedbacks; libwebrtc's own receivers
	// use 50 to 250 ms.
	feedbackInterval = 50 * port.Millisecond
	// clockInterval is the least time between two clocks of a layer that followers are told.
	clockInterval = 200 * port.Millisecond
	// sourceSilence is longer than packets overtake each other: what a past source sends within it of
	// its own last packet, and of its successor's, is late.
	sourceSilence = 200 * port.Millisecond
	// layerSilence is how long a simulcast layer may be silent and still count as active.
	layerSilence = port.Second
)

// A stream is what is published under one name, as one worker sees it: the present publication and
// this worker's subscribers.
type stream struct {
	id   bus.StreamID
	pub  *publication // nil while nobody publishes
	subs []*subscriber

	// The walk over the subscribers: walk is who comes next, left how many are still to be
	// visited since the last news. queued and next are its place in the worker's queue.
	walk, left int
	queued     bool
	next       *stream
	served     int // frames of its present turn

	shapes []*shape
}

// A publication is one publisher's time on a stream. Its owner writes the layers' histories from
// what the publisher sends, other workers with subscribers write their replicas from the bus.
type publication struct {
	stream     *stream
	generation bus.Generation
	owner      int
	spec       *bus.Session
	tracks     []track

	// Only at the owner:
	session   *session
	followers []*follower
	offset    int64 // publisher's wall clock minus ours, fixed by its first sender report
	hasOffset bool

	// Only at a follower:
	following bool
}

// A track is one media line of a publication.
type track struct {
	spec   *rtp.Track
	layers []*layer
	// best is the layer that subscribers are to follow; nil before the first packet.
	best *layer
	// fed is the layer that the owner feeds, at a follower.
	fed     *layer
	formats [128]*rtp.Format // by payload type, of media and of retransmissions
	// active is the payload type sent now, -1 before the first packet; told is what the
	// controller knows of.
	active, told int
}

// A layer is one encoding of a track with its history.
type layer struct {
	pub     *publication
	track   uint8
	index   uint8
	rid     string
	history history
	clock   bus.Clock
	request request
	// users is how many subscriptions' present runs are on this layer.
	users int
	// emitted is the index behind the newest packet that some subscriber was sent.
	emitted uint64
	// evened is the index up to which it is settled which packets are padded.
	evened uint64
	// epoch counts the breaks in the layer's numbering. Runs do not reach across one.
	epoch uint32

	// Only at the owner:
	receiver  *receiver
	last      port.Time // arrival of the newest packet
	bytes     uint64    // since the last housekeeping
	rate      uint64    // smoothed, in bytes a second
	firs      uint8     // command number of the last FIR
	lastTaken port.Time // when rate was taken
	clockTold port.Time // when followers were told the clock

	// Only at a follower: the next index of the owner's history that the feed should bring, and what it
	// failed to bring.
	feedNext uint64
	fed      bool
	holes    []hole
}

// A request is the state of asking for keyframes of a layer.
type request struct {
	last    port.Time // when one was last asked for
	asked   bool
	waiting bool // somebody waits
	due     port.Time
}

// track returns the publication's track of a kind.
func (p *publication) track(k rtp.Kind) *track {
	for i := range p.tracks {
		if p.tracks[i].spec.Kind == k {
			return &p.tracks[i]
		}
	}
	return nil
}

func (w *Worker) stream(id bus.StreamID) *stream {
	st := w.streams[id]
	if st == nil {
		st = &stream{id: id}
		w.streams[id] = st
	}
	return st
}

// openPublication handles PublicationOpened.
func (w *Worker) openPublication(now port.Time, m *bus.Message) {
	w.generation = max(w.generation, m.Generation)
	st := w.stream(m.Stream)
	if st.pub != nil {
		if m.Generation <= st.pub.generation {
			return
		}
		w.dropPublication(st)
	}
	p := &publication{stream: st, generation: m.Generation, owner: m.Worker, spec: m.Session}
	p.tracks = make([]track, len(m.Session.Tracks))
	for i := range p.tracks {
		t := &p.tracks[i]
		t.spec = &m.Session.Tracks[i]
		t.active, t.told = -1, -1
		for j := range t.spec.Formats {
			f := &t.spec.Formats[j]
			t.formats[f.PayloadType&127] = f
			if f.RTX != 0 {
				t.formats[f.RTX&127] = f
			}
		}
		for j, e := range t.spec.Encodings {
			l := &layer{pub: p, track: uint8(i), index: uint8(j), rid: e.RID}
			l.history = newHistory(historyCapAudio)
			if t.spec.Kind == rtp.Video {
				l.history = newHistory(historyCapVideo)
			}
			t.layers = append(t.layers, l)
		}
	}
	st.pub = p
	if p.owner == w.cfg.Index {
		if s := w.sessions[m.Session.ID]; s != nil && s.pub != nil {
			w.attach(s, p)
			w.replayEarly(now, s)
		}
	} else if len(st.subs) > 0 {
		w.follow(p)
	}
	w.admit(p)
}

// closePublication handles PublicationClosed.
func (w *Worker) closePublication(m *bus.Message) {
	if st := w.streams[m.Stream]; st != nil && st.pub != nil && st.pub.generation == m.Generation {
		w.dropPublication(st)
		w.release(st)
	}
}

func (w *Worker) dropPublication(st *stream) {
	p := st.pub
	st.pub = nil
	for i := range p.tracks {
		for _, l := range p.tracks[i].layers {
			l.history.release()
		}
	}
	if p.session != nil && p.session.pub != nil {
		p.session.pub.publication = nil
	}
	for i, o := range w.owned {
		if o == p {
			w.owned = append(w.owned[:i], w.owned[i+1:]...)
			break
		}
	}
}

// release forgets a stream that has neither a publication nor a subscriber.
func (w *Worker) release(st *stream) {
	if st.pub == nil && len(st.subs) == 0 && !st.queued {
		delete(w.streams, st.id)
	}
}

// A publisher is the owner's state of a session that publishes.
type publisher struct {
	opener      *srtp.Opener
	publication *publication // nil before it was opened and after it was replaced
	extensions  rtp.ExtensionMap
	sources     []source
	recorder    *twcc.Recorder
	ssrc        uint32 // ours, in reports
	// checked is when STUN or SRTCP last came, told the session's heard that the controller
	// knows of.
	checked, told port.Time
	feedbackDue   bool
}

// A source is what an SSRC of a publisher turned out to be. At most one of a layer's media sources and one
// of its retransmissions' is present.
type source struct {
	ssrc  uint32
	layer *layer
	rtx   bool
	// past is set when the layer went on under another SSRC: what comes late of this one has
	// another numbering and another clock.
	past  bool
	heard port.Time // when the source last sent
}

func newPublisher(w *Worker, o *srtp.Opener) *publisher {
	p := &publisher{opener: o, ssrc: uint32(w.cfg.Rand())}
	p.recorder = twcc.NewRecorder(p.ssrc)
	return p
}

// attach ties a publisher's session to its publication and binds the SSRCs that were announced.
func (w *Worker) attach(s *session, p *publication) {
	p.session = s
	s.pub.publication = p
	w.owned = append(w.owned, p)
	for i := range p.tracks {
		t := &p.tracks[i]
		// With BUNDLE a number means the same extension on every media line (RFC 8843 section 9).
		for e, id := range t.spec.Extensions {
			if id != 0 {
				s.pub.extensions[e] = id
			}
		}
		for j, e := range t.spec.Encodings {
			l := t.layers[j]
			l.receiver = newReceiver(t.spec.Formats[0].Codec.ClockRate())
			if e.SSRC != 0 {
				s.pub.bind(e.SSRC, l, false)
			}
			if e.RTXSSRC != 0 {
				s.pub.bind(e.RTXSSRC, l, true)
			}
		}
	}
}

func newReceiver(clockRate uint32) *receiver {
	return &receiver{clockRate: clockRate, missing: make([]missing, 0, maxGap)}
}

func (p *publisher) bind(ssrc uint32, l *layer, rtx bool) *source {
	if len(p.sources) == maxSources {
		return nil
	}
	p.sources = append(p.sources, source{ssrc: ssrc, layer: l, rtx: rtx})
	src := &p.sources[len(p.sources)-1]
	p.present(src)
	return src
}

// present makes a source its layer's, and the one that was into a past one.
func (p *publisher) present(src *source) {
	for i := range p.sources {
		if x := &p.sources[i]; x.layer == src.layer && x.rtx == src.rtx {
			x.past = true
		}
	}
	src.past = false
	r := src.layer.receiver
	if src.rtx {
		r.rtx = src.ssrc
		return
	}
	if r.ssrc != 0 {
		// The layer goes on under another SSRC, with another numbering and another clock.
		r.restart()
		src.layer.restart()
	}
	r.ssrc = src.ssrc
}

// comesBack reports whether a past source is to be its layer's again, because it sends after a silence or goes
// on while the present one is silent. Two that send at once do not take turns.
func (p *publisher) comesBack(now port.Time, past *source) bool {
	if now-past.heard >= sourceSilence {
		return true
	}
	for i := range p.sources {
		if x := &p.sources[i]; x.layer == past.layer && x.rtx == past.rtx && !x.past {
			return now-x.heard >= sourceSilence
		}
	}
	return true
}

func (p *publisher) source(ssrc uint32) *source {
	for i := range p.sources {
		if p.sources[i].ssrc == ssrc {
			return &p.sources[i]
		}
	}
	return nil
}

// handleRTP takes in a publisher's RTP: opened once, recorded once.
func (w *Worker) handleRTP(now port.Time, s *session, in *port.Inbound) {
	p := s.pub
	data, result := p.opener.OpenRTP(in.Data)
	if result != srtp.OpenOK {
		w.dropUnopened(result)
		return
	}
	w.authenticated(now, s)
	w.count(ReceivedRTP)
	w.add(ReceivedRTPBytes, uint64(len(in.Data)))
	h := &w.header
	if !h.Parse(data, &p.extensions) {
		w.drop(DropRTP)
		return
	}
	if v, ok := h.Value(data, rtp.TransportSequence); ok && len(v) == 2 {
		p.recorder.Record(h.SSRC, binary.BigEndian.Uint16(v), int64(in.Arrival/port.Microsecond))
		if !p.feedbackDue {
			p.feedbackDue = true
			w.deadlines.set(s, feedbackDeadline, now+feedbackInterval)
		}
	}
	src := p.source(h.SSRC)
	if src == nil {
		if src = w.identify(p, h, data); src == nil {
			return
		}
	}
	back := src.past && p.comesBack(now, src)
	src.heard = now
	if back {
		p.present(src)
	} else if src.past {
		w.drop(DropLate)
		return
	}
	payload := data[h.HeaderLen:]
	if h.Padding {
		n, ok := h.PaddingLen(data)
		if !ok {
			w.drop(DropRTP)
			return
		}
		payload = payload[:len(payload)-n]
	}
	pt, seq := h.PayloadType, h.Sequence
	if src.rtx {
		if len(payload) == 0 {
			return // a probe of bandwidth: it only wants transport-wide feedback
		}
		if len(payload) < 2 {
			w.drop(DropRTX)
			return
		}
		w.count(ReceivedRTX)
		// RFC 4588 section 4: the original sequence number, then the original payload.
		seq, payload = binary.BigEndian.Uint16(payload), payload[2:]
		f := p.publication.tracks[src.layer.track].formats[pt]
		if f == nil || f.RTX != pt {
			w.drop(DropRTX)
			return
		}
		if !src.layer.receiver.past(seq) {
			w.drop(DropRTX)
			return
		}
		pt = f.PayloadType
	}
	w.record(now, s, src, h, data, pt, seq, payload, in.Arrival)
}

func (w *Worker) dropUnopened(r srtp.Result) {
	switch r {
	case srtp.OpenReplayed:
		w.drop(DropReplay)
	case srtp.OpenForged:
		w.drop(DropSRTPAuth)
	case srtp.OpenTooMany:
		w.drop(DropSSRCs)
	default:
		w.drop(DropRTP)
	}
}

// identify finds out what a new SSRC is: by its RID or repaired RID (simulcast), else by MID, else by
// a payload type that only one track has.
func (w *Worker) identify(p *publisher, h *rtp.Header, data []byte) *source {
	pub := p.publication
	t := pub.trackByMID(h.Value(data, rtp.MID))
	if t == nil {
		t = pub.trackByFormat(h.PayloadType)
	}
	if t == nil {
		w.drop(DropUnbound)
		return nil
	}
	f := t.formats[h.PayloadType]
	if f == nil {
		w.drop(DropPayloadType)
		return nil
	}
	rtx := f.RTX == h.PayloadType && f.RTX != 0
	var l *layer
	if rid, ok := h.Value(data, rtp.RID); ok && !rtx {
		l = t.layerByRID(rid)
	} else if rid, ok := h.Value(data, rtp.RepairedRID); ok && rtx {
		l = t.layerByRID(rid)
	} else if len(t.layers) == 1 {
		l = t.layers[0]
	}
	if l == nil {
		w.drop(DropUnbound)
		return nil
	}
	src := p.bind(h.SSRC, l, rtx)
	if src == nil {
		w.drop(DropSSRCs)
	}
	return src
}

func (p *publication) trackByMID(mid []byte, ok bool) *track {
	if !ok {
		return nil
	}
	for i := range p.tracks {
		if p.tracks[i].spec.MID == string(mid) {
			return &p.tracks[i]
		}
	}
	return nil
}

func (p *publication) trackByFormat(pt uint8) *track {
	var found *track
	for i := range p.tracks {
		if p.tracks[i].formats[pt] != nil {
			if found != nil {
				return nil
			}
			found = &p.tracks[i]
		}
	}
	return found
}

func (t *track) layerByRID(rid []byte) *layer {
	for _, l := range t.layers {
		if l.rid == string(rid) {
			return l
		}
	}
	return nil
}

// record puts one packet into its layer's history and wakes who waits for it. h and data are of the
// packet as it came; pt, seq and payload are those of the original where it is a retransmission.
func (w *Worker) record(now port.Time, s *session, src *source, h *rtp.Header, data []byte, pt uint8, seq uint16, payload []byte, arrival port.Time) {
	l := src.layer
	t := &l.pub.tracks[l.track]
	f := t.formats[pt]
	if f == nil || f.PayloadType != pt {
		w.drop(DropPayloadType)
		return
	}
	r := l.receiver
	missed := len(r.missing)
	ext, a := r.accept(seq, now, f.Feedback&rtp.NACK != 0)
	switch took := a == fresh || a == restarted; {
	case took && src.rtx:
		r.received-- // what a retransmission brought was lost all the same
	case took && ext == r.highest:
		r.measure(h.Timestamp, arrival)
	}
	switch a {
	case duplicate:
		w.count(ReceivedDuplicates)
		return
	case tooOld:
		w.drop(DropLate)
		return
	case restarted:
		l.restart()
		w.requestKeyframe(now, l, false)
	}
	if n := len(r.missing); n > missed && r.missing[n-1].at < s.timers.at[nackDeadline] {
		w.deadlines.set(s, nackDeadline, r.missing[n-1].at)
	}
	if len(payload) == 0 && r.skip(ext) {
		return // padding
	}
	number, ok := r.number(ext)
	if !ok {
		w.drop(DropLate)
		return
	}
	packet := bus.Packet{Number: number, Timestamp: h.Timestamp, Arrival: arrival, PayloadType: pt}
	if h.Marker {
		packet.Flags |= bus.Marker
	}
	if t.spec.Kind == rtp.Video && rtp.StartsKeyframe(f.Codec, payload) {
		packet.Flags |= bus.KeyframeStart
		if k := &l.history.key; !k.valid || k.timestamp != h.Timestamp {
			w.count(Keyframes)
		}
		l.request.waiting = false
	}
	if p, ok := rtp.ParsePictureID(f.Codec, payload); ok {
		packet.Flags |= bus.HasPicture
		packet.Picture, packet.TL0 = p.ID, p.TL0
	}
	var ext8 [maxExtensions]byte
	exts := forwardedExtensions(ext8[:0], h, data)
	if rtp.HeaderLen+len(payload)+maxTag > maxSent {
		w.drop(DropTooLong)
		return
	}
	l.history.append(&packet, exts, payload)
	l.last = arrival
	l.bytes += uint64(len(payload))
	if t.best == nil {
		t.best = l
	}
	first := t.active < 0
	t.active = int(pt)
	if first {
		w.tellActive(l.pub, t)
	}
	// A layer that nobody is sent, of a simulcast, wakes nobody.
	if l == t.best || l.users > 0 || len(l.pub.followers) > 0 {
		w.wake(l.pub.stream)
	}
}

// tellActive tells the controller which payload type a track carries. Changes are told at housekeeping,
// so that a publisher that alternates floods nobody.
func (w *Worker) tellActive(p *publication, t *track) {
	if t.active == t.told {
		return
	}
	t.told = t.active
	for i := range p.tracks {
		if &p.tracks[i] == t {
			w.send(bus.Message{
				Kind: bus.FormatActive, To: bus.ControllerAddress, Stream: p.stream.id,
				Generation: p.generation, Track: uint8(i), PayloadType: uint8(t.active),
			})
		}
	}
}

// restart drops what came before a break in the layer's numbering: subscribers start a new run at the
// next keyframe.
func (l *layer) restart() {
	l.epoch++
	l.history.release()
	l.clock = bus.Clock{}
}

// restart continues the numbering behind what there was, for a layer whose SSRC changed.
func (r *receiver) restart() {
	next, _ := r.number(r.highest + 1)
	ssrc, rtx, rate, miss := r.ssrc, r.rtx, r.clockRate, r.missing[:0]
	*r = receiver{ssrc: ssrc, rtx: rtx, clockRate: rate, missing: miss, offset: next}
}

// requestKeyframe asks the publisher for a keyframe of a layer, at once or as soon as the limits allow. join
// tells that it is for somebody who starts, and not for a loss.
func (w *Worker) requestKeyframe(now port.Time, l *layer, join bool) {
	interval := lossKeyframeInterval
	if join {
		interval = joinKeyframeInterval
	}
	q := &l.request
	if l.pub.owner != w.cfg.Index {
		// The owner coalesces for all; here only the bus is spared.
		if !q.asked || now-q.last >= lossKeyframeInterval {
			q.asked, q.last = true, now
			w.send(bus.Message{
				Kind: bus.KeyframeWanted, To: l.pub.owner, Stream: l.pub.stream.id,
				Generation: l.pub.generation, Track: l.track, Layer: l.index, Join: join,
			})
		}
		return
	}
	s := l.pub.session
	if s == nil {
		return
	}
	at := now
	if q.asked {
		at = max(now, q.last+interval)
	}
	if !q.waiting || at < q.due {
		q.waiting, q.due = true, at
	}
	if at <= now {
		w.want(s, wantPLI)
	} else if at < s.timers.at[keyframeDeadline] {
		w.deadlines.set(s, keyframeDeadline, at)
	}
}

// askHeldBack sends the requests that became due.
func (w *Worker) askHeldBack(now port.Time, s *session) {
	pub := s.pub.publication
	if pub == nil {
		return
	}
	next := port.Never
	for i := range pub.tracks {
		for _, l := range pub.tracks[i].layers {
			switch q := &l.request; {
			case !q.waiting:
			case q.due <= now:
				w.want(s, wantPLI)
			default:
				next = min(next, q.due)
			}
		}
	}
	w.deadlines.set(s, keyframeDeadline, next)
}

// housekeep takes the layers' rates and chooses the best of each track: the active layer with the
// highest bitrate, kept until another is a quarter above it or it falls silent.
func (p *publication) housekeep(now port.Time) {
	for i := range p.tracks {
		t := &p.tracks[i]
		for _, l := range t.layers {
			if span := now - l.lastTaken; l.lastTaken > 0 && span > 0 {
				l.rate = (l.rate + uint64(float64(l.bytes)/span.Seconds())) / 2
			}
			l.bytes, l.lastTaken = 0, now
		}
		best := t.best
		for _, l := range t.layers {
			if l.history.next == 0 || now-l.last > layerSilence {
				continue
			}
			if best == nil || now-best.last > layerSilence || l.rate > best.rate*5/4 {
				best = l
			}
		}
		t.best = best
	}
}

// tidy lets the histories shrink, also those of a follower; p may be nil.
func (p *publication) tidy(now port.Time) {
	if p == nil {
		return
	}
	for i := range p.tracks {
		for _, l := range p.tracks[i].layers {
			l.history.tidy(now)
		}
	}
}
