package sim

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/netip"

	"ringcast/engine/adapt"
	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
	"ringcast/engine/srtp"
	"ringcast/engine/ufrag"
	"ringcast/engine/worker"
	"ringcast/testenv/netpath"
)

// Config describes a World.
type Config struct {
	Seed    uint64
	Workers int
	Faults  Faults
	// BusLoss is the share of media messages between workers that find no room. It may be changed
	// while the world runs, see SetBusLoss.
	BusLoss float64
	// Turn is the length of each turn of a worker: packets that arrive meanwhile are the next turn's batch. With 0 each
	// turn draws its length, up to maxTurn.
	Turn port.Time
	// Adapt chooses a layer for each viewer. Without it, all get the best.
	Adapt bool
	// Dials adds a worker that dials other servers, see Pull. Beside, if set, is another server, whose clock this one
	// shares. It dials as well.
	Dials  bool
	Beside *World
	// Random, if set, bends the numbers of a worker's source of randomness, to begin where a test needs it.
	Random func(x uint64) uint64
}

// A World is everything of one simulation.
type World struct {
	Oracle  *Oracle
	Network *Network

	cfg     Config
	clock   *netpath.Clock
	rand    *rand.Rand
	workers []*simWorker
	peers   []peer
	trace   uint64
	control controller
	server  netip.Addr
	servers map[netip.Addr]*World // all that share the clock
	lanes   map[lane]port.Time    // when the last message of each arrives

	// place is the worker that the next peers' addresses hash to, or anyone; home is their IP address.
	place int
	home  netip.Addr
	// onDown, if set, sees every datagram that a worker sends.
	onDown func(worker int, remote netip.AddrPort, data []byte)
	// onMessage, if set, sees every control message that a worker sends.
	onMessage func(m *bus.Control)
	// lose, if set, reports which media messages find no room, beside BusLoss.
	lose func(m *bus.Media) bool
}

// anyone leaves it to chance which worker an address hashes to.
const anyone = -1

type lane struct {
	from, to bus.Address
	media    bool
}

// A message waits for a worker: one of either kind.
type message struct {
	control *bus.Control
	media   *bus.Media
}

// peer is a publisher or a subscriber.
type peer interface {
	// receive takes in a datagram from the server.
	receive(data []byte)
	address() netip.AddrPort
}

type simWorker struct {
	*worker.Worker
	index  int
	out    worker.Outgoing
	routes map[port.Route]port.Path
	loss   *rand.Rand
	// messages and packets wait for the next turn, which begins at next; the present one lasts until busy.
	messages   []message
	packets    []port.Inbound
	next, busy port.Time
	turns      *rand.Rand
	// blocked is until when the port lends no frames, so that the driver cannot poll.
	blocked port.Time
}

const (
	// minTurn and maxTurn bound the lengths of turns that are drawn.
	minTurn = 20 * port.Microsecond
	maxTurn = port.Millisecond
	// batchPackets is how many datagrams one turn takes in, as in the engine's runner.
	batchPackets = 64
)

// New makes a world at time 0, at which nothing has happened.
func New(cfg Config) *World {
	w := &World{
		cfg: cfg, Oracle: NewOracle(), trace: 14695981039346656037,
		rand:  rand.New(rand.NewPCG(cfg.Seed, 1)),
		lanes: make(map[lane]port.Time),
		Network: &Network{
			Faults: cfg.Faults, rand: rand.New(rand.NewPCG(cfg.Seed, 2)), last: make(map[flow]port.Time),
			own: make(map[int]*Faults),
		},
		clock: netpath.NewClock(port.Second), // so that no time is 0 by accident
		place: anyone, home: netip.MustParseAddr("198.18.0.2"), servers: make(map[netip.Addr]*World),
	}
	workers := cfg.Workers
	if cfg.Beside != nil {
		w.clock, w.servers = cfg.Beside.clock, cfg.Beside.servers
	}
	if cfg.Dials || cfg.Beside != nil {
		workers++
	}
	w.server = netip.AddrFrom4([4]byte{198, 18, byte(len(w.servers)), 1})
	w.servers[w.server] = w
	w.Network.dead, w.Network.links = make(map[flow]bool), make(map[flow]netpath.Stage)
	w.control.world = w
	w.control.sessions = make(map[api.SessionID]*controlled)
	w.control.live = make(map[bus.StreamID]*controlled)
	w.control.standby = make(map[bus.StreamID]*controlled)
	for i := range workers {
		r := rand.New(rand.NewPCG(cfg.Seed, 100+uint64(i)))
		random := r.Uint64
		if cfg.Random != nil {
			random = func() uint64 { return cfg.Random(r.Uint64()) }
		}
		x := &simWorker{
			Worker: worker.New(worker.Config{
				Index: i, Workers: workers, Rand: random, Ufrags: ufrags, EvenRuns: true,
				NewSealer: w.Oracle.NewSealer, Adapt: cfg.Adapt, StartRate: adapt.StartRate,
			}),
			index: i, routes: make(map[port.Route]port.Path), next: port.Never,
			loss:  rand.New(rand.NewPCG(cfg.Seed, 200+uint64(i))),
			turns: rand.New(rand.NewPCG(cfg.Seed, 300+uint64(i))),
		}
		x.out.Control, x.out.Media = make([]bus.Control, 0, 256), make([]bus.Media, 0, 256)
		x.out.Frames = make([]port.Frame, 256)
		arena := make([]byte, 256*port.FrameSize)
		for j := range x.out.Frames {
			x.out.Frames[j].Data = arena[j*port.FrameSize:][:0:port.FrameSize]
		}
		w.workers = append(w.workers, x)
	}
	return w
}

