package worker

import (
	"encoding/binary"
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/srtp"
	"ringcast/engine/stun"
)

// A herd is several workers with many streams, and at most one viewer of each, at another worker than its publisher.
// The workers are driven one after another; what they tell each other passes by hand, in turn.
type herd struct {
	testing.TB
	workers []*Worker
	now     port.Time
	out     Outgoing
	inbox   [][]bus.Message // by worker
	pubs    []herdPeer
	subs    []herdPeer
	frames  int // of media sent
	random  uint64
	// turn makes one call into a worker.
	turn func(c herdCall, call func())
}

// herdCall is a method of a worker.
type herdCall int

const (
	herdMessage herdCall = iota
	herdPacket
	herdTimeout
	herdPoll
	numHerdCalls
)

type herdPeer struct {
	spec   *bus.Session
	path   port.Path
	owner  int
	check  []byte
	keys   *srtp.Keys // the worker's
	sealer srtp.Sealer
	seq    uint64
}

// newHerd makes the peers; open has the workers serve them.
func newHerd(tb testing.TB, workers, streams, viewers int) *herd {
	tb.Helper()
	h := &herd{
		TB: tb, now: 10 * port.Second, inbox: make([][]bus.Message, workers), random: 1,
		turn: func(_ herdCall, call func()) { call() },
	}
	rand := func() uint64 { h.random = h.random*6364136223846793005 + 1442695040888963407; return h.random >> 20 }
	for i := range workers {
		h.workers = append(h.workers, New(Config{Index: i, Workers: workers, Rand: rand, Ufrags: labUfrags}))
	}
	h.out.Messages = make([]bus.Message, 0, 256)
	h.out.Frames = make([]port.Frame, 256)
	for i := range h.out.Frames {
		h.out.Frames[i].Data = make([]byte, 0, port.FrameSize)
	}
	hasher := stun.NewHasher()
	tracks := [...][]bus.Session{{{Tracks: published()}}, {{Tracks: watched(true)}}}
	tracks[0][0].Tracks[0].Formats[0].Feedback |= 8 // transport-wide feedback
	peer := func(i int, role api.Role, owner int) herdPeer {
		id := len(h.pubs) + len(h.subs) + 1
		server, own := stageKeys(byte(id))
		p := herdPeer{path: pathOf(id), owner: owner, keys: server, spec: &bus.Session{
			ID: api.SessionID(id), Role: role, Stream: bus.StreamID(i + 1), Tracks: tracks[role-1][0].Tracks,
			CNAME: "cname",
			Local: api.Credentials{
				Ufrag: nameOf(api.SessionID(id), role, 0), Password: "a password of this session",
			},
			RemoteUfrag: "peer",
		}}
		var tx [12]byte
		p.check = hasher.AppendRequest(nil, &tx, stun.Request{
			Username: p.spec.Local.Ufrag + ":peer", Password: p.spec.Local.Password, Priority: 1, UseCandidate: true,
			TieBreaker: 1,
		})
		if role == api.Publisher {
			var err error
			if p.sealer, err = srtp.NewSealer(own); err != nil {
				tb.Fatal(err)
			}
		}
		return p
	}
	for i := range streams {
		h.pubs = append(h.pubs, peer(i, api.Publisher, i%workers))
	}
	for i := range viewers {
		h.subs = append(h.subs, peer(i, api.Subscriber, (i+1)%workers))
	}
	return h
}

// open announces peers and connects them.
func (h *herd) open(peers []herdPeer) {
	h.Helper()
	for i := range peers {
		p := &peers[i]
		h.tellAll(bus.Message{Kind: bus.SessionOpened, ID: p.spec.ID, Session: p.spec})
		h.receive(p, p.check)
		h.tellAll(bus.Message{Kind: bus.SessionOwned, ID: p.spec.ID, Worker: p.owner, Path: p.path})
		h.tell(p.owner, bus.Message{Kind: bus.SessionKeyed, ID: p.spec.ID, Keys: p.keys})
		if p.spec.Role == api.Publisher {
			h.tellAll(bus.Message{
				Kind: bus.PublicationOpened, ID: p.spec.ID, Stream: p.spec.Stream, Generation: bus.Generation(i + 1),
				Worker: p.owner, Session: p.spec,
			})
		}
		if i%64 == 0 {
			h.drive()
		}
	}
	h.drive()
}

func (h *herd) tell(worker int, m bus.Message) {
	h.turn(herdMessage, func() { h.workers[worker].HandleMessage(h.now, &m) })
}

func (h *herd) tellAll(m bus.Message) {
	for i := range h.workers {
		h.tell(i, m)
	}
}

// receive hands a copy of a datagram of a peer to the worker that owns it.
func (h *herd) receive(p *herdPeer, data []byte) {
	in := port.Inbound{Path: p.path, Data: append([]byte(nil), data...), Arrival: h.now}
	h.turn(herdPacket, func() { h.workers[p.owner].HandlePacket(h.now, &in) })
}

// send has a publisher send a packet of video.
func (h *herd) send(p *herdPeer, key bool) {
	payload := append(vp8(true, key, ""), make([]byte, 1000)...)
	b := make([]byte, 12+4+4, port.FrameSize)
	b[0], b[1] = 0x90, 0x80|pubVP8
	binary.BigEndian.PutUint16(b[2:], uint16(p.seq))
	binary.BigEndian.PutUint32(b[4:], uint32(h.now*90/port.Millisecond))
	binary.BigEndian.PutUint32(b[8:], videoSSRC)
	copy(b[12:], []byte{0xBE, 0xDE, 0, 1, idTransport<<4 | 1, byte(p.seq >> 8), byte(p.seq), 0})
	h.receive(p, p.sealer.SealRTP(b, len(b), payload, p.seq))
	p.seq++
}

// drive lets all workers do what is due and send, until none has anything left.
func (h *herd) drive() {
	h.Helper()
	for n, busy := 0, true; busy; n++ {
		busy = false
		for i, w := range h.workers {
			in := h.inbox[i]
			h.inbox[i] = nil
			for j := range in {
				h.tell(i, in[j])
			}
			if w.Deadline() <= h.now {
				h.turn(herdTimeout, func() { w.HandleTimeout(h.now) })
			}
			var more bool
			h.turn(herdPoll, func() { more = w.Poll(h.now, &h.out) })
			h.deliver(i)
			busy = busy || more || len(in) > 0 || w.Deadline() <= h.now
		}
		if n > 1_000_000 {
			h.Fatal("the workers never rest")
		}
	}
}

// deliver passes on what worker i said, and counts what it sent.
func (h *herd) deliver(i int) {
	for _, m := range h.out.Messages {
		if m.To >= 0 {
			m.From, m.Data = i, append([]byte(nil), m.Data...)
			h.inbox[m.To] = append(h.inbox[m.To], m)
		}
	}
	for _, f := range h.out.Frames[:h.out.Filled] {
		if f.Data[0]>>6 == 2 && f.Data[1]&0x7F == subVP8 {
			h.frames++
		}
	}
	clear(h.out.Messages)
	h.out.Filled, h.out.Routes, h.out.Messages = 0, h.out.Routes[:0], h.out.Messages[:0]
}

// pass lets a span of time go by in steps. Publishers' keep-alives are taken as heard.
func (h *herd) pass(span, step port.Time, each func()) {
	h.Helper()
	for end := h.now + span; h.now < end; {
		h.now += step
		for i := range h.pubs {
			if s := h.workers[h.pubs[i].owner].sessions[h.pubs[i].spec.ID]; s != nil {
				s.heard = h.now
			}
		}
		if each != nil {
			each()
		}
		h.drive()
	}
}
