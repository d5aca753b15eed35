package xsk

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"ringcast/engine/port"
	"ringcast/xsk/frame"
	"ringcast/xsk/nexthop"
)

// A kernel is the other side of a bundle's rings, in plain memory. It behaves like net/xdp/xsk.c in copy mode, with a
// device that answers as the test wants.
type kernel struct {
	bundle  *Bundle
	sockets []*kernelSocket
	watch   func(frame []byte) // sees every frame that leaves, at once
}

// kernelSocket is the kernel's side of one socket. cachedProd and cachedCons are those of struct xsk_queue. The first
// is the TX ring's producer index as the kernel saw it last. The second is its own index, which it does not store at
// once.
type kernelSocket struct {
	k                      *kernel
	socket                 *socket
	cachedProd, cachedCons uint32
	fillCons               uint32
	rxProd, reportsProd    uint32
	stock                  []uint64 // chunks that lie with the driver
	completionProd         uint32

	budget int // frames of a call
	// verdict answers for each frame: 0 sends it, EAGAIN leaves it, EBUSY drops it. nil sends all.
	verdict func() unix.Errno
	// whole answers for a whole call before anything is looked at.
	whole func() unix.Errno
	// late has a kick only raise an interrupt; the driver runs when the test calls interrupt.
	late   bool
	raised bool
	// held is sent frames whose memory has not come back yet, if hold is set.
	hold bool
	held []uint64

	kicks   int
	invalid int
	sent    [][]byte
}

const testRing = 64

// noDescriptor and numbers above it are no open files.
const noDescriptor = 1 << 20

// newZeroCopy makes the kernel of a driver whose kick raises an interrupt, like igb's and ice's. The call returns 0
// before the driver has looked at the ring.
func newZeroCopy(n int) *kernel {
	const receiveFrames = 1024
	k := newKernelOf(bundleConfig(ZeroCopy, func(c *BundleConfig) {
		c.ReceiveFrames, c.TransmitFrames = receiveFrames, testRing
	}), n, 0)
	k.bundle.info.ZeroCopy = true
	for _, q := range k.sockets {
		q.late = true
	}
	return k
}

// interrupt runs the driver, if a kick has asked for it.
func (q *kernelSocket) interrupt() {
	if q.raised {
		q.raised = false
		_ = q.transfer()
	}
}

// newKernel makes a bundle of n sockets whose rings' indices begin at start.
func newKernel(n, transmitFrames int, start uint32) *kernel {
	return newKernelOf(bundleConfig(Copy, func(c *BundleConfig) {
		c.ReceiveFrames, c.TransmitFrames = testRing, transmitFrames
	}), n, start)
}

func newKernelOf(cfg BundleConfig, n int, start uint32) *kernel {
	cfg.Interface, cfg.Queues = 7, slices.Collect(seq(n))
	if err := cfg.validate(); err != nil {
		panic(err)
	}
	b := &Bundle{config: cfg}
	b.memory = make([]byte, b.firstReceive(n)*cfg.ChunkSize)
	k := &kernel{bundle: b}
	for i := range n {
		q := &socket{queue: i, fd: i}
		need := uint32(unix.XDP_RING_NEED_WAKEUP)
		shared := func() indices {
			p, c, flags := start, start, uint32(0)
			return indices{&p, &c, &flags}
		}
		q.fill = newProducer(shared(), make([]uint64, cfg.ReceiveFrames))
		q.rx = newConsumer(shared(), make([]unix.XDPDesc, cfg.ReceiveFrames))
		q.completion = newConsumer(shared(), make([]uint64, cfg.TransmitFrames))
		q.tx = newProducer(shared(), make([]unix.XDPDesc, cfg.TransmitFrames))
		q.tx.shared.flags = &need
		p, c, flags := uint32(0), uint32(0), uint32(0)
		q.reports = reportSocket{fd: noDescriptor + i, rx: newConsumer(
			indices{&p, &c, &flags}, make([]unix.XDPDesc, cfg.ReceiveFrames/reportsRoom))}
		q.fillFrom(b.firstReceive(i), cfg)
		b.sockets = append(b.sockets, q)
		k.sockets = append(k.sockets, &kernelSocket{
			k: k, socket: q, budget: 32,
			cachedProd: start, cachedCons: start, fillCons: start, rxProd: start, completionProd: start,
		})
	}
	b.closed = true // there are no descriptors to close
	return k
}

func seq(n int) func(func(int) bool) {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}