// Now is the virtual time.
func (w *World) Now() port.Time { return w.clock.Now() }

// Trace is a hash of all datagrams sent so far: when, by whom, which bytes.
func (w *World) Trace() uint64 { return w.trace }

// Worker gives access to a worker, for its counters.
func (w *World) Worker(i int) *worker.Worker { return w.workers[i].Worker }

// Counters adds up the workers' counters.
func (w *World) Counters() (sum worker.Counters) {
	for _, x := range w.workers {
		c := x.Counters()
		for i, v := range c.Drops {
			sum.Drops[i] += v
		}
		for i, v := range c.Counts {
			sum.Counts[i] += v
		}
	}
	return sum
}

// at runs f at a time, after the events that were scheduled for the same time before.
func (w *World) at(t port.Time, f func()) { w.clock.At(t, f) }

// Run lets time pass until a moment.
func (w *World) Run(until port.Time) { w.clock.Run(until) }

// schedule makes a worker's next turn begin at a time, or as soon as its present turn is over.
func (w *World) schedule(x *simWorker, at port.Time) {
	if at == port.Never {
		return
	}
	at = max(at, x.busy, w.clock.Now())
	if at >= x.next {
		return
	}
	x.next = at
	w.at(at, func() {
		if x.next == at { // not overtaken by an earlier one
			x.next = port.Never
			w.turn(x)
		}
	})
}

// turn is one turn of a worker's driver: messages, then a batch of packets, then timeouts that are due, then one poll.
func (w *World) turn(x *simWorker) {
	length := w.cfg.Turn
	if length == 0 {
		length = minTurn + port.Time(x.turns.Int64N(int64(maxTurn-minTurn)))
	}
	x.busy = w.clock.Now() + length
	for _, m := range x.messages {
		if m.media != nil {
			x.HandleMedia(w.clock.Now(), m.media)
		} else {
			x.HandleControl(w.clock.Now(), m.control)
		}
	}
	clear(x.messages)
	x.messages = x.messages[:0]
	n := min(len(x.packets), batchPackets)
	for i := range n {
		if i%worker.Foreseen == 0 {
			x.Foresee(x.packets[i:n])
		}
		x.HandlePacket(w.clock.Now(), &x.packets[i])
	}
	x.packets = append(x.packets[:0], x.packets[n:]...)
	if x.Deadline() <= w.clock.Now() {
		x.HandleTimeout(w.clock.Now())
	}
	more := w.clock.Now() >= x.blocked && w.poll(x)
	if more || len(x.packets) > 0 {
		w.schedule(x, x.busy)
	} else {
		w.schedule(x, x.Deadline())
	}
}

// poll carries out the results of one Poll of a worker, and reports whether there is more.
func (w *World) poll(x *simWorker) (more bool) {
	more = x.Poll(w.clock.Now(), &x.out)
	for _, c := range x.out.Routes {
		if c.Path == (port.Path{}) {
			delete(x.routes, c.Route)
		} else {
			x.routes[c.Route] = c.Path
		}
	}
	x.out.Routes = x.out.Routes[:0]
	for _, m := range x.out.Control {
		w.passControl(x, m)
	}
	for _, m := range x.out.Media {
		w.passMedia(x, m)
	}
	x.out.Control, x.out.Media = x.out.Control[:0], x.out.Media[:0]
	for i := range x.out.Frames[:x.out.Filled] {
		f := &x.out.Frames[i]
		w.down(x, f.Route, f.Data)
	}
	x.out.Filled = 0
	return more
}

