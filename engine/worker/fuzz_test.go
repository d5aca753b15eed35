package worker

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/budget"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
	"ringcast/engine/worker/history"
)

// The operations of the fuzzer. The first byte says which, and two bytes give the length of its data.
const (
	opPublisher  = iota // a datagram as it is, from the publisher's path
	opSubscriber        // from the subscriber's
	opStranger          // from nobody's
	opRTP               // opened by the worker: RTP of the publisher, header and payload as given
	opRTCP              // RTCP of the publisher
	opFeedback          // RTCP of the subscriber
	opMessage           // a message of the bus
	opTime              // time passes
	opNACK              // the subscribers NACK packets that they were sent
	numOps

	// opHeld is a bit of the first byte. The worker is not polled after the operation: the next is of the same
	// batch.
	opHeld = 0x80
)

// op writes an operation.
func op(kind byte, data []byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(data))), data...)
}

// FuzzWorker plays any operations, in batches, to a worker with a live publisher, a subscriber with RTX and one
// without, whose runs are padded. The worker must not panic, seal one nonce twice with different bytes, or write beyond
// its frames. It must send nothing to a stranger, and answer no STUN that is not authentic.
func FuzzWorker(f *testing.F) {
	l := newLab(f, 0, 2)
	p := l.publish(1, 1, published()...)
	s := l.watch(1, watched(true)...)
	media := packet{ssrc: videoSSRC, pt: pubVP8, seq: 1, payload: vp8(true, true, "key"), ext: []byte{idMID << 4, 'v'}}
	plain := func(x packet) []byte {
		b := make([]byte, rtp.HeaderLen, 200)
		rtp.FixedHeader{
			Marker: x.marker, PayloadType: x.pt, Sequence: uint16(x.seq), Timestamp: x.ts, SSRC: x.ssrc,
		}.Put(b)
		return append(b, x.payload...)
	}
	var some []byte
	for seq := range uint64(8) {
		some = append(
			some,
			op(opRTP,
				plain(packet{ssrc: videoSSRC, pt: pubVP8, seq: seq * seq, payload: vp8(true, seq%3 == 0, "x")}))...,
		)
		some = append(some, op(opTime, []byte{byte(seq), 10})...)
		some = append(some, op(opNACK, []byte{byte(seq)})...)
	}
	f.Add(op(opPublisher, p.check()))
	f.Add(append(op(opStranger, s.check()), op(opSubscriber, s.check())...))
	f.Add(append(op(opPublisher, clientHello), op(opStranger, clientHello)...))
	f.Add(op(opPublisher, p.seal(media)))
	f.Add(op(opPublisher,
		p.sealer.SealRTCP(append(make([]byte, 0, 200), rtcp.AppendReceiverReport(nil, videoSSRC, nil)...))))
	f.Add(op(opSubscriber, s.seal(appendPLI())))
	f.Add(append(some, op(opFeedback, appendNACK([]uint16{1, 2, 3, 100}))...))
	f.Add(append(op(opRTP, plain(packet{ssrc: videoRTX, pt: pubRTX, seq: 9, payload: []byte{0, 5, 0x10, 0}})), some...))
	f.Add(append(op(opRTP, plain(packet{ssrc: 77, pt: pubVP8, seq: 9, payload: vp8(true, true, "")})), some...))
	f.Add(op(opRTCP, rtcp.AppendSenderReport(nil, videoSSRC, rtcp.SenderInfo{NTP: 1 << 63, RTP: 5})))
	f.Add(append(op(opFeedback, rtcp.AppendFIR(nil, 1, subVideo, 3)), op(opFeedback, rtcp.AppendBye(nil, 1))...))
	for k := range kinds {
		f.Add(append(append(some[:len(some):len(some)], op(opMessage, []byte{k, 1, 1, 0, 0, 5, 9, 9})...), some...))
	}
	f.Fuzz(play)
}

