package watch

import (
	"context"
	"encoding/binary"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"ringcast/cmd/ringbench/internal/report"
	"ringcast/cmd/ringbench/internal/session"
	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
	"ringcast/engine/srtp"
	"ringcast/engine/stun"
	"ringcast/testenv/records"
)

const (
	joinTimeout     = 10 * time.Second // for ICE, and again for DTLS
	firstCheckPause = 50 * time.Millisecond
	checkInterval   = 2500 * time.Millisecond
	consentTimeout  = 30 * time.Second // RFC 7675 section 5.1
	reportInterval  = time.Second
	// A viewer without a keyframe asks for one after firstWish, and then once a wishInterval.
	firstWish    = 500 * time.Millisecond
	wishInterval = time.Second

	events     = 256
	maxCompile = 1200 // bytes of one compound
	maxAsked   = 64   // sequence numbers in one NACK
)

// A loop receives and sends for its viewers on a thread of its own.
type loop struct {
	run      *run
	epoll    int
	mail     mailbox
	receiver *receiver
	hasher   *stun.Hasher
	wheel    wheel
	viewers  []*viewer // by the number that epoll returns for their sockets
	habit    *habit
	out      []byte // to build messages in
	seqs     []uint16
	arrivals []Arrival

	now, wall int64 // at the last wake-up: monotonic and Unix time, in ns
	steady    bool
	quiet     bool // nothing is due any more: the last report is being made
	tally     tally
	published published
}

// published are a loop's figures that others read. waited is the time spent waiting, in ns.
type published struct {
	waited         atomic.Int64
	packets, bytes atomic.Uint64
}

func newLoop(r *run) (*loop, error) {
	l := &loop{
		run: r, receiver: newReceiver(), hasher: stun.NewHasher(),
		tally: newTally(len(r.cfg.Crowd)), habit: &habits[r.cfg.Report],
		out: make([]byte, 0, 2048), seqs: make([]uint16, 0, maxAsked),
	}
	var err error
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, err
	}
	if l.mail.wakeup, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		unix.Close(l.epoll)
		return nil, err
	}
	return l, unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, l.mail.wakeup, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: -1})
}

// spin is the loop's thread; it ends when stop is set.
func (l *loop) spin(stop *atomic.Bool) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var ready [events]unix.EpollEvent
	l.clock()
	l.wheel.done = l.now / tick
	for !stop.Load() {
		before := l.now
		wait := time.Duration(max(0, l.wheel.next()-l.now))
		if l.quiet {
			wait = time.Second
		}
		n := epollWait(l.epoll, ready[:], wait)
		l.clock()
		l.published.waited.Add(l.now - before)
		called := false
		for i := range ready[:n] {
			if e := &ready[i]; e.Fd < 0 {
				called = true
			} else {
				l.receive(l.viewers[e.Fd], int(e.Pad))
			}
		}
		if called { // at last, so that a look counts the packets that have arrived
			l.mail.read()
		}
		l.clock()
		if !l.quiet {
			l.wheel.advance(l.now, l.wake)
		}
		l.published.packets.Store(l.tally.packets)
		l.published.bytes.Store(l.tally.bytes)
		// The wait that is measured begins after the work.
		l.clock()
	}
}

func (l *loop) clock() {
	now := time.Now()
	l.now, l.wall = int64(now.Sub(l.run.base)), now.UnixNano()
}

// add takes over a viewer that has its answer.
func (l *loop) add(v *viewer) {
	v.prepare()
	l.stage(v, report.POST, v.joining.posted-v.joining.began)
	slot := int32(len(l.viewers))
	l.viewers = append(l.viewers, v)
	for i, fd := range v.path.sockets {
		if fd < 0 {
			continue
		}
		if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd,
			&unix.EpollEvent{Events: unix.EPOLLIN, Fd: slot, Pad: int32(i)}); err != nil {
			unix.Close(fd)
			v.path.sockets[i] = -1
		}
	}
	v.deadlines[checkAt] = l.now
	v.deadlines[giveUpAt] = l.now + int64(joinTimeout)
	l.wake(v)
}