// kick is sendto: __xsk_generic_xmit.
func (k *kernel) kick(fd int) unix.Errno { return k.sockets[fd].kick() }

func (q *kernelSocket) kick() (errno unix.Errno) {
	q.kicks++
	if q.whole != nil {
		if errno := q.whole(); errno != 0 {
			return errno
		}
	}
	if q.late {
		q.raised = true
		return 0
	}
	return q.transfer()
}

// transfer sends what lies on the ring.
func (q *kernelSocket) transfer() (errno unix.Errno) {
	ring, sent, budget := &q.socket.tx, false, q.budget
	for {
		if q.cachedProd == q.cachedCons {
			atomic.StoreUint32(ring.shared.consumer, q.cachedCons)
			q.cachedProd = atomic.LoadUint32(ring.shared.producer)
		}
		if q.cachedProd == q.cachedCons {
			break
		}
		d := ring.entries[int(q.cachedCons)&(len(ring.entries)-1)]
		if d.Addr >= uint64(len(q.k.bundle.memory)) || d.Len == 0 || d.Options != 0 {
			q.invalid++
			q.cachedCons++
			break
		}
		if budget == 0 {
			errno = unix.EAGAIN
			break
		}
		budget--
		if q.verdict != nil {
			errno = q.verdict()
		}
		if errno != 0 && errno != unix.EBUSY {
			break
		}
		q.cachedCons++
		if errno == unix.EBUSY {
			q.complete(d.Addr)
			break
		}
		leaving := q.k.bundle.memory[d.Addr : d.Addr+uint64(d.Len)]
		if q.k.watch != nil {
			q.k.watch(leaving)
		} else {
			q.sent = append(q.sent, slices.Clone(leaving))
		}
		if q.hold {
			q.held = append(q.held, d.Addr)
		} else {
			q.complete(d.Addr)
		}
		sent = true
	}
	if sent {
		atomic.StoreUint32(ring.shared.consumer, q.cachedCons)
	}
	return errno
}

// complete gives the memory of a frame back.
func (q *kernelSocket) complete(address uint64) {
	ring := &q.socket.completion
	ring.entries[int(q.completionProd)&(len(ring.entries)-1)] = address
	q.completionProd++
	atomic.StoreUint32(ring.shared.producer, q.completionProd)
}

// letGo completes what was held.
func (q *kernelSocket) letGo() {
	for _, address := range q.held {
		q.complete(address)
	}
	q.held = nil
}

// receive delivers a frame, false if the fill or the RX ring leaves no room.
func (q *kernelSocket) receive(data []byte) bool { return q.deliver(&q.socket.rx, &q.rxProd, data) }

// report is the same for a report.
func (q *kernelSocket) report(data []byte) bool {
	return q.deliver(&q.socket.reports.rx, &q.reportsProd, data)
}

// deliver puts a frame on an RX ring, of which prod is the producer's index.
func (q *kernelSocket) deliver(rx *consumer[unix.XDPDesc], prod *uint32, data []byte) bool {
	if len(q.stock) == 0 {
		q.stockUp(1)
	}
	if len(q.stock) == 0 || *prod-atomic.LoadUint32(rx.shared.consumer) == uint32(len(rx.entries)) {
		return false
	}
	last := len(q.stock) - 1
	address := q.stock[last] + unix.XDP_PACKET_HEADROOM
	q.stock = q.stock[:last]
	copy(q.k.bundle.memory[address:], data)
	rx.entries[int(*prod)&(len(rx.entries)-1)] = unix.XDPDesc{Addr: address, Len: uint32(len(data))}
	*prod++
	atomic.StoreUint32(rx.shared.producer, *prod)
	return true
}

// stockUp takes chunks from the fill ring until there are n to receive into.
func (q *kernelSocket) stockUp(n int) {
	fill := &q.socket.fill
	for len(q.stock) < n && q.fillCons != atomic.LoadUint32(fill.shared.producer) {
		q.stock = append(q.stock, fill.entries[int(q.fillCons)&(len(fill.entries)-1)])
		q.fillCons++
	}
	atomic.StoreUint32(fill.shared.consumer, q.fillCons)
}

// hops is a NextHops of one answer for all paths, and the Way of each.
type hops struct {
	generation atomic.Uint32
	hop        atomic.Pointer[nexthop.Hop] // nil: none, for the reason why
	why        nexthop.Verdict
	own        netip.Addr // our only address
	asked      int
	followed   atomic.Int32 // so many ways are not forgotten
}