// play plays a script to a worker. It must not panic, and every promise of FuzzWorker must hold.
func play(t *testing.T, script []byte) {
	l := newLab(t, 0, 2)
	l.w.cfg.EvenRuns = true
	l.w.cfg.Memory = budget.New(24 << 10) // soon tight
	l.w.storage.memory = history.NewMemory(l.w.cfg.Memory)
	x := &player{lab: l, pub: l.publish(1, 1, published()...), index: make(map[uint32]uint64), stranger: pathOf(60_000)}
	plain := relayedLines()
	plain[0].RTXSSRC, plain[0].Formats = 0, slices.Clone(plain[0].Formats)
	for i := range plain[0].Formats {
		plain[0].Formats[i].RTX = 0
	}
	x.subs = []*sub{
		l.watch(1, watched(true)...), l.watch(1, watched(false)...),
		l.relay(1, relayedLines()...), l.relay(1, plain...),
	}
	x.pub.frame(0, 0, true)
	l.forget()
	before := int(l.counted(ReceivedChecks))
	for n := 0; len(script) >= 3 && n < 200; n++ {
		kind := script[0] &^ opHeld % numOps
		held := script[0]&opHeld != 0
		l.batching = held
		size := min(int(binary.BigEndian.Uint16(script[1:])), len(script)-3)
		data := script[3 : 3+size]
		script = script[3+size:]
		x.do(kind, data, x.subs[n%len(x.subs)])
		if !held {
			l.poll()
		}
		if t.Failed() {
			t.Fatal("see above")
		}
	}
	l.poll()
	l.accounts()
	x.checkSent(int(l.counted(ReceivedChecks)) - before)
	counts := l.w.counters.Counts
	t.Logf("%d RTP packets taken, %d sent, %d resent", counts[ReceivedRTP], counts[SentRTP], counts[SentRTX])
}

// A player does the operations of a script.
type player struct {
	*lab
	pub      *pub
	subs     []*sub
	index    map[uint32]uint64 // the publisher's extended sequence numbers
	stranger port.Path
	invited  bool // a genuine check came from the stranger's path: a peer that moved there
}

// do does one operation, with one of the subscribers.
func (x *player) do(kind byte, data []byte, s *sub) {
	switch kind {
	case opSubscriber:
		x.receive(s.path, data)
	case opPublisher:
		x.receive(x.pub.path, data)
	case opStranger:
		checks := x.counted(ReceivedChecks)
		x.receive(x.stranger, data)
		x.invited = x.invited || x.counted(ReceivedChecks) != checks
	case opRTP:
		x.media(data)
	case opRTCP:
		if len(data) >= 8 && len(data) < 1400 {
			x.pub.rtcp(data)
		}
	case opFeedback:
		if len(data) >= 8 && len(data) < 1400 {
			s.rtcp(data)
		}
	case opMessage:
		if len(data) >= 8 {
			message(x.lab, x.pub, x.subs, data)
		}
	case opTime:
		if len(data) >= 2 {
			x.pass(port.Time(binary.BigEndian.Uint16(data)) * port.Millisecond / 4)
		}
	case opNACK:
		if len(data) < 1 {
			return
		}
		x.batching = true
		for _, s := range x.subs {
			var seqs []uint16
			for i := range uint16(17) { // one entry's worth
				seqs = append(seqs, uint16(x.lastVideo(s))-uint16(data[0])+i)
			}
			s.nack(subVideo, seqs...)
		}
	}
}

// media seals a packet as the publisher, and sends it.
func (x *player) media(data []byte) {
	var h rtp.Header
	if !h.Parse(data, nil) || len(data) > port.MaxDatagram {
		return
	}
	old := x.index[h.SSRC]
	ext := old + uint64(int64(int16(h.Sequence-uint16(old))))
	if ext > 1<<40 { // nothing precedes the first round
		ext = uint64(h.Sequence)
	}
	x.index[h.SSRC] = max(old, ext)
	b := append(make([]byte, 0, 2000), data[:h.HeaderLen]...)
	if b = x.pub.sealer.SealRTP(b, h.HeaderLen, data[h.HeaderLen:], ext); b != nil {
		x.receive(x.pub.path, b)
	}
}

