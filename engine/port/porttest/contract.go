// Package porttest holds every port.Port to its contract, which the comment of package port has, and helps to test one.
package porttest

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"ringcast/engine/port"
)

// A Subject is an open port with everything that the tests of its contract need.
type Subject struct {
	Port   port.Port
	Now    func() port.Time // the port's clock
	Frames int              // that the port lends
	// Address is where peers reach the port.
	Address netip.AddrPort
	// Local is the local half of paths; the zero Addr stands for that of Address.
	Local netip.Addr
	// Listen opens a peer's socket that the port reaches.
	Listen func() (*net.UDPConn, error)
	// Block makes the kernel accept no datagram, as if its buffers were full, until Unblock.
	Block, Unblock func()
	// Anywhere calls all other methods of the port that are safe from any thread.
	Anywhere func()
}

// Run runs the tests of the contract, each against a port that open opens.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	for _, c := range []struct {
		name string
		test func(*contract)
	}{
		{"Echo", (*contract).echo},
		{"Order", (*contract).order},
		{"Peers", (*contract).peers},
		{"KeepAndRetry", (*contract).keepAndRetry},
		{"Stale", (*contract).stale},
		{"Revoke", (*contract).revoke},
		{"Move", (*contract).move},
		{"TooLong", (*contract).tooLong},
		{"Resliced", (*contract).resliced},
		{"Foreign", (*contract).foreign},
		{"Wait", (*contract).wait},
		{"OtherThreads", (*contract).otherThreads},
		{"Close", (*contract).close},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t)
			c.test(&contract{Rig: NewRig(t, s.Port, s.Now), t: t, subject: s, clock: s.Now()})
		})
	}
}

// contract is the test of one term of the contract.
type contract struct {
	*Rig
	t       *testing.T
	subject Subject
	clock   port.Time // the worker's: it stands still, but in turn
}

// peer opens a peer and routes to it.
func (c *contract) peer(number port.Route) *Peer {
	c.t.Helper()
	conn, err := c.subject.Listen()
	if err != nil {
		c.t.Fatal(err)
	}
	p := NewPeer(c.t, conn)
	c.Route(number, c.to(p))
	return p
}

// to is the path to a peer.
func (c *contract) to(p *Peer) port.Path {
	local := c.subject.Local
	if !local.IsValid() {
		local = c.subject.Address.Addr()
	}
	return port.Path{Remote: p.Addr, Local: local}
}

// turn transmits one millisecond later, which is later than any port's next try, and expects so many frames kept.
func (c *contract) turn(kept int) {
	c.t.Helper()
	c.clock += port.Millisecond
	c.Send(c.clock, c.subject.Frames-kept)
}

// flush transmits until no frame is kept.
func (c *contract) flush() {
	c.t.Helper()
	for give := c.Now() + port.Time(Patience); ; {
		c.clock += port.Millisecond
		c.Transmit(c.clock, &c.Out)
		if c.Out.Free() == c.subject.Frames {
			return
		}
		if c.Now() > give {
			c.t.Fatalf("%d of %d frames free, want all: %v", c.Out.Free(), c.subject.Frames, c.Stats())
		}
		c.Wait(c.Now() + port.Millisecond)
	}
}

// A datagram arrives with its path and its time, and an answer by that path reaches the peer from where it sent to.
func (c *contract) echo() {
	p := c.peer(3)
	for _, size := range []int{1, 0, 100, port.MaxDatagram - 20} {
		before := c.Now()
		p.Send(c.subject.Address, Payload(7, size))
		got := c.Collect(1)[0]
		if want := c.to(p); got.Path != want {
			c.t.Fatalf("path %v, want %v", got.Path, want)
		}
		// A kernel's stamp is the wall clock's, which is read once more: allow for the time between the readings.
		if got.Arrival < before-port.Millisecond || got.Arrival > c.Now() {
			c.t.Errorf("sent at %d, arrived at %d, now %d", before, got.Arrival, c.Now())
		}
		c.Add(3, c.clock, got.Data)
		c.flush()
		data, from := p.Next()
		if from != c.subject.Address || !slices.Equal(data, Payload(7, size)) {
			c.t.Errorf("echo %s from %s, want %s from %s",
				Brief(data), from, Brief(Payload(7, size)), c.subject.Address)
		}
	}
	sum := uint64(1 + 100 + port.MaxDatagram - 20)
	c.Expect(port.Stats{port.Received: 4, port.Sent: 4, port.SentBytes: sum})
}