// receive reads the datagrams that have arrived at one of a viewer's sockets.
func (l *loop) receive(v *viewer, socket int) {
	if v.phase == ended || v.path.sockets[socket] < 0 {
		return
	}
	n, err := l.receiver.receive(v.path.sockets[socket])
	if err != 0 {
		return // nothing has arrived, or the peer refused an earlier datagram
	}
	for i := range n {
		data, segment, at := l.receiver.message(i)
		if at == 0 {
			at = l.wall
		}
		for len(data) > 0 && v.phase != ended {
			d := data[:min(segment, len(data))]
			data = data[len(d):]
			l.handle(v, socket, d[:len(d):len(d)], at)
		}
	}
}

// handle sorts datagrams by their first byte (RFC 7983).
func (l *loop) handle(v *viewer, socket int, b []byte, at int64) {
	switch {
	case b[0] >= 128:
		switch v.phase {
		case connected:
			l.handleMedia(v, b, at)
		case shaking:
			v.handshake.keep(b, at)
		}
	case b[0] <= 3:
		l.handleSTUN(v, socket, b)
	case b[0] >= 20 && b[0] <= 63:
		l.handleDTLS(v, b)
	}
}

func (l *loop) handleSTUN(v *viewer, socket int, b []byte) {
	from := v.answer.Candidates[socket]
	if v.phase != checking {
		from = v.path.agent.Selected
	}
	reply, answered := v.path.agent.HandleSTUN(l.out[:0], l.hasher, b, from)
	if len(reply) > 0 {
		l.send(v.path.sockets[socket], reply)
	}
	if !answered {
		return
	}
	v.path.answered = l.now
	if v.phase == checking {
		l.nominate(v, socket)
	}
}

// nominate keeps the socket that was answered, closes the others, and begins the handshake.
func (l *loop) nominate(v *viewer, socket int) {
	for i, fd := range v.path.sockets {
		if i != socket && fd >= 0 {
			unix.Close(fd)
			v.path.sockets[i] = -1
		}
	}
	if !v.path.agent.Nominated() {
		l.checkNow(v)
	}
	fd := v.path.sockets[socket]
	v.path.port = localPort(fd)
	v.phase, v.joining.nominated = shaking, l.now
	l.stage(v, report.ICE, l.now-v.joining.posted)
	v.deadlines[checkAt] = l.now + int64(checkInterval)
	v.deadlines[giveUpAt] = l.now + int64(joinTimeout)
	l.reschedule(v)
	// The socket stays open while pion may write. Only the loop closes it, and it waits for the end of the handshake.
	network := records.New(func(b []byte) error {
		_, err := unix.Write(fd, b)
		return err
	})
	v.handshake = &handshake{records: network}
	r := l.run
	r.shaking.Go(func() {
		ctx, cancel := context.WithTimeout(r.ctx, joinTimeout)
		defer cancel()
		keys, err := session.Handshake(ctx, network, r.certificate, v.answer)
		l.mail.do(func() { l.shaken(v, keys, err) })
	})
}

func (l *loop) shaken(v *viewer, keys *srtp.Keys, err error) {
	waiting := v.handshake.early
	v.handshake = nil
	if v.phase != shaking {
		l.closeSockets(v) // the viewer ended in the meantime
		return
	}
	if err == nil {
		v.sealer, err = srtp.NewSealer(keys)
	}
	if err == nil {
		v.opener, err = srtp.NewOpener(keys)
	}
	if err != nil {
		l.fail(v, report.DTLS, reason(err))
		return
	}
	l.clock()
	v.phase = connected
	l.stage(v, report.DTLS, l.now-v.joining.nominated)
	if v.sessions == 0 {
		l.run.joined.Add(1)
	}
	if r := l.run; r.cfg.Reconnect == Asked && !l.quiet {
		r.requests.Go(func() { r.listen(l, v) })
	}
	v.deadlines[giveUpAt] = 0
	l.beginReports(v)
	for _, e := range waiting {
		if v.phase == connected {
			l.handleMedia(v, e.data, e.at)
		}
	}
}