// checkSent fails if more checks were answered than were authentic, or a stranger was sent anything but an answer.
func (x *player) checkSent(authentic int) {
	x.Helper()
	answers := 0
	for _, d := range x.sent {
		switch {
		case d.data[0] <= 3:
			answers++
		case d.path == x.stranger && !x.invited:
			x.Fatal("a stranger was sent something else than an answer to its check")
		}
	}
	if answers > authentic {
		x.Fatalf("%d checks were authentic, and %d were answered", authentic, answers)
	}
}

// TestRandomOperations plays scripts that make sense more often than the fuzzer's.
func TestRandomOperations(t *testing.T) {
	for seed := range uint64(150) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			play(t, randomScript(rand.New(rand.NewPCG(seed, 9))))
		})
	}
}

func randomScript(r *rand.Rand) (script []byte) {
	x := &writer{Rand: r, seq: r.Uint64N(1 << 16), ts: r.Uint32(), ssrc: videoSSRC, size: 100}
	for range 200 {
		b, together := x.next()
		if len(b) > 0 && !together && r.IntN(3) == 0 {
			b[0] |= opHeld
		}
		script = append(script, b...)
	}
	return script
}

// A writer writes scripts of a publisher's video, as it is sent and lost.
type writer struct {
	*rand.Rand
	seq  uint64
	ts   uint32
	ssrc uint32
	size int // of a frame's parts: two lengths, as libwebrtc cuts
}

// part writes a part of a frame.
func (x *writer) part(at uint64, longer int) []byte {
	b := make([]byte, rtp.HeaderLen)
	rtp.FixedHeader{Marker: true, PayloadType: pubVP8, Sequence: uint16(at), Timestamp: x.ts, SSRC: x.ssrc}.Put(b)
	b = append(b, vp8ID(true, x.IntN(10) == 0, uint16(x.seq), uint8(x.seq), "")...)
	return op(opRTP, append(b, make([]byte, x.size+longer)...))
}

// next writes the next operation, or several that belong together, or none.
func (x *writer) next() (b []byte, together bool) {
	switch x.IntN(20) {
	case 0:
		return op(opTime, []byte{byte(x.IntN(8)), byte(x.Uint32())}), false
	case 1, 2:
		return op(opNACK, []byte{byte(x.IntN(100))}), false
	case 3:
		return op(opFeedback, appendPLI()), false
	case 4:
		x.seq += x.Uint64N(40)
	case 5:
		if x.IntN(5) == 0 {
			x.seq += x.Uint64N(30_000)
		}
	case 6:
		if x.IntN(5) == 0 {
			x.ssrc, x.seq, x.ts = x.Uint32N(3)+videoSSRC+50, x.Uint64N(1<<16), x.Uint32()
		}
	case 7:
		return op(opRTCP, rtcp.AppendSenderReport(nil, x.ssrc, rtcp.SenderInfo{NTP: x.Uint64(), RTP: x.ts})), false
	case 8:
		if x.IntN(4) == 0 {
			return x.message(), false
		}
	case 9:
		return x.retransmission(), false
	case 10:
		return x.lateParts(), true
	default:
		return x.nextPart(), false
	}
	return nil, false
}

// nextPart writes a part of a frame, in order or late.
func (x *writer) nextPart() []byte {
	at := x.seq
	if x.IntN(3) == 0 {
		at -= x.Uint64N(20)
	} else {
		x.seq += 1 + x.Uint64N(2)
		if x.IntN(4) == 0 {
			x.ts += 3000
			x.size = x.IntN(900)
		}
	}
	return x.part(at, x.IntN(2))
}

// lateParts writes two late parts of a frame, and the NACK for them, in one batch.
func (x *writer) lateParts() []byte {
	x.seq += 3
	b := x.part(x.seq, 1)
	for i, at := range []uint64{x.seq - 2, x.seq - 1} {
		held := x.part(at, i)
		held[0] |= opHeld
		b = append(b, held...)
	}
	return append(b, op(opNACK, []byte{2})...)
}