func newHops() *hops {
	h := new(hops)
	h.hop.Store(&nexthop.Hop{Source: [6]byte{2, 0, 0, 0, 0, 1}, Destination: [6]byte{2, 0, 0, 0, 0, 2}, MTU: 1500})
	return h
}

func (h *hops) Generation() uint32 { return h.generation.Load() }

func (h *hops) Own(a netip.Addr) bool { return a == h.own }

func (h *hops) Follow(port.Path) nexthop.Way {
	h.followed.Add(1)
	return h
}

func (h *hops) Forget() { h.followed.Add(-1) }

func (h *hops) Resolve() (nexthop.Hop, nexthop.Verdict) {
	h.asked++
	if hop := h.hop.Load(); hop != nil {
		return *hop, nexthop.Usable
	}
	return nexthop.Hop{}, h.why
}

func (h *hops) set(hop *nexthop.Hop) {
	h.hop.Store(hop)
	h.generation.Add(1)
}

// datagram is one that a companion was asked to send.
type datagram struct {
	path port.Path
	data []byte
}

// notes is a companion that only takes notes.
type notes struct {
	sent    []datagram
	err     error
	arrived []port.Inbound
	asked   int
	watch   func(datagram) // sees it instead
}

func (n *notes) Send(p port.Path, payload []byte) error {
	switch {
	case n.err != nil:
	case n.watch != nil:
		n.watch(datagram{p, payload})
	default:
		n.sent = append(n.sent, datagram{p, slices.Clone(payload)})
	}
	return n.err
}

func (n *notes) Receive(_ port.Time, in *port.Batch) int {
	n.asked++
	in.Packets = n.arrived
	n.arrived = nil
	return len(in.Packets)
}

func (n *notes) FD() int { return -1 } // poll passes it over

// doorman is a guard that takes notes.
type doorman struct {
	allowed map[port.Path]int
	rate    uint32 // of the last Allow
	err     error
}

func (d *doorman) Allow(p port.Path, rate uint32) error {
	d.rate = rate
	if d.err == nil {
		d.allowed[p]++
	}
	return d.err
}

func (d *doorman) Revoke(p port.Path) error {
	if d.allowed[p]--; d.allowed[p] == 0 {
		delete(d.allowed, p)
	}
	return nil
}

// rig is a port between a simulated kernel and a test that plays the worker.
type rig struct {
	*Port
	t     testing.TB
	k     *kernel
	hops  *hops
	notes *notes
	guard *doorman
	clock port.Time
	out   port.Outgoing
	in    port.Batch
}

const (
	testFrames = 32
	testPort   = 7000
)

// with returns the default configuration with one change.
func with(change func(*Config)) Config {
	cfg := DefaultConfig()
	change(&cfg)
	return cfg
}

// rigConfig is with for rigs, whose ports lend few frames.
func rigConfig(changes ...func(*Config)) Config {
	cfg := DefaultConfig()
	cfg.Frames = testFrames
	for _, change := range changes {
		change(&cfg)
	}
	return cfg
}

