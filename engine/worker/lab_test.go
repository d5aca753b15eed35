package worker

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"net/netip"
	"testing"

	"ringcast/engine/adapt"
	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
	"ringcast/engine/srtp"
	"ringcast/engine/stun"
	"ringcast/engine/ufrag"
)

// A lab is one worker under test with its clock and the peers that it serves. Its datagrams and messages are kept until
// a test forgets them. An oracle sees everything that it seals: no index twice with other bytes.
type lab struct {
	testing.TB
	w      *Worker
	now    port.Time
	out    Outgoing
	memory [][]byte // of out.Frames
	routes map[port.Route]port.Path
	rates  map[port.Path]uint32 // of the last route there
	hasher *stun.Hasher
	random uint64
	ids    api.SessionID

	sent     []datagram
	messages []bus.Control
	fed      []bus.Media
	// reuses counts the oracle's findings. A test that expects none need not look.
	reuses int
	seed   maphash.Seed
	seals  map[seal]uint64
	// batching keeps tell and receive from polling, so that they hand over one batch.
	batching bool
	// lenient leaves frames outside the port's memory to the test.
	lenient bool
	strayed int
}

// A datagram is one that the worker sent.
type datagram struct {
	path port.Path
	at   port.Time
	data []byte
}

type seal struct {
	sealer int
	ssrc   uint32
	index  uint64
}

const labFrames = 64

// labUfrags are the keys of all workers under test.
var labUfrags = ufrag.New(func(b []byte) {
	for i := range b {
		b[i] = byte(i)
	}
})

// nameOf is the ufrag of a session after some restarts.
func nameOf(id api.SessionID, role api.Role, restart int) string {
	return labUfrags.Make(ufrag.ID{Session: uint64(id), Role: uint8(role), Restart: uint16(restart)})
}

// labWall is the server's wall clock at time 0, in nanoseconds since 1900.
const labWall = 3_700_000_000e9

// newLab makes a worker with a number, of several.
func newLab(tb testing.TB, index, workers int) *lab {
	tb.Helper()
	l := &lab{
		TB: tb, now: 10 * port.Second, routes: make(map[port.Route]port.Path), rates: make(map[port.Path]uint32),
		hasher: stun.NewHasher(),
		random: 1, seed: maphash.MakeSeed(), seals: make(map[seal]uint64),
	}
	sealers := 0
	l.w = New(Config{
		Index: index, Workers: workers, Rand: l.rand, Ufrags: labUfrags, Wall: labWall,
		Adapt: true, StartRate: adapt.StartRate,
		NewSealer: func(k *srtp.Keys) (srtp.Sealer, error) {
			s, err := srtp.NewSealer(k)
			sealers++
			return &oracle{s, l, sealers}, err
		},
	})
	l.out.Control, l.out.Media = make([]bus.Control, 0, 64), make([]bus.Media, 0, 64)
	l.out.Frames = make([]port.Frame, labFrames)
	for i := range l.out.Frames {
		l.memory = append(l.memory, make([]byte, port.FrameSize))
		l.out.Frames[i].Data = l.memory[i][:0]
	}
	return l
}

func (l *lab) rand() uint64 {
	l.random = l.random*6364136223846793005 + 1442695040888963407
	return l.random >> 20
}

// oracle notes what is sealed.
type oracle struct {
	srtp.Sealer
	lab *lab
	id  int
}

func (o *oracle) SealRTP(frame []byte, headerLen int, payload []byte, index uint64) []byte {
	var h maphash.Hash
	h.SetSeed(o.lab.seed)
	h.Write(frame[:headerLen])
	h.Write(payload)
	k := seal{o.id, binary.BigEndian.Uint32(frame[8:]), index}
	if old, ok := o.lab.seals[k]; ok && old != h.Sum64() {
		o.lab.reuses++
		o.lab.Errorf("nonce reuse: SSRC %08x index %d was sealed with different bytes", k.ssrc, k.index)
	}
	o.lab.seals[k] = h.Sum64()
	if binary.BigEndian.Uint16(frame[2:]) != uint16(index) {
		o.lab.Errorf("index %d was sealed with sequence number %d", index, binary.BigEndian.Uint16(frame[2:]))
	}
	return o.Sealer.SealRTP(frame, headerLen, payload, index)
}

