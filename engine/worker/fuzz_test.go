package worker

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/budget"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
	"ringcast/engine/worker/history"
)

// What an operation of the fuzzer does: its first byte says which, two bytes tell the length of its data.
const (
	opPublisher  = iota // a datagram as it is, from the publisher's path
	opSubscriber        // from the subscriber's
	opStranger          // from nobody's
	opRTP               // opened by the worker: RTP of the publisher, header and payload as given
	opRTCP              // RTCP of the publisher
	opFeedback          // RTCP of the subscriber
	opMessage           // a message of the bus
	opTime              // time passes
	opNACK              // the subscriber asks for what it was sent
	numOps

	// opHeld, in the first byte, keeps the worker from being polled afterwards: the next operation is of the
	// same batch.
	opHeld = 0x80
)

// op writes an operation.
func op(kind byte, data []byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(data))), data...)
}

// FuzzWorker plays any operations, in batches, to a worker with a live publisher, a subscriber with RTX and
// one without, whose runs are padded. It must not panic, seal one nonce twice with different bytes, write beyond its
// frames, send to a stranger, or answer STUN that is not authentic.
func FuzzWorker(f *testing.F) {
	l := newLab(f, 0, 2)
	p := l.publish(1, 1, published()...)
	s := l.watch(1, watched(true)...)
	media := packet{ssrc: videoSSRC, pt: pubVP8, seq: 1, payload: vp8(true, true, "key"), ext: []byte{idMID << 4, 'v'}}
	clear := func(x packet) []byte {
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
				clear(packet{ssrc: videoSSRC, pt: pubVP8, seq: seq * seq, payload: vp8(true, seq%3 == 0, "x")}))...,
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
	f.Add(append(op(opRTP, clear(packet{ssrc: videoRTX, pt: pubRTX, seq: 9, payload: []byte{0, 5, 0x10, 0}})), some...))
	f.Add(append(op(opRTP, clear(packet{ssrc: 77, pt: pubVP8, seq: 9, payload: vp8(true, true, "")})), some...))
	f.Add(op(opRTCP, rtcp.AppendSenderReport(nil, videoSSRC, rtcp.SenderInfo{NTP: 1 << 63, RTP: 5})))
	f.Add(append(op(opFeedback, rtcp.AppendFIR(nil, 1, subVideo, 3)), op(opFeedback, rtcp.AppendBye(nil, 1))...))
	for k := range kinds {
		f.Add(append(append(some[:len(some):len(some)], op(opMessage, []byte{k, 1, 1, 0, 0, 5, 9, 9})...), some...))
	}
	f.Fuzz(play)
}