func newRig(t testing.TB, k *kernel, cfg Config) *rig {
	t.Helper()
	guard := &doorman{allowed: make(map[port.Path]int)}
	r := &rig{t: t, k: k, hops: newHops(), notes: new(notes), guard: guard, clock: port.Second}
	cfg.NextHops, cfg.Companion, cfg.Guard = r.hops, r.notes, r.guard
	cfg.Now = func() port.Time { return r.clock }
	cfg.LocalPort = testPort
	if k != nil {
		cfg.Bundle = k.bundle
	}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.Port = p
	if k != nil {
		p.out.kick = k.kick
	}
	t.Cleanup(func() {
		r.audit()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	p.Transmit(r.clock, &r.out)
	return r
}

var local4 = netip.MustParseAddr("198.18.0.1")

// to is the path to the i-th of many peers.
func to(i int) port.Path {
	return port.Path{Remote: netip.AddrPortFrom(netip.MustParseAddr("198.18.0.2"), uint16(20000+i)), Local: local4}
}

func (r *rig) route(number port.Route, p port.Path) {
	r.out.Routes = append(r.out.Routes, port.RouteChange{Route: number, Path: p})
}

func (r *rig) revoke(number port.Route) { r.route(number, port.Path{}) }

// add fills a frame.
func (r *rig) add(to port.Route, data []byte) { r.addBorn(to, r.clock, data) }

func (r *rig) addBorn(to port.Route, born port.Time, data []byte) {
	r.t.Helper()
	f := r.out.Reserve()
	if f == nil {
		r.t.Fatal("no free frame")
	}
	if len(f.Data) != 0 || cap(f.Data) != port.FrameSize {
		r.t.Fatalf("frame %d lent with %d bytes of room for %d", f.Handle, len(f.Data), cap(f.Data))
	}
	f.Data = append(f.Data, data...)
	f.Route, f.Born = to, born
	r.out.Submit()
}

// transmit sends what was added and checks what is handed back: want free frames, each memory once.
func (r *rig) transmit(want int) {
	r.t.Helper()
	r.Transmit(r.clock, &r.out)
	if r.out.Filled != 0 || len(r.out.Routes) != 0 {
		r.t.Fatalf("handed back with %d frames filled and %d routes", r.out.Filled, len(r.out.Routes))
	}
	if got := r.out.Free(); got != want {
		r.t.Fatalf("%d frames free, want %d; %+v %+v", got, want, r.Stats(), r.Details())
	}
	r.audit()
}

// audit finds every chunk in exactly one place.
func (r *rig) audit() {
	r.t.Helper()
	l := &r.Port.out.lender
	where := make([]int, len(l.chunks))
	for _, c := range l.free {
		where[c]++
	}
	for i, f := range l.frames {
		switch {
		case i < l.kept+l.lent && f.Handle == noChunk:
			r.t.Fatalf("entry %d is kept or lent without memory", i)
		case i >= l.kept+l.lent && f.Handle != noChunk:
			r.t.Fatalf("entry %d is neither kept nor lent and has memory", i)
		case f.Handle != noChunk:
			where[f.Handle]++
		}
	}
	kept := make(map[uint32]bool)
	for _, f := range l.frames[:l.kept] {
		kept[f.Handle] = true
	}
	for c, n := range where {
		if l.chunks[c].withKernel() && !kept[uint32(c)] {
			n++ // with the kernel
		}
		if n != 1 {
			r.t.Fatalf("chunk %d is in %d places; %+v", c, n, l.chunks[c])
		}
	}
}

// expect compares the counts but for those of calls, rests and segmentation.
func (r *rig) expect(want port.Stats) {
	r.t.Helper()
	if want[port.Received]+want[port.Malformed] > 0 {
		r.Transmit(r.clock, &r.out) // publishes what Receive counted
	}
	got := r.Stats()
	for _, c := range []port.Counter{
		port.Received, port.Sent, port.SentBytes, port.Stale, port.Rejected, port.Unroutable, port.Malformed,
	} {
		if got[c] != want[c] {
			r.t.Errorf("%v: got %d, want %d", c, got[c], want[c])
		}
	}
}

// payloads returns the datagrams that left a socket, and forgets them.
func (q *kernelSocket) payloads(t testing.TB) (got []datagram) {
	t.Helper()
	for _, f := range q.sent {
		got = append(got, parseSent(t, f))
	}
	q.sent = nil
	return got
}

// parseSent reads a frame as the port sent it; Parse reads it as the peer does.
func parseSent(t testing.TB, f []byte) datagram {
	t.Helper()
	path, data, ok := frame.Parse(f, "")
	if !ok || path.Remote.Port() != testPort {
		t.Fatalf("sent %x", f)
	}
	to := netip.AddrPortFrom(path.Local, binary.BigEndian.Uint16(f[len(f)-len(data)-6:]))
	return datagram{port.Path{Remote: to, Local: path.Remote.Addr()}, data}
}

// expectSent compares what left with pairs of peer and payload number.
func (r *rig) expectSent(q *kernelSocket, want ...[2]int) {
	r.t.Helper()
	compare(r.t, q.payloads(r.t), want)
}

// expectCompanion compares the datagrams that the companion was asked to send, in the same way.
func (r *rig) expectCompanion(want ...[2]int) {
	r.t.Helper()
	compare(r.t, r.notes.sent, want)
	r.notes.sent = nil
}

func compare(t testing.TB, got []datagram, want [][2]int) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d datagrams left, want %d", len(got), len(want))
	}
	for i, d := range got {
		if w := want[i]; d.path != to(w[0]) || !slices.Equal(d.data, payload(w[1])) {
			t.Fatalf("datagram %d went to %v with %x, want number %d to %v", i, d.path, d.data[:4], w[1], to(w[0]))
		}
	}
}

// payload is bytes that tell their number, of a length that tells it too.
func payload(number int) []byte {
	data := make([]byte, 4+number%1400)
	for i := range data {
		data[i] = byte(number)
	}
	binary.BigEndian.PutUint32(data, uint32(number))
	return data
}