// Block makes a worker's port lend no frames for a while: its NIC or socket takes nothing. The worker
// goes on receiving, as its driver would let it.
func (w *World) Block(i int, span port.Time) {
	x := w.workers[i]
	x.blocked = w.clock.Now() + span
	w.at(x.blocked, func() { w.schedule(x, w.clock.Now()) })
}

// SetBusLoss changes the share of media messages between workers that find no room.
func (w *World) SetBusLoss(share float64) { w.cfg.BusLoss = share }

// Place makes the next addresses hash to a worker, or to anyone.
func (w *World) Place(i int) { w.place = i }

// passControl carries a control message of a worker.
func (w *World) passControl(from *simWorker, m bus.Control) {
	m.From = bus.Address(from.index)
	if w.onMessage != nil {
		w.onMessage(&m)
	}
	if m.To == bus.Controller && m.Kind == bus.KindLadder {
		return // this one does nothing with it
	}
	w.at(w.lane(m.From, m.To, false), func() {
		if m.To == bus.Controller {
			w.control.handle(&m)
		} else {
			w.arrive(m.To, message{control: &m})
		}
	})
}

// passMedia carries a media message of a worker. Media lanes copy, as the bus does.
func (w *World) passMedia(from *simWorker, m bus.Media) {
	m.From = bus.Address(from.index)
	if from.loss.Float64() < w.cfg.BusLoss || w.lose != nil && w.lose(&m) {
		return
	}
	m.Data = append([]byte(nil), m.Data...)
	w.at(w.lane(m.From, m.To, true), func() { w.arrive(m.To, message{media: &m}) })
}

// arrive puts a message before a worker.
func (w *World) arrive(to bus.Address, m message) {
	x := w.workers[to]
	x.messages = append(x.messages, m)
	w.schedule(x, w.clock.Now())
}

// tell sends a message of the controller to one worker.
func (w *World) tell(to bus.Address, m bus.Control) {
	m.To, m.From = to, bus.Controller
	w.at(w.lane(bus.Controller, to, false), func() { w.arrive(to, message{control: &m}) })
}

// lane returns the time at which a message arrives. Each lane keeps its order and takes its own time, up to a
// millisecond, so messages of different lanes overtake.
func (w *World) lane(from, to bus.Address, media bool) port.Time {
	k := lane{from, to, media}
	if from != bus.Controller && !media {
		// The bus hands out the controller's earlier messages first.
		w.lanes[k] = max(w.lanes[k], w.lanes[lane{bus.Controller, to, false}])
	}
	t := max(w.lanes[k], w.clock.Now()+port.Time(w.rand.Int64N(int64(port.Millisecond))))
	w.lanes[k] = t
	return t
}

func (w *World) tellAll(m bus.Control) {
	for i := range w.workers {
		w.tell(bus.Address(i), m)
	}
}

// down carries a frame of a worker to its peer.
func (w *World) down(from *simWorker, r port.Route, data []byte) {
	p, ok := from.routes[r]
	if !ok {
		panic(fmt.Sprintf("worker %d sends on route %d, which leads nowhere", from.index, r))
	}
	w.note(byte(from.index), data)
	if port.IsSocket(p.Local) {
		w.across(p, data)
		return
	}
	if w.onDown != nil {
		w.onDown(from.index, p.Remote, data)
	}
	i := w.indexOf(p.Remote)
	data = append([]byte(nil), data...)
	for _, t := range w.Network.send(w.clock.Now(), flow{i, false}, len(data)) {
		w.at(t, func() { w.peers[i].receive(append([]byte(nil), data...)) })
	}
}

// up carries a datagram of a peer to the worker that its address hashes to.
func (w *World) up(p peer, data []byte) { w.upFrom(p.address(), data) }

func (w *World) upFrom(from netip.AddrPort, data []byte) {
	w.note(0xFF, data)
	i := w.indexOf(from)
	x := w.workers[w.hash(from)]
	path := port.Path{Remote: from, Local: w.server}
	for _, t := range w.Network.send(w.clock.Now(), flow{i, true}, len(data)) {
		w.at(t, func() {
			now := w.clock.Now()
			x.packets = append(x.packets, port.Inbound{Path: path, Data: append([]byte(nil), data...), Arrival: now})
			w.schedule(x, now)
		})
	}
}

// hash spreads peers over workers as a NIC would.
func (w *World) hash(a netip.AddrPort) int {
	h := fnv.New32a()
	h.Write(binary.BigEndian.AppendUint16(nil, a.Port()))
	return int(h.Sum32()>>4) % w.cfg.Workers
}