func (x *writer) message() []byte {
	b := make([]byte, 8+x.IntN(40))
	for i := range b {
		b[i] = byte(x.Uint32N(6))
	}
	b[0] = byte(x.Uint32())
	return op(opMessage, b)
}

func (x *writer) retransmission() []byte {
	b := make([]byte, rtp.HeaderLen)
	rtp.FixedHeader{
		Marker: true, PayloadType: pubRTX, Sequence: uint16(x.Uint32N(5000)), Timestamp: x.ts, SSRC: videoRTX,
	}.Put(b)
	b = binary.BigEndian.AppendUint16(b, uint16(x.seq-x.Uint64N(60)))
	return op(opRTP, append(b, vp8(true, false, "again")...))
}

// lastVideo is the latest sequence number that a subscriber was sent.
func (l *lab) lastVideo(s *sub) uint64 {
	x := l.w.sessions[s.spec.ID]
	if x == nil || x.live == nil || x.sub == nil {
		return 0
	}
	for i := range x.sub.tracks {
		if x.sub.tracks[i].spec.Kind == rtp.Video {
			return x.sub.tracks[i].highest
		}
	}
	return 0
}

// kinds is how many kinds of messages there are, those of the media lane after the others. The first is unknown.
const kinds = byte(bus.KindLadder) + 1 + byte(bus.KindDatagram)

// message hands the worker a message of any kind, with arguments out of data. Messages that only a broken controller
// would send are left out: another owner for a session with keys, or useless keys.
func message(l *lab, p *pub, subs []*sub, data []byte) {
	kind := data[0] % kinds
	id := bus.LayerID{
		Stream: bus.StreamID(data[2] % 3), Generation: bus.Generation(data[3] % 4),
		Track: data[4] % 4, Layer: data[4] >> 6,
	}
	index := uint64(data[5]) << (data[6] % 12)
	if kind > byte(bus.KindLadder) {
		m := bus.Media{
			Kind: bus.MediaKind(kind - byte(bus.KindLadder)), From: 1, LayerID: id,
			Place: bus.Place{
				Index: index, Start: uint64(data[7]), Epoch: uint32(data[6] % 4), Feed: uint32(data[7] % 3),
			},
			Packet: bus.Packet{
				Number: index, Timestamp: uint32(data[7]) << 10, Arrival: l.now, PayloadType: pubVP8,
				Flags: bus.Flags(data[5] & 3),
			},
			ID: api.SessionID(data[1]), Path: p.path, Arrival: l.now, Data: data[8:],
		}
		if m.Kind == bus.KindPacket && len(m.Data) > 1200 {
			m.Data = m.Data[:1200]
		}
		l.bring(m)
		return
	}
	m := bus.Control{
		Kind: bus.Kind(kind), From: 1, ID: api.SessionID(data[1]), LayerID: id, Feed: uint32(data[7] % 3),
		Row:  bus.Row{Index: index, Count: uint32(data[7]), Epoch: uint32(data[6] % 4)},
		Data: data[8:], Path: p.path, Life: bus.Life{Heard: l.now}, Owner: 1,
	}
	switch m.Kind {
	case bus.KindSessionOpened:
		m.Session = subs[0].spec
	case bus.KindSessionOwned:
		m.Owner = 0
	case bus.KindSendRecord, bus.KindSessionClosed:
		m.Data = append([]byte{22}, m.Data[:min(len(m.Data), 1200)]...)
	case bus.KindSessionKeyed:
		m.Keys = subs[0].ours
	case bus.KindPublicationOpened:
		m.Session = p.spec
		if m.Generation <= 1 {
			m.Owner = 0
		}
	case bus.KindLadder:
		m.Ladder = &bus.Ladder{{Layer: data[5], Rate: uint32(data[6]) << 12, Size: uint16(data[7])}}
	}
	l.tell(m)
}