// tell hands the worker a message.
func (l *lab) tell(m bus.Control) {
	l.Helper()
	l.w.HandleControl(l.now, &m)
	if !l.batching {
		l.poll()
	}
}

// hand hands the worker a control message without polling after it.
func (l *lab) hand(m bus.Control) { l.w.HandleControl(l.now, &m) }

// bring hands the worker a message of the media lane.
func (l *lab) bring(m bus.Media) {
	l.Helper()
	l.w.HandleMedia(l.now, &m)
	if !l.batching {
		l.poll()
	}
}

// from makes a message another worker's.
func from(worker bus.Address, m bus.Control) bus.Control {
	m.From = worker
	return m
}

// receive hands the worker a datagram.
func (l *lab) receive(p port.Path, data []byte) {
	l.Helper()
	l.quietly(p, data)
	if !l.batching {
		l.poll()
	}
}

// quietly hands the worker a datagram without polling after it.
func (l *lab) quietly(p port.Path, data []byte) {
	data = append([]byte(nil), data...)
	l.w.HandlePacket(l.now, &port.Inbound{Path: p, Data: data, Arrival: l.now})
	for i := range data { // it was borrowed
		data[i] = 0xEE
	}
}

// poll takes all that the worker has to send.
func (l *lab) poll() {
	l.Helper()
	for n := 0; ; n++ {
		more := l.w.Poll(l.now, &l.out)
		l.take()
		if !more {
			return
		}
		if n > 100_000 {
			l.Fatal("Poll never ends")
		}
	}
}

// take empties the batch.
func (l *lab) take() {
	l.Helper()
	for _, c := range l.out.Routes {
		if c.Path == (port.Path{}) {
			delete(l.routes, c.Route)
		} else {
			l.routes[c.Route], l.rates[c.Path] = c.Path, c.Rate
		}
	}
	l.messages = append(l.messages, l.out.Control...)
	for _, m := range l.out.Media {
		m.Data = append([]byte(nil), m.Data...)
		l.fed = append(l.fed, m)
	}
	for i := range l.out.Frames[:l.out.Filled] {
		f := &l.out.Frames[i]
		if len(f.Data) == 0 || &f.Data[0] != &l.memory[i][0] || len(f.Data) > port.MaxDatagram {
			l.strayed++
			if !l.lenient {
				l.Errorf("a frame of %d bytes does not lie in the port's memory, or is longer than a datagram",
					len(f.Data))
			}
		}
		path, ok := l.routes[f.Route]
		if !ok {
			l.Errorf("a frame was sent on route %d, which leads nowhere", f.Route)
		}
		l.sent = append(l.sent, datagram{path, l.now, append([]byte(nil), f.Data...)})
		f.Data = l.memory[i][:0]
	}
	l.out.Filled, l.out.Routes, l.out.Control, l.out.Media = 0, l.out.Routes[:0], l.out.Control[:0], l.out.Media[:0]
}

// pass lets time pass, doing what is due in between.
func (l *lab) pass(span port.Time) {
	l.Helper()
	until := l.now + span
	for n := 0; l.w.Deadline() <= until; n++ {
		l.now = max(l.now, l.w.Deadline())
		l.w.HandleTimeout(l.now)
		l.poll()
		if n > 100_000 {
			l.Fatal("the deadlines never end")
		}
	}
	l.now = until
	l.poll()
}

// forget drops what was sent so far.
func (l *lab) forget() { l.sent, l.messages, l.fed = nil, nil, nil }

// said are the messages of a kind that the worker sent since forget.
func (l *lab) said(k bus.Kind) (all []bus.Control) {
	for _, m := range l.messages {
		if m.Kind == k {
			all = append(all, m)
		}
	}
	return all
}

// brought are the media messages of a kind that the worker sent since forget.
func (l *lab) brought(k bus.MediaKind) (all []bus.Media) {
	for _, m := range l.fed {
		if m.Kind == k {
			all = append(all, m)
		}
	}
	return all
}