// beginReports sets the times of a viewer's reports. They are spread, so that viewers who joined together do not report
// together.
func (l *loop) beginReports(v *viewer) {
	first := func(interval time.Duration) int64 {
		return l.now + int64(interval) + int64(v.number%100)*int64(interval)/100
	}
	v.deadlines[reportAt] = first(reportInterval)
	if v.negotiated.cc != 0 {
		v.deadlines[feedbackAt] = first(l.habit.feedback)
	}
	if v.video >= 0 {
		v.deadlines[estimateAt] = first(l.habit.estimate)
		v.deadlines[askAt] = l.now + int64(firstWish)
	}
	l.reschedule(v)
}

// alert is the content type of DTLS alerts, one of which ends a session. They are encrypted, so only the type is
// visible.
const alert = 21

func (l *loop) handleDTLS(v *viewer, b []byte) {
	switch {
	case v.phase == shaking:
		v.handshake.records.Put(b)
	case v.phase == connected && b[0] == alert:
		l.lose(v, "the server ended the session")
	}
}

// handleMedia puts RTP into the viewer's bottleneck, if it has one.
func (l *loop) handleMedia(v *viewer, b []byte, at int64) {
	if v.pipe == nil || rtp.IsRTCP(b) {
		l.takeMedia(v, b, at)
		return
	}
	v.pipe.put(b, at)
	l.expect(v)
	l.reschedule(v)
}

// expect sets the time of the next packet that comes through the bottleneck.
func (l *loop) expect(v *viewer) {
	v.deadlines[arriveAt] = 0
	if at := v.pipe.next(); at != 0 {
		v.deadlines[arriveAt] = max(at-l.wall+l.now, 1)
	}
}

// arrive takes in the packets that have come through the bottleneck.
func (l *loop) arrive(v *viewer) {
	for b, at := v.pipe.take(l.wall); b != nil; b, at = v.pipe.take(l.wall) {
		l.takeMedia(v, b, at)
	}
	l.expect(v)
}

func (l *loop) takeMedia(v *viewer, b []byte, at int64) {
	if rtp.IsRTCP(b) {
		if compound, result := v.sealer.OpenRTCP(b); result == srtp.OpenOK && v.handleReport(compound, l.wall) {
			l.lose(v, "the server said BYE")
		}
		return
	}
	var h rtp.Header
	if !h.Parse(b, &v.negotiated.extensions) {
		v.unopened++
		return
	}
	size := len(b)
	k := v.negotiated.kinds[h.PayloadType]
	if k.track == 0 {
		v.unopened++ // a payload type that was not negotiated
		return
	}
	t := &v.tracks[k.track-1]
	if v.opener != nil {
		opened, result := v.opener.OpenRTP(b)
		switch {
		case result == srtp.OpenReplayed && t.check != nil:
			t.check.duplicate++
			return
		case result != srtp.OpenOK:
			v.unopened++
			return
		}
		b = opened
	}
	l.tally.packets++
	l.tally.bytes += uint64(size)
	v.reporter.bytes += uint64(size)
	v.heard = max(v.heard, at)
	if x, ok := h.Value(b, rtp.TransportSequence); ok && len(x) == 2 {
		v.reporter.arrivals.Note(binary.BigEndian.Uint16(x), at)
	} else {
		v.reporter.plain = true
	}
	if v.joining.packetAt == 0 {
		v.joining.packetAt = l.now
		l.stage(v, report.FirstPacket, l.now-v.joining.began)
	}
	switch {
	case v.opener != nil:
		l.check(v, t, k, &h, b, at)
	case !k.rtx:
		t.accept(&h, at)
	}
	whole := v.video < 0 || int(k.track-1) == v.video && h.Marker
	if v.move != nil && v.joining.keyframeAt != 0 && whole && !l.quiet {
		l.arrived(v, at)
	}
}