func (w *World) note(who byte, data []byte) {
	step := func(b byte) { w.trace = (w.trace ^ uint64(b)) * 1099511628211 }
	step(who)
	for i := range 8 {
		step(byte(w.clock.Now() >> (8 * i)))
	}
	for _, b := range data {
		step(b)
	}
}

const firstPort = 10_000

// join gives a peer an address; it may have several.
func (w *World) join(p peer) netip.AddrPort {
	for {
		a := netip.AddrPortFrom(w.home, uint16(firstPort+len(w.peers)))
		w.peers = append(w.peers, p)
		if w.place == anyone || w.hash(a) == w.place {
			return a
		}
		w.peers[len(w.peers)-1] = nil // nobody's
	}
}

// leave takes an address out of use: datagrams to it are lost.
func (w *World) leave(a netip.AddrPort) { w.Network.dead[flow{w.indexOf(a), false}] = true }

// cut loses all that is sent between the server and an address, or mends that.
func (w *World) cut(a netip.AddrPort, off bool) {
	i := w.indexOf(a)
	w.Network.dead[flow{i, false}], w.Network.dead[flow{i, true}] = off, off
}

func (w *World) indexOf(a netip.AddrPort) int { return int(a.Port()) - firstPort }

// controller is the stand-in for the engine's: claims and keys, no handshakes. A publisher is live once it has
// its keys, and where another is, once its media began: the newest always wins. A backup waits for the live one to
// fail.
type controller struct {
	world      *World
	sessions   map[api.SessionID]*controlled
	live       map[bus.StreamID]*controlled // the publisher whose publication the workers have
	standby    map[bus.StreamID]*controlled // the publisher that waits for that one to fail
	generation bus.Generation
	sockets    map[netip.Addr]*socket
	ended      map[api.SessionID]api.Reason
	endedAt    map[api.SessionID]port.Time
}

type controlled struct {
	spec  *bus.Session
	keys  *srtp.Keys
	owner int

	generation bus.Generation
	// claims counts the workers that wanted to own the session, keyed how often one was given keys.
	claims, keyed int
	restarts      int
	// backup is set for a publisher that does not replace the live one. flows is set while its media comes.
	backup, flows bool
}

// ufrags are the keys of every world.
var ufrags = ufrag.New(func(b []byte) { clear(b) })

// nameOf is the ufrag of a session after some restarts.
func nameOf(id api.SessionID, role api.Role, restart int) string {
	return ufrags.Make(ufrag.ID{Session: uint64(id), Role: uint8(role), Restart: uint16(restart)})
}

// open announces a session to all workers and returns the peer's keys, those of the server mirrored.
func (c *controller) open(
	role api.Role, stream bus.StreamID, tracks []rtp.Track, profile srtp.Profile,
) (*bus.Session, *srtp.Keys) {
	s := c.register(role, stream, tracks)
	return s.spec, c.announce(s, profile)
}

// register makes a session of which no worker knows.
func (c *controller) register(role api.Role, stream bus.StreamID, tracks []rtp.Track) *controlled {
	id := api.SessionID(len(c.sessions) + 1)
	spec := &bus.Session{
		ID: id, Role: role, Stream: stream, Tracks: tracks, CNAME: fmt.Sprintf("cname%d", id),
		Local:       api.Credentials{Ufrag: nameOf(id, role, 0), Password: fmt.Sprintf("password-of-session-%06d", id)},
		RemoteUfrag: fmt.Sprintf("peer%04d", id),
	}
	c.sessions[id] = &controlled{spec: spec, owner: -1}
	return c.sessions[id]
}

// announce gives a session its keys, announces it to all workers that serve peers, and returns the peer's keys.
func (c *controller) announce(s *controlled, profile srtp.Profile) *srtp.Keys {
	r := c.world.rand
	bytes := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	k := &srtp.Keys{
		Profile: profile, LocalKey: bytes(profile.KeyLen()), LocalSalt: bytes(profile.SaltLen()),
		RemoteKey: bytes(profile.KeyLen()), RemoteSalt: bytes(profile.SaltLen()),
	}
	s.keys = k
	for i := range c.world.cfg.Workers {
		c.world.tell(bus.Address(i), bus.SessionOpened(s.spec))
	}
	return mirrored(k)
}

// mirrored are the peer's keys.
func mirrored(k *srtp.Keys) *srtp.Keys {
	return &srtp.Keys{
		Profile: k.Profile, LocalKey: k.RemoteKey, LocalSalt: k.RemoteSalt, RemoteKey: k.LocalKey,
		RemoteSalt: k.LocalSalt,
	}
}