func (l *lab) drops(r DropReason) uint64      { return l.w.counters.Drops[r] }
func (l *lab) counted(c Counter) uint64       { return l.w.counters.Counts[c] }
func (l *lab) stream(id bus.StreamID) *stream { return l.w.streams[id] }

// A party is a peer of the worker: its session, its address and its half of the keys.
type party struct {
	lab  *lab
	spec *bus.Session
	path port.Path
	keys *srtp.Keys // the peer's
	// ours are the worker's keys.
	ours *srtp.Keys
}

// party announces a session.
func (l *lab) party(role api.Role, stream bus.StreamID, tracks ...rtp.Track) *party {
	l.Helper()
	l.ids++
	id := l.ids
	p := &party{lab: l, path: pathOf(int(id)), spec: &bus.Session{
		ID: id, Role: role, Stream: stream, Tracks: tracks, CNAME: fmt.Sprintf("cname%d", id),
		Local: api.Credentials{
			Ufrag: nameOf(id, role, 0), Password: fmt.Sprintf("the password of session %d", id),
		},
		RemoteUfrag: fmt.Sprintf("theirs%d", id),
	}}
	fill := func(size int, b byte) []byte {
		k := make([]byte, size)
		for i := range k {
			k[i] = b ^ byte(i) ^ byte(id)*3
		}
		return k
	}
	p.ours = &srtp.Keys{
		Profile:  srtp.AEADAES128GCM,
		LocalKey: fill(16, 1), LocalSalt: fill(12, 2), RemoteKey: fill(16, 3), RemoteSalt: fill(12, 4),
	}
	p.keys = &srtp.Keys{
		Profile:  srtp.AEADAES128GCM,
		LocalKey: fill(16, 3), LocalSalt: fill(12, 4), RemoteKey: fill(16, 1), RemoteSalt: fill(12, 2),
	}
	l.tell(bus.SessionOpened(p.spec))
	return p
}

// pathOf is the n-th peer's path.
func pathOf(n int) port.Path {
	return port.Path{
		Remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(n >> 16), byte(n >> 8)}),
			uint16(20_000+n&0xFF)),
		Local: netip.AddrFrom4([4]byte{198, 18, 255, 1}),
	}
}

// check is a nomination by the peer.
func (p *party) check() []byte { return p.request(true) }

func (p *party) request(nominate bool) []byte {
	var id [12]byte
	binary.BigEndian.PutUint64(id[:], p.lab.rand())
	return p.lab.hasher.AppendRequest(nil, &id, stun.Request{
		Username: p.spec.Local.Ufrag + ":" + p.spec.RemoteUfrag, Password: p.spec.Local.Password, Priority: 1,
		UseCandidate: nominate, TieBreaker: 7,
	})
}

// connect nominates the peer's path and gives the session to the worker with its keys.
func (p *party) connect() {
	p.lab.Helper()
	p.lab.receive(p.path, p.check())
	p.lab.tell(bus.SessionOwned(p.spec.ID, p.lab.w.address(), port.Path{}))
	p.lab.tell(bus.SessionKeyed(0, p.spec.ID, p.ours))
}

// sent are the datagrams to the peer since forget, answers to checks left out.
func (p *party) sent() (all []datagram) {
	for _, d := range p.lab.sent {
		if d.path == p.path && d.data[0] > 3 {
			all = append(all, d)
		}
	}
	return all
}

// answers are the answers to checks that were sent to a path since forget.
func (l *lab) answers(p port.Path) (all [][]byte) {
	for _, d := range l.sent {
		if d.path == p && d.data[0] <= 3 {
			all = append(all, d.data)
		}
	}
	return all
}

// Payload types and extension numbers that the tests negotiate. Those of the publisher differ from
// those of the subscriber.
const (
	pubVP8, pubRTX, pubOpus = 96, 97, 111
	subVP8, subRTX, subOpus = 120, 121, 109

	videoSSRC, videoRTX, audioSSRC  = 0xA001, 0xA002, 0xB001
	subVideo, subVideoRTX, subAudio = 0xC001, 0xC002, 0xC003

	idMID, idRID, idRepaired, idTransport, idLevel, idOrientation = 1, 2, 3, 4, 5, 6
)