// stage notes the time of a step of joining. Those of later sessions are in the figures of moves.
func (l *loop) stage(v *viewer, s report.Stage, took int64) {
	if v.sessions == 0 {
		l.tally.stages[s].Record(time.Duration(took))
	}
}

// check examines a packet that was opened.
func (l *loop) check(v *viewer, t *track, k kind, h *rtp.Header, b []byte, at int64) {
	padding, ok := h.PaddingLen(b)
	if !ok {
		v.unopened++
		return
	}
	payload := b[h.HeaderLen : len(b)-padding]
	ext := uint64(0)
	if k.rtx {
		if len(payload) < 2 || !t.started { // a probe without payload
			return
		}
		ext = t.unwrap.Peek(binary.BigEndian.Uint16(payload))
		payload = payload[2:]
	} else {
		ext = t.accept(h, at)
	}
	keyframe := rtp.ContentOf(k.codec, payload)&(rtp.HasSets|rtp.HasKey) != 0
	if (keyframe || v.video < 0) && v.joining.keyframeAt == 0 {
		l.play(v, t)
	}
	if t.check == nil {
		return
	}
	if keyframe && t.check.highest == 0 {
		t.check.player.whole = true // a frame begins here
	}
	// The kernel's time of arrival counts: this loop may be late on a busy machine, and the picture is not.
	arrived := l.now - max(l.wall-at, 0)
	key := keyframe && t.check.player.key(h.Timestamp)
	if !t.check.note(packet{ext: ext, key: key, marker: h.Marker, resent: k.rtx}, arrived) && !k.rtx {
		t.media--
	}
	if len(t.check.missing) > 0 && (v.deadlines[askAt] == 0 || v.deadlines[askAt] > t.check.missing[0].at) {
		v.deadlines[askAt] = t.check.missing[0].at
		l.reschedule(v)
	}
	if keyframe {
		if width, height := rtp.PictureSize(k.codec, payload); height > 0 {
			v.rungs.see(size{width, height}, t.restarts<<48|ext, l.now)
		}
	}
	if s, ok := t.check.stamp(k.codec, payload, ext); ok && l.steady {
		delay := time.Duration(at - s.Due.UnixNano())
		l.tally.times.groups[v.group].Record(delay)
		if v.pipe == nil {
			l.tally.times.delay.Record(delay)
		}
	}
}

// play notes the first keyframe. A counted viewer opens no more packets after it.
func (l *loop) play(v *viewer, t *track) {
	v.joining.keyframeAt = l.now
	l.stage(v, report.FirstKeyframe, l.now-v.joining.began)
	if v.sessions == 0 {
		l.tally.playing++
	}
	if v.sampled {
		return
	}
	v.opener = nil
	if sink := l.run.cfg.Sink; sink != nil && v.video >= 0 {
		v.diverted = sink.Divert(v.path.port, t.ssrc) == nil // otherwise the socket goes on to count
	}
}

// wake does all that is due for a viewer.
func (l *loop) wake(v *viewer) {
	if v.phase == ended {
		return
	}
	d := &v.deadlines
	due := func(x deadline) bool { return d[x] != 0 && d[x] <= l.now }
	if due(giveUpAt) {
		stage, why := report.ICE, "no candidate answered"
		if v.phase == shaking {
			stage, why = report.DTLS, "timeout"
		}
		l.fail(v, stage, why)
		return
	}
	if due(arriveAt) {
		l.arrive(v)
	}
	if due(checkAt) {
		if v.phase == connected && l.now-v.path.answered > int64(consentTimeout) {
			l.lose(v, "the server answers no checks")
			return
		}
		if v.phase == checking {
			l.checkNow(v)
			d[checkAt] = l.now + int64(firstCheckPause)
		} else if l.pass(&d[checkAt], int64(checkInterval)) {
			l.checkNow(v)
		}
	}
	if due(feedbackAt) && l.pass(&d[feedbackAt], int64(l.habit.feedback)) {
		l.absorb(v)
		l.feedBack(v)
	}
	if due(estimateAt) && l.pass(&d[estimateAt], int64(l.habit.estimate)) {
		l.absorb(v)
		l.estimate(v)
	}
	if due(reportAt) && l.pass(&d[reportAt], int64(reportInterval)) {
		l.absorb(v)
		l.report(v, 0)
	}
	if due(askAt) {
		l.askAgain(v)
	}
	l.reschedule(v)
}