// Datagrams of a route arrive intact and in order, with any row of sizes.
func (c *contract) order() {
	p := c.peer(1)
	several := func(n, size int, others ...int) []int { return append(slices.Repeat([]int{size}, n), others...) }
	for name, sizes := range map[string][]int{
		"one":                         {1200},
		"equal":                       several(7, 1200),
		"shorter last":                several(6, 1200, 700),
		"much shorter last":           several(6, 1200, 1),
		"longer last":                 several(6, 1200, 1201),
		"two runs":                    several(4, 1000, several(4, 1200, 5)...),
		"ever shorter":                {1200, 1100, 1000, 900, 3, 2, 1},
		"ever longer":                 {1, 2, 3, 900, 1000, 1100, 1200},
		"empty ones":                  {0, 0, 1200, 1200, 0, 1200, 0},
		"more than segments":          several(150, 100, 99),
		"more than fits an IP packet": several(2*65_535/port.MaxDatagram, port.MaxDatagram-20, 100),
		"all frames":                  several(c.subject.Frames, 300),
		"tiny":                        several(130, 1),
	} {
		var want [][]byte
		for i, size := range sizes {
			want = append(want, Payload(i, size))
			c.Add(1, c.clock, want[i])
		}
		c.flush()
		for i, w := range want {
			if got, _ := p.Next(); !slices.Equal(got, w) {
				c.t.Fatalf("%s: datagram %d is %s, want %s", name, i, Brief(got), Brief(w))
			}
		}
	}
}

// Frames of many routes in one batch each reach their peer.
func (c *contract) peers() {
	const viewers = 20
	var peers []*Peer
	want := make([][][]byte, viewers)
	for v := range viewers {
		peers = append(peers, c.peer(port.Route(v)))
	}
	number := 0
	add := func(v, size int) {
		data := Payload(number, size)
		number++
		want[v] = append(want[v], data)
		c.Add(port.Route(v), c.clock, data)
	}
	for v := range viewers { // runs of 1 to 7
		for range 1 + v%7 {
			add(v, 1000)
		}
	}
	for i := range 60 { // one each
		add(i%viewers, 500+i%3)
	}
	c.flush()
	for v, p := range peers {
		p.Expect(want[v]...)
	}
}

// Frames that the kernel does not accept are kept. While all are kept, none is lent. They leave first and in order.
func (c *contract) keepAndRetry() {
	peers := []*Peer{c.peer(0), c.peer(1)}
	want := make([][][]byte, len(peers))
	number := 0
	add := func(v, n int) {
		for range n {
			data := Payload(number, 900)
			number++
			want[v] = append(want[v], data)
			c.Add(port.Route(v), c.clock, data)
		}
	}
	c.subject.Block()
	add(0, 5)
	add(1, 5)
	add(0, 3)
	c.turn(13)
	add(1, 4)
	c.turn(17)
	add(0, c.subject.Frames-17)
	c.turn(c.subject.Frames)
	if c.Out.Reserve() != nil {
		c.t.Fatal("a frame is lent while all are kept")
	}
	c.Expect(port.Stats{})

	c.subject.Unblock()
	c.clock += port.Millisecond
	c.Transmit(c.clock, &c.Out)
	add(1, min(2, c.Out.Free()))
	c.flush()
	for v, p := range peers {
		p.Expect(want[v]...)
	}
	c.Expect(port.Stats{port.Sent: uint64(number), port.SentBytes: uint64(number) * 900})
}

// A kept frame is dropped when it is older than StaleAfter, and only that one. A frame that was never tried is sent,
// however old it is.
func (c *contract) stale() {
	p := c.peer(0)
	c.subject.Block()
	born := c.clock
	c.Add(0, born, Payload(1, 100))
	for i := range 2 {
		c.Add(0, born+port.StaleAfter/2, Payload(2+i, 100))
	}
	c.turn(3)
	c.clock = born + port.StaleAfter
	c.Send(c.clock, c.subject.Frames-3)
	c.Expect(port.Stats{})

	c.clock += port.Millisecond
	c.Transmit(c.clock, &c.Out) // a port may find another way for the younger frames now, or keep them
	c.subject.Unblock()
	c.Add(0, born, Payload(4, 100))
	c.flush()
	p.Expect(Payload(2, 100), Payload(3, 100), Payload(4, 100))
	c.Expect(port.Stats{port.Stale: 1, port.Sent: 3, port.SentBytes: 300})
}

// A revoked route takes its kept frames with it, even if it leads elsewhere from the same Transmit on. Frames on a
// route that is revoked or was never set are dropped.
func (c *contract) revoke() {
	first := c.peer(0)
	c.Route(1, c.to(first))
	c.subject.Block()
	c.Add(0, c.clock, Payload(1, 50))
	c.Add(1, c.clock, Payload(2, 50))
	c.turn(2)

	c.subject.Unblock()
	c.Revoke(0)
	second := c.peer(0)
	c.Add(0, c.clock, Payload(3, 50))
	c.Add(77, c.clock, Payload(4, 50))
	c.turn(0)
	first.Expect(Payload(2, 50))
	second.Expect(Payload(3, 50))
	c.Expect(port.Stats{port.Unroutable: 2, port.Sent: 2, port.SentBytes: 100})

	c.Revoke(1)
	c.Add(1, c.clock, Payload(5, 50))
	c.Add(0, c.clock, Payload(6, 50))
	c.turn(0)
	second.Expect(Payload(6, 50))
	c.Expect(port.Stats{port.Unroutable: 3, port.Sent: 3, port.SentBytes: 150})
}