func videoOf(pt, rtx uint8) rtp.Track {
	return rtp.Track{Kind: rtp.Video, MID: "v", Formats: []rtp.Format{{
		PayloadType: pt, RTX: rtx, Codec: rtp.VP8, Feedback: rtp.NACK | rtp.PLI | rtp.FIR,
	}}}
}

func audioOf(pt uint8) rtp.Track {
	return rtp.Track{
		Kind: rtp.Audio, MID: "a", Formats: []rtp.Format{{PayloadType: pt, Codec: rtp.Opus, Feedback: rtp.NACK}},
	}
}

// published are one video and one audio track with announced SSRCs.
func published() []rtp.Track {
	v, a := videoOf(pubVP8, pubRTX), audioOf(pubOpus)
	v.Encodings = []rtp.Encoding{{SSRC: videoSSRC, RTXSSRC: videoRTX}}
	a.Encodings = []rtp.Encoding{{SSRC: audioSSRC}}
	v.Extensions = rtp.ExtensionMap{
		rtp.MID: idMID, rtp.TransportSequence: idTransport, rtp.VideoOrientation: idOrientation,
	}
	a.Extensions = rtp.ExtensionMap{rtp.MID: idMID, rtp.AudioLevel: idLevel}
	return []rtp.Track{v, a}
}

// watched are the tracks of a subscriber, with RTX and transport-wide numbers, or with neither.
func watched(rtx bool) []rtp.Track {
	v, a := videoOf(subVP8, 0), audioOf(subOpus)
	v.SSRC, a.SSRC = subVideo, subAudio
	v.Extensions = rtp.ExtensionMap{rtp.MID: 11}
	a.Extensions = rtp.ExtensionMap{rtp.MID: 11, rtp.AudioLevel: 12}
	if rtx {
		v.Formats[0].RTX, v.RTXSSRC = subRTX, subVideoRTX
		v.Extensions[rtp.TransportSequence] = 13
	}
	return []rtp.Track{v, a}
}

// A pub is a connected publisher.
type pub struct {
	*party
	sealer     srtp.Sealer
	generation bus.Generation
}

// publish connects a publisher and opens its publication.
func (l *lab) publish(stream bus.StreamID, generation bus.Generation, tracks ...rtp.Track) *pub {
	l.Helper()
	p := &pub{party: l.party(api.Publisher, stream, tracks...), generation: generation}
	p.connect()
	var err error
	if p.sealer, err = srtp.NewSealer(p.keys); err != nil {
		l.Fatal(err)
	}
	l.tell(bus.PublicationOpened(stream, generation, l.w.address(), p.spec))
	return p
}

// A packet is RTP that a publisher is to send. seq is extended: its upper bits are the ROC.
type packet struct {
	ssrc    uint32
	pt      uint8
	seq     uint64
	ts      uint32
	marker  bool
	ext     []byte // the extension block without its first 4 bytes, one-byte form
	twoByte bool
	padding uint8
	payload []byte
}

// seal makes the packet's SRTP.
func (p *pub) seal(x packet) []byte {
	b := make([]byte, rtp.HeaderLen, 2048)
	rtp.FixedHeader{
		Marker: x.marker, Extension: len(x.ext) > 0, PayloadType: x.pt, Sequence: uint16(x.seq), Timestamp: x.ts,
		SSRC: x.ssrc,
	}.Put(b)
	if len(x.ext) > 0 {
		for len(x.ext)%4 != 0 {
			x.ext = append(x.ext, 0)
		}
		profile := uint16(0xBEDE)
		if x.twoByte {
			profile = 0x1000
		}
		b = binary.BigEndian.AppendUint16(b, profile)
		b = binary.BigEndian.AppendUint16(b, uint16(len(x.ext)/4))
		b = append(b, x.ext...)
	}
	payload := x.payload
	if x.padding > 0 {
		b[0] |= 0x20
		payload = append(append([]byte(nil), payload...), make([]byte, x.padding)...)
		payload[len(payload)-1] = x.padding
	}
	return p.sealer.SealRTP(b, len(b), payload, x.seq)
}