// feedBack reports the arrivals of packets with transport-wide numbers.
func (l *loop) feedBack(v *viewer) {
	for more := true; more; {
		var b []byte
		if b, more = v.reporter.arrivals.AppendFeedback(l.out[:0], maxCompile, senderSSRC, l.about(v)); len(b) > 0 {
			l.control(v, b)
			l.tally.sent.Feedback++
		}
	}
}

// estimate sends a REMB, if media arrived that no feedback reports. The receiver report goes with it.
func (l *loop) estimate(v *viewer) {
	r := &v.reporter
	r.revise(l.now, v.pipe != nil && v.pipe.congested(l.wall))
	if r.estimate > 0 && (r.plain || l.habit.unasked) {
		r.plain = false
		l.report(v, uint64(r.estimate))
		v.deadlines[reportAt] = l.now + int64(reportInterval)
	}
}

// report sends a receiver report, with an estimate in bit/s if that is not 0.
func (l *loop) report(v *viewer, estimate uint64) {
	b := v.appendReport(l.out[:0], l.wall)
	l.tally.sent.Reports++
	if estimate > 0 {
		b = rtcp.AppendREMB(b, senderSSRC, estimate, l.about(v))
		l.tally.sent.Estimates++
	}
	l.control(v, b)
	if v.sampled && v.pipe == nil && v.video >= 0 && v.tracks[v.video].started && l.steady {
		jitter := time.Duration(v.tracks[v.video].jitter>>4) * time.Second / time.Duration(v.tracks[v.video].rate())
		l.tally.times.jitter.Record(jitter)
	}
}

// stopped is a delay after which the process was stopped, and not just busy.
const stopped = time.Second

// pass moves a deadline on, past the beats that were missed, and reports whether there is something to do. There is
// nothing after the process was stopped. Each viewer keeps its own beat: otherwise all would report together from then
// on.
func (l *loop) pass(due *int64, interval int64) bool {
	late := l.now - *due
	*due += (late/interval + 1) * interval
	return late < int64(stopped)
}

// about returns the SSRC that feedback names.
func (l *loop) about(v *viewer) uint32 {
	if v.video >= 0 {
		return v.tracks[v.video].ssrc
	}
	return v.tracks[0].ssrc
}

func (l *loop) checkNow(v *viewer) {
	for _, fd := range v.path.sockets {
		if fd >= 0 {
			l.send(fd, v.path.agent.AppendCheck(l.out[:0], l.hasher))
			l.tally.sent.Checks++
		}
	}
}

// askAgain sends NACKs for missing packets, and a PLI where there is no keyframe.
func (l *loop) askAgain(v *viewer) {
	next := int64(0)
	wish := false
	for i := range v.tracks {
		t := &v.tracks[i]
		if t.check == nil {
			continue
		}
		seqs, at := t.check.due(l.now, l.seqs[:0])
		if len(seqs) > 0 {
			l.control(v, rtcp.AppendNACK(l.out[:0], senderSSRC, t.ssrc, seqs))
			l.tally.sent.NACKs += uint64(len(seqs))
		}
		if at != 0 && (next == 0 || at < next) {
			next = at
		}
		wish = wish || t.check.gaveUp && t.info.Kind == rtp.Video
		t.check.gaveUp = false
	}
	if v.video >= 0 && v.joining.keyframeAt == 0 {
		wish = true
		if at := l.now + int64(wishInterval); next == 0 || at < next {
			next = at
		}
	}
	if wish && v.tracks[v.video].started && l.now-v.wished >= int64(wishInterval) {
		v.wished = l.now
		l.control(v, rtcp.AppendPLI(l.out[:0], senderSSRC, v.tracks[v.video].ssrc))
		l.tally.sent.PLIs++
	}
	v.deadlines[askAt] = next
}