func play(t *testing.T, script []byte) {
	l := newLab(t, 0, 2)
	l.w.cfg.EvenRuns = true
	l.w.cfg.Memory = budget.New(24 << 10) // soon tight
	l.w.storage.memory = history.NewMemory(l.w.cfg.Memory)
	p := l.publish(1, 1, published()...)
	subs := []*sub{l.watch(1, watched(true)...), l.watch(1, watched(false)...)}
	p.frame(0, 0, true)
	stranger := pathOf(60_000)
	invited := false                 // a genuine check came from the stranger's path: a peer that moved there
	index := make(map[uint32]uint64) // the publisher's extended sequence numbers
	l.forget()
	before := int(l.counted(ReceivedChecks))
	for n := 0; len(script) >= 3 && n < 200; n++ {
		kind := script[0] &^ opHeld % numOps
		held := script[0]&opHeld != 0
		l.batching = held
		size := min(int(binary.BigEndian.Uint16(script[1:])), len(script)-3)
		data := script[3 : 3+size]
		script = script[3+size:]
		path := p.path
		switch kind {
		case opSubscriber:
			path = subs[n%2].path
			fallthrough
		case opPublisher, opStranger:
			if kind == opStranger {
				path = stranger
			}
			checks := l.counted(ReceivedChecks)
			l.receive(path, data)
			if kind == opStranger && l.counted(ReceivedChecks) != checks {
				invited = true
			}
		case opRTP:
			var h rtp.Header
			if !h.Parse(data, nil) || len(data) > port.MaxDatagram {
				continue
			}
			old := index[h.SSRC]
			ext := old + uint64(int64(int16(h.Sequence-uint16(old))))
			if ext > 1<<40 { // nothing precedes the first round
				ext = uint64(h.Sequence)
			}
			index[h.SSRC] = max(old, ext)
			b := append(make([]byte, 0, 2000), data[:h.HeaderLen]...)
			if b = p.sealer.SealRTP(b, h.HeaderLen, data[h.HeaderLen:], ext); b != nil {
				l.receive(p.path, b)
			}
		case opRTCP:
			if len(data) >= 8 && len(data) < 1400 {
				p.rtcp(data)
			}
		case opFeedback:
			if len(data) >= 8 && len(data) < 1400 {
				subs[n%2].rtcp(data)
			}
		case opMessage:
			if len(data) >= 8 {
				message(l, p, subs, data)
			}
		case opTime:
			if len(data) >= 2 {
				l.pass(port.Time(binary.BigEndian.Uint16(data)) * port.Millisecond / 4)
			}
		case opNACK:
			if len(data) >= 1 {
				l.batching = true
				for _, s := range subs {
					var seqs []uint16
					for i := range uint16(17) { // one entry's worth
						seqs = append(seqs, uint16(l.lastVideo(s))-uint16(data[0])+i)
					}
					s.nack(subVideo, seqs...)
				}
			}
		}
		if !held {
			l.poll()
		}
		if t.Failed() {
			t.Fatal("see above")
		}
	}
	l.poll()
	l.accounts()
	answers := 0
	for _, d := range l.sent {
		if d.data[0] <= 3 {
			answers++
		}
	}
	if checks := int(l.counted(ReceivedChecks)) - before; answers > checks {
		t.Fatalf("%d checks were authentic, and %d were answered", checks, answers)
	}
	counts := l.w.counters.Counts
	t.Logf("%d RTP packets taken, %d sent, %d resent", counts[ReceivedRTP], counts[SentRTP], counts[SentRTX])
	for _, d := range l.sent {
		if d.path == stranger && d.data[0] > 3 && !invited {
			t.Fatal("a stranger was sent something else than an answer to its check")
		}
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
	seq, ts := r.Uint64N(1<<16), r.Uint32()
	ssrc := uint32(videoSSRC)
	size := 100 // of a frame's parts: two lengths, as libwebrtc cuts
	part := func(at uint64, longer int) []byte {
		b := make([]byte, rtp.HeaderLen)
		rtp.FixedHeader{Marker: true, PayloadType: pubVP8, Sequence: uint16(at), Timestamp: ts, SSRC: ssrc}.Put(b)
		b = append(b, vp8ID(true, r.IntN(10) == 0, uint16(seq), uint8(seq), "")...)
		return op(opRTP, append(b, make([]byte, size+longer)...))
	}
	for range 200 {
		start := len(script)
		switch r.IntN(20) {
		case 0:
			script = append(script, op(opTime, []byte{byte(r.IntN(8)), byte(r.Uint32())})...)
		case 1, 2:
			script = append(script, op(opNACK, []byte{byte(r.IntN(100))})...)
		case 3:
			script = append(script, op(opFeedback, appendPLI())...)
		case 4:
			seq += r.Uint64N(40)
		case 5:
			if r.IntN(5) == 0 {
				seq += r.Uint64N(30_000)
			}
		case 6:
			if r.IntN(5) == 0 {
				ssrc, seq, ts = r.Uint32N(3)+videoSSRC+50, r.Uint64N(1<<16), r.Uint32()
			}
		case 7:
			script = append(script,
				op(opRTCP, rtcp.AppendSenderReport(nil, ssrc, rtcp.SenderInfo{NTP: r.Uint64(), RTP: ts}))...)
		case 8:
			if r.IntN(4) == 0 {
				b := make([]byte, 8+r.IntN(40))
				for i := range b {
					b[i] = byte(r.Uint32N(6))
				}
				b[0] = byte(r.Uint32())
				script = append(script, op(opMessage, b)...)
			}
		case 10: // two late parts of a frame, and the NACK for them, in one batch
			seq += 3
			script = append(script, part(seq, 1)...)
			for i, at := range []uint64{seq - 2, seq - 1} {
				held := part(at, i)
				held[0] |= opHeld
				script = append(script, held...)
			}
			script = append(script, op(opNACK, []byte{2})...)
			continue
		case 9: // a retransmission
			b := make([]byte, rtp.HeaderLen)
			rtp.FixedHeader{
				Marker: true, PayloadType: pubRTX, Sequence: uint16(r.Uint32N(5000)), Timestamp: ts, SSRC: videoRTX,
			}.Put(b)
			b = binary.BigEndian.AppendUint16(b, uint16(seq-r.Uint64N(60)))
			script = append(script, op(opRTP, append(b, vp8(true, false, "again")...))...)
		default:
			at := seq
			if r.IntN(3) == 0 {
				at -= r.Uint64N(20)
			} else {
				seq += 1 + r.Uint64N(2)
				if r.IntN(4) == 0 {
					ts += 3000
					size = r.IntN(900)
				}
			}
			script = append(script, part(at, r.IntN(2))...)
		}
		if len(script) > start && r.IntN(3) == 0 {
			script[start] |= opHeld
		}
	}
	return script
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
const kinds = byte(bus.KindSenderReport) + 1 + byte(bus.KindDatagram)

// message tells the worker something that its kind may say, with arguments out of data. What only a
// broken controller would say is left out: another owner for a session that is keyed, keys of no use.
func message(l *lab, p *pub, subs []*sub, data []byte) {
	kind := data[0] % kinds
	id := bus.LayerID{
		Stream: bus.StreamID(data[2] % 3), Generation: bus.Generation(data[3] % 4), Track: data[4] % 4, Layer: data[4] >> 6,
	}
	index := uint64(data[5]) << (data[6] % 12)
	if kind > byte(bus.KindSenderReport) {
		m := bus.Media{
			Kind: bus.MediaKind(kind - byte(bus.KindSenderReport)), From: 1, LayerID: id,
			Place:  bus.Place{Index: index, Start: uint64(data[7]), Epoch: uint32(data[6] % 4)},
			Packet: bus.Packet{Number: index, Timestamp: uint32(data[7]) << 10, Arrival: l.now, PayloadType: pubVP8, Flags: bus.Flags(data[5] & 3)},
			ID:     api.SessionID(data[1]), Path: p.path, Arrival: l.now, Data: data[8:],
		}
		if m.Kind == bus.KindPacket && len(m.Data) > 1200 {
			m.Data = m.Data[:1200]
		}
		l.bring(m)
		return
	}
	m := bus.Control{
		Kind: bus.Kind(kind), From: 1, ID: api.SessionID(data[1]), LayerID: id,
		Row:  bus.Row{Index: index, Count: uint32(data[7]), Epoch: uint32(data[6] % 4)},
		Data: data[8:], Path: p.path, Heard: l.now, Owner: 1,
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
	}
	l.tell(m)
}