// send seals a packet and hands it to the worker.
func (p *pub) send(x packet) {
	p.lab.Helper()
	p.lab.receive(p.path, p.seal(x))
}

// rtcp hands a compound to the worker.
func (p *pub) rtcp(b []byte) {
	p.lab.Helper()
	p.lab.receive(p.path, p.sealer.SealRTCP(append(make([]byte, 0, 1500), b...)))
}

// report sends a sender report that says that the publisher's clock, which is now plus its own offset, is
// at an RTP timestamp.
func (p *pub) report(ssrc, ts uint32) {
	p.lab.Helper()
	p.rtcp(rtcp.AppendSenderReport(nil, ssrc, rtcp.SenderInfo{NTP: toNTP(int64(p.lab.now) + 3_900_000_000e9), RTP: ts}))
}

// asked are the RTCP packets of a kind that a publisher was sent since forget; each is opened once.
func (p *pub) asked() (all []feedback) {
	for _, d := range p.sent() {
		data, result := p.sealer.OpenRTCP(append([]byte(nil), d.data...))
		if result != srtp.OpenOK {
			continue // looked at before
		}
		var x rtcp.Packet
		for r := rtcp.NewReader(data); r.Next(&x); {
			all = append(all, feedback{x, d.at})
		}
	}
	return all
}

type feedback struct {
	rtcp.Packet
	at port.Time
}

// count is how many packets of a type there are.
func count(all []feedback, t rtcp.Type) (n int) {
	for _, f := range all {
		if f.Type == t {
			n++
		}
	}
	return n
}

// seqs are the sequence numbers of NACKs for an SSRC.
func seqs(all []feedback, ssrc uint32) (seqs []uint16) {
	for _, f := range all {
		if f.Type != rtcp.NACK || f.Media != ssrc {
			continue
		}
		for x := f.NACKs(); ; {
			seq, ok := x.Next()
			if !ok {
				break
			}
			seqs = append(seqs, seq)
		}
	}
	return seqs
}

// A sub is a connected subscriber.
type sub struct {
	*party
	opener *srtp.Opener
	talker *srtp.Opener // seals; its indices go on where fresh replaces the other
}

// watch connects a subscriber.
func (l *lab) watch(stream bus.StreamID, tracks ...rtp.Track) *sub {
	l.Helper()
	s := &sub{party: l.party(api.Subscriber, stream, tracks...)}
	s.connect()
	s.fresh()
	s.talker = s.opener
	return s
}

// fresh forgets what was received, so that resends open too.
func (s *sub) fresh() {
	var err error
	if s.opener, err = srtp.NewOpener(s.keys); err != nil {
		s.lab.Fatal(err)
	}
}

// A received is a packet that a subscriber got, opened.
type received struct {
	rtp.Header
	payload []byte
	raw     []byte // as it came
	data    []byte // opened
	at      port.Time
}

// media are the RTP packets of an SSRC that the subscriber was sent since forget.
func (s *sub) media(ssrc uint32) (all []received) {
	s.lab.Helper()
	s.fresh()
	for _, d := range s.sent() {
		if rtp.IsRTCP(d.data) || binary.BigEndian.Uint32(d.data[8:]) != ssrc {
			continue
		}
		r := received{raw: d.data, at: d.at}
		data, result := s.opener.OpenRTP(append([]byte(nil), d.data...))
		if result == srtp.OpenReplayed {
			s.lab.Errorf("sequence number %d was sent twice", binary.BigEndian.Uint16(d.data[2:]))
			continue
		}
		if result != srtp.OpenOK || !r.Parse(data, nil) {
			s.lab.Fatalf("a subscriber was sent something that does not open: %v", result)
		}
		r.data, r.payload = data, data[r.HeaderLen:]
		all = append(all, r)
	}
	return all
}