func (c *controller) handle(m *bus.Control) {
	s := c.sessions[m.ID]
	if s == nil {
		return
	}
	switch m.Kind {
	case bus.KindSessionClaimed:
		s.claims++
		if s.spec.Dial != nil {
			s.keyed++
			c.world.tell(m.From, bus.SessionKeyed(m.From, m.ID, s.keys))
			return
		}
		if s.owner >= 0 {
			return
		}
		s.owner = int(m.From)
		s.keyed++
		c.world.tellAll(bus.SessionOwned(m.ID, m.From, port.Path{}))
		c.world.tell(m.From, bus.SessionKeyed(m.From, m.ID, s.keys))
		if s.spec.Role == api.Publisher && c.live[s.spec.Stream] == nil {
			c.goLive(s)
		} else if s.backup {
			c.seat(s)
		}
	case bus.KindMediaBegan:
		if live := c.live[s.spec.Stream]; live != s && c.standby[s.spec.Stream] != s {
			c.goLive(s)
			if live != nil {
				c.close(live.spec.ID, api.ReasonReplaced)
			}
		}
	case bus.KindMediaFlows, bus.KindMediaPaused:
		if s.generation != m.Generation {
			return
		}
		s.flows = m.Kind == bus.KindMediaFlows
		if x := c.standby[s.spec.Stream]; c.live[s.spec.Stream] == s && !s.flows && x != nil && x.flows {
			c.hand(s.spec.Stream)
		}
	case bus.KindSessionNominated:
		c.world.tellAll(bus.SessionSettled(m.ID, m.Local.Ufrag))
	case bus.KindSessionEnded:
		c.close(m.ID, m.Reason)
	}
}

// goLive makes a publisher its stream's, on all workers.
func (c *controller) goLive(s *controlled) {
	c.live[s.spec.Stream] = s
	c.generation++
	s.generation = c.generation
	c.world.tellAll(bus.PublicationOpened(s.spec.Stream, s.generation, bus.Address(s.owner), s.spec))
}

// spare is the stream of a publisher that waits to have another.
func spare(id bus.StreamID) bus.StreamID { return id + 1000 }

// seat makes a publisher wait for the live one of its stream to fail.
func (c *controller) seat(s *controlled) {
	c.standby[s.spec.Stream] = s
	c.generation++
	s.generation, s.flows = c.generation, false
	c.world.tell(bus.Address(s.owner),
		bus.PublicationOpened(spare(s.spec.Stream), s.generation, bus.Address(s.owner), s.spec))
}

// hand gives a stream to the publisher that waits. The live one, if any, waits from now on.
func (c *controller) hand(id bus.StreamID) {
	live, next := c.live[id], c.standby[id]
	delete(c.standby, id)
	c.goLive(next)
	if live != nil {
		c.seat(live)
	}
}

// restart gives a session new credentials (RFC 8445 section 2.4) and returns both sides' of them.
func (c *controller) restart(id api.SessionID) (local api.Credentials, remote string) {
	s := c.sessions[id]
	s.restarts++
	local = api.Credentials{
		Ufrag:    nameOf(id, s.spec.Role, s.restarts),
		Password: fmt.Sprintf("password-of-session-%06d-%d", id, s.restarts),
	}
	remote = fmt.Sprintf("peer%04d-%d", id, s.restarts)
	c.world.tellAll(bus.SessionRestarted(id, local, remote))
	return local, remote
}

func (c *controller) close(id api.SessionID, why api.Reason) {
	s := c.sessions[id]
	if s == nil {
		return
	}
	if c.ended == nil {
		c.ended, c.endedAt = make(map[api.SessionID]api.Reason), make(map[api.SessionID]port.Time)
	}
	if _, again := c.ended[id]; again {
		return
	}
	c.ended[id], c.endedAt[id] = why, c.world.clock.Now()
	if c.live[s.spec.Stream] == s {
		delete(c.live, s.spec.Stream)
		c.world.tellAll(bus.PublicationClosed(s.spec.Stream, s.generation))
		if c.standby[s.spec.Stream] != nil {
			c.hand(s.spec.Stream)
		}
	} else if c.standby[s.spec.Stream] == s {
		delete(c.standby, s.spec.Stream)
		c.world.tell(bus.Address(s.owner), bus.PublicationClosed(spare(s.spec.Stream), s.generation))
	}
	c.world.tellAll(bus.SessionClosed(id))
}