// absorb takes over a sink's counts of a viewer.
func (l *loop) absorb(v *viewer) {
	if !v.diverted {
		return
	}
	c, ok := l.run.cfg.Sink.Count(v.path.port)
	if !ok {
		return
	}
	t := &v.tracks[v.video]
	from := t.sunk.Numbered
	packets, bytes := t.absorb(c)
	l.tally.packets += packets
	l.tally.bytes += bytes
	v.reporter.bytes += bytes
	numbered := c.Numbered - from
	v.reporter.plain = v.reporter.plain || packets > uint64(numbered)
	if numbered > 0 {
		l.arrivals = l.run.cfg.Sink.Arrivals(l.arrivals[:0], v.path.port, from, c.Numbered)
		v.reporter.catchUp(l.arrivals, numbered)
	}
}

// control protects a compound and sends it.
func (l *loop) control(v *viewer, compound []byte) {
	l.tally.sent.Datagrams++
	sealed := v.sealer.SealRTCP(compound)
	for _, fd := range v.path.sockets {
		if fd >= 0 {
			l.send(fd, sealed)
		}
	}
}

func (l *loop) send(fd int, b []byte) {
	if len(b) == 0 || sendTo(fd, b) != 0 {
		l.tally.sent.Unsent++
	}
}

func (l *loop) reschedule(v *viewer) {
	if at := v.next(); at != 0 {
		l.wheel.schedule(v, at)
	}
}

// fail ends a viewer that is not connected.
func (l *loop) fail(v *viewer, s report.Stage, why string) {
	if v.move != nil {
		l.stay(v.move.from, s.String()+": "+why)
	} else {
		l.tally.failures[failure{s, why}]++
		l.run.failed.Add(1)
	}
	l.end(v)
}

// lose ends a session that was connected. The viewer joins again if it may.
func (l *loop) lose(v *viewer, why string) {
	l.end(v)
	switch {
	case v.leaving:
	case l.run.cfg.Reconnect == Never || l.quiet:
		l.tally.lost[why]++
		l.run.lost.Add(1)
	default:
		l.tally.moves.Ended++
		l.leave(v, "")
	}
}

func (l *loop) end(v *viewer) {
	l.release(v)
	v.phase = ended
	if v.handshake != nil {
		v.handshake.records.Close() // shaken closes the sockets
		return
	}
	l.closeSockets(v)
}

// release takes over the sink's last counts and ends its counting for the viewer.
func (l *loop) release(v *viewer) {
	if v.diverted {
		l.absorb(v)
		l.run.cfg.Sink.Release(v.path.port)
		v.diverted = false
	}
}

func (l *loop) closeSockets(v *viewer) {
	for i, fd := range v.path.sockets {
		if fd >= 0 {
			l.tally.drops += socketDrops(fd)
			unix.Close(fd)
			v.path.sockets[i] = -1
		}
	}
}

// totals are the loop's counts so far.
type totals struct {
	traffic   report.Traffic
	drops     uint64
	datagrams uint64 // of RTCP that viewers sent
}

func (l *loop) totals() (t totals) {
	t.drops, t.datagrams = l.tally.drops, l.tally.sent.Datagrams
	for _, v := range l.viewers {
		if v.phase == connected {
			l.absorb(v)
		}
		v.addTo(&t.traffic)
		for _, fd := range v.path.sockets {
			if fd >= 0 {
				t.drops += socketDrops(fd)
			}
		}
	}
	t.traffic.Packets, t.traffic.Bytes = l.tally.packets, l.tally.bytes
	return t
}

// addTo adds the loop's part to a report.
func (l *loop) addTo(w *report.Watch) {
	l.tally.addTo(w)
	for _, v := range l.viewers {
		if v.phase == connected {
			v.finish(w, l.now)
		}
		v.addSample(&w.Sample)
		v.addGroup(&w.Groups[v.group], l.now)
	}
}