// reports are the RTCP packets that the subscriber was sent since forget.
func (s *sub) reports() (all []feedback) {
	s.lab.Helper()
	s.fresh()
	for _, d := range s.sent() {
		if !rtp.IsRTCP(d.data) {
			continue
		}
		data, result := s.opener.OpenRTCP(append([]byte(nil), d.data...))
		if result != srtp.OpenOK {
			s.lab.Fatalf("a subscriber was sent RTCP that does not open: %v", result)
		}
		var x rtcp.Packet
		for r := rtcp.NewReader(data); r.Next(&x); {
			all = append(all, feedback{x, d.at})
		}
	}
	return all
}

// rtcp hands a compound of the subscriber to the worker.
func (s *sub) rtcp(b []byte) {
	s.lab.Helper()
	s.lab.receive(s.path, s.seal(b))
}

func (s *sub) seal(b []byte) []byte {
	return s.talker.SealRTCP(append(make([]byte, 0, 1500), b...))
}

// nack asks for sequence numbers.
func (s *sub) nack(ssrc uint32, seqs ...uint16) {
	s.lab.Helper()
	s.rtcp(rtcp.AppendNACK(nil, 1, ssrc, seqs))
}

// vp8 is a payload of VP8: one byte of descriptor, the frame's first byte, and a text.
func vp8(start, key bool, text string) []byte {
	b := []byte{0, 1}
	if start {
		b[0] = 0x10
	}
	if key {
		b[1] = 0
	}
	return append(b, text...)
}

// vp8ID is like vp8 with a picture ID of 15 bits and a TL0PICIDX.
func vp8ID(start, key bool, id uint16, tl0 uint8, text string) []byte {
	b := []byte{0x80, 0xE0, byte(id>>8) | 0x80, byte(id), tl0, 0, 1}
	if start {
		b[0] |= 0x10
	}
	if key {
		b[6] = 0
	}
	return append(b, text...)
}

// vp8Sized is a payload of VP8 that begins a keyframe with pictures of a size (RFC 6386 section 9.1).
func vp8Sized(width, height uint16, text string) []byte {
	b := []byte{0x10, 0, 0, 0, 0x9D, 0x01, 0x2A, byte(width), byte(width >> 8), byte(height), byte(height >> 8)}
	return append(b, text...)
}

// frame sends one video packet that is a whole frame.
func (p *pub) frame(seq uint64, ts uint32, key bool) {
	p.lab.Helper()
	p.send(packet{
		ssrc: videoSSRC, pt: pubVP8, seq: seq, ts: ts, marker: true, payload: vp8(true, key, fmt.Sprint("frame ", seq)),
	})
}

// sound sends one audio packet.
func (p *pub) sound(seq uint64, ts uint32) {
	p.lab.Helper()
	p.send(packet{ssrc: audioSSRC, pt: pubOpus, seq: seq, ts: ts, payload: []byte(fmt.Sprint("sound ", seq))})
}

// appendNACK asks for a subscriber's video packets.
func appendNACK(seqs []uint16) []byte { return rtcp.AppendNACK(nil, 1, subVideo, seqs) }

// closed is the message that ends a session.
func closed(p *party) bus.Control { return bus.SessionClosed(p.spec.ID) }

// sealerOf makes a publisher's sealer before the worker has the keys.
func sealerOf(t testing.TB, p *pub) {
	t.Helper()
	var err error
	if p.sealer, err = srtp.NewSealer(p.keys); err != nil {
		t.Fatal(err)
	}
}

// appendPLI asks for a keyframe.
func appendPLI() []byte { return rtcp.AppendPLI(nil, 1, subVideo) }

// all are a stream's subscribers, those that wait for a keyframe last.
func (st *stream) all() (all []*subscriber) {
	for _, c := range st.circles {
		all = append(all, c.members...)
	}
	return all
}

// everything names all tracks of a publication.
func everything(stream bus.StreamID, g bus.Generation) bus.LayerID {
	return bus.LayerID{Stream: stream, Generation: g, Track: bus.EveryTrack}
}
