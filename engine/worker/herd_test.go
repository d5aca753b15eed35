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
// The workers are driven one after another. Their messages to each other pass by hand, in turn.
type herd struct {
	testing.TB
	workers []*Worker
	now     port.Time
	out     Outgoing
	inbox   []herdInbox // by worker
	pubs    []herdPeer
	subs    []herdPeer
	frames  int // of media sent
	random  uint64
	// turn makes one call into a worker.
	turn func(c herdCall, call func())
}

// herdInbox is the messages that wait for a worker.
type herdInbox struct {
	control []bus.Control
	media   []bus.Media
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
	owner  bus.Address
	check  []byte
	keys   *srtp.Keys // the worker's
	sealer srtp.Sealer
	seq    uint64
}

// newHerd makes the peers; open has the workers serve them.
func newHerd(tb testing.TB, workers, streams, viewers int) *herd {
	tb.Helper()
	h := &herd{
		TB: tb, now: 10 * port.Second, inbox: make([]herdInbox, workers), random: 1,
		turn: func(_ herdCall, call func()) { call() },
	}
	rand := func() uint64 { h.random = h.random*6364136223846793005 + 1442695040888963407; return h.random >> 20 }
	for i := range workers {
		h.workers = append(h.workers, New(Config{Index: i, Workers: workers, Rand: rand, Ufrags: labUfrags}))
	}
	h.out.Control, h.out.Media = make([]bus.Control, 0, 256), make([]bus.Media, 0, 256)
	h.out.Frames = make([]port.Frame, 256)
	for i := range h.out.Frames {
		h.out.Frames[i].Data = make([]byte, 0, port.FrameSize)
	}
	hasher := stun.NewHasher()
	tracks := [...][]bus.Session{{{Tracks: published()}}, {{Tracks: watched(true)}}}
	tracks[0][0].Tracks[0].Formats[0].Feedback |= 8 // transport-wide feedback
	peer := func(i int, role api.Role, owner bus.Address) herdPeer {
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
		h.pubs = append(h.pubs, peer(i, api.Publisher, bus.Address(i%workers)))
	}
	for i := range viewers {
		h.subs = append(h.subs, peer(i, api.Subscriber, bus.Address((i+1)%workers)))
	}
	return h
}

// open announces peers and connects them.
func (h *herd) open(peers []herdPeer) {
	h.Helper()
	for i := range peers {
		p := &peers[i]
		h.tellAll(bus.SessionOpened(p.spec))
		h.receive(p, p.check)
		h.tellAll(bus.SessionOwned(p.spec.ID, p.owner, p.path))
		h.tell(p.owner, bus.SessionKeyed(0, p.spec.ID, p.keys))
		if p.spec.Role == api.Publisher {
			h.tellAll(bus.PublicationOpened(p.spec.Stream, bus.Generation(i+1), p.owner, p.spec))
		}
		if i%64 == 0 {
			h.drive()
		}
	}
	h.drive()
}

func (h *herd) tell(worker bus.Address, m bus.Control) {
	h.turn(herdMessage, func() { h.workers[worker].HandleControl(h.now, &m) })
}

func (h *herd) tellAll(m bus.Control) {
	for i := range h.workers {
		h.tell(bus.Address(i), m)
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
			h.inbox[i] = herdInbox{}
			for _, m := range in.control {
				h.tell(bus.Address(i), m)
			}
			for j := range in.media {
				h.turn(herdMessage, func() { w.HandleMedia(h.now, &in.media[j]) })
			}
			if w.Deadline() <= h.now {
				h.turn(herdTimeout, func() { w.HandleTimeout(h.now) })
			}
			var more bool
			h.turn(herdPoll, func() { more = w.Poll(h.now, &h.out) })
			h.deliver(i)
			busy = busy || more || len(in.control)+len(in.media) > 0 || w.Deadline() <= h.now
		}
		if n > 1_000_000 {
			h.Fatal("the workers never rest")
		}
	}
}

// deliver passes on the messages of worker i, and counts the media that it sent.
func (h *herd) deliver(i int) {
	for _, m := range h.out.Control {
		if m.To != bus.Controller {
			m.From = bus.Address(i)
			h.inbox[m.To].control = append(h.inbox[m.To].control, m)
		}
	}
	for _, m := range h.out.Media {
		m.From, m.Data = bus.Address(i), append([]byte(nil), m.Data...)
		h.inbox[m.To].media = append(h.inbox[m.To].media, m)
	}
	for _, f := range h.out.Frames[:h.out.Filled] {
		if f.Data[0]>>6 == 2 && f.Data[1]&0x7F == subVP8 {
			h.frames++
		}
	}
	clear(h.out.Control)
	clear(h.out.Media)
	h.out.Filled, h.out.Routes, h.out.Control, h.out.Media = 0, h.out.Routes[:0], h.out.Control[:0], h.out.Media[:0]
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