// A route that leads elsewhere without being revoked, as of a peer that moved, takes its kept frames along.
func (c *contract) move() {
	c.peer(0)
	c.subject.Block()
	c.Add(0, c.clock, Payload(1, 50))
	c.turn(1)
	c.subject.Unblock()
	after := c.peer(0)
	c.turn(0)
	after.Expect(Payload(1, 50))
}

// A datagram of more than MaxDatagram bytes is rejected, and the others leave.
func (c *contract) tooLong() {
	p := c.peer(0)
	c.Add(0, c.clock, Payload(1, 60))
	c.Add(0, c.clock, Payload(2, port.MaxDatagram+1))
	c.Add(0, c.clock, Payload(3, port.MaxDatagram))
	c.flush()
	p.Expect(Payload(1, 60), Payload(3, port.MaxDatagram))
	c.Expect(port.Stats{port.Rejected: 1, port.Sent: 2, port.SentBytes: 60 + port.MaxDatagram})
}

// The worker may reslice Data. It is restored before the frame is lent again.
func (c *contract) resliced() {
	p := c.peer(0)
	for round := range 3 {
		for i := range c.subject.Frames {
			f := c.Out.Reserve()
			if cap(f.Data) != port.FrameSize {
				c.t.Fatalf("round %d: a frame has room for %d bytes, want %d", round, cap(f.Data), port.FrameSize)
			}
			f.Data = append(f.Data, Payload(i, 100)...)[10:]
			f.Route, f.Born = 0, c.clock
			c.Out.Submit()
		}
		c.flush()
		for i := range c.subject.Frames {
			p.Expect(Payload(i, 100)[10:])
		}
	}
}

// A batch of frames that the port did not lend is the worker's bug, and panics.
func (c *contract) foreign() {
	defer func() {
		if recover() == nil {
			c.t.Error("frames that the port did not lend were accepted")
		}
	}()
	c.Transmit(c.clock, &port.Outgoing{Frames: make([]port.Frame, 3), Filled: 1})
}

// Wait and Rest end at their time, after a Wake before or during them, and when a datagram arrives.
func (c *contract) wait() {
	p := c.peer(0)
	for name, wait := range map[string]func(port.Time){"Wait": c.Wait, "Rest": c.Rest} {
		until := func(why string) {
			c.t.Helper()
			moment := c.Now() + 5*port.Millisecond
			wait(moment)
			if c.Now() < moment {
				c.t.Errorf("%s returned before its time%s", name, why)
			}
		}
		wait(0)
		until("")

		// Woken before it waits, and only once.
		c.Wake()
		c.Wake()
		wait(port.Never)
		until(": woken a second time")

		// Woken while it waits, or about to.
		waited := make(chan struct{})
		go func() {
			wait(port.Never)
			close(waited)
		}()
		c.Wake()
		<-waited

		p.Send(c.subject.Address, Payload(1, 10))
		wait(port.Never)
		c.Collect(1)
	}
}

// Wake and Stats are safe from any thread, and no count ever shrinks. The race detector watches.
func (c *contract) otherThreads() {
	p := c.peer(0)
	stop := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() {
		var last port.Stats
		for {
			s := c.Stats()
			for i := range s {
				if s[i] < last[i] {
					c.t.Errorf("%v: from %d to %d", port.Counter(i), last[i], s[i])
				}
			}
			last = s
			c.Wake()
			c.subject.Anywhere()
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	const rounds, each = 50, 14
	for range rounds {
		for i := range each {
			p.Send(c.subject.Address, Payload(i, 200))
		}
		for _, got := range c.Collect(each) {
			c.Add(0, c.clock, got.Data)
		}
		c.flush()
		for i := range each {
			p.Expect(Payload(i, 200))
		}
	}
	close(stop)
	others.Wait()
	const n = rounds * each
	c.Expect(port.Stats{port.Received: n, port.Sent: n, port.SentBytes: n * 200})
}

// Close frees everything, a second Close does nothing. Wake does nothing after it, and Stats stay.
func (c *contract) close() {
	p := c.peer(0)
	c.Add(0, c.clock, Payload(1, 10))
	c.flush()
	p.Expect(Payload(1, 10))
	for range 2 {
		if err := c.Close(); err != nil {
			c.t.Fatal(err)
		}
	}
	c.Wake()
	c.Expect(port.Stats{port.Sent: 1, port.SentBytes: 10})
}
