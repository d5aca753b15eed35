//go:build !nocluster

package natsdir

import (
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// A node that leaves says goodbye: silence is a no at once. One that crashes leaves a doubt.
func TestNodesGo(t *testing.T) {
	c := embeddedNodes(t, 3).ready().settled()
	c.nodes[2].Serve("stream")
	c.answered(0, 2, "stream")
	c.nodes[2].Close()
	c.heard[0].wait("down node2")
	c.heard[1].wait("down node2")
	c.gone(0, "stream")
	c.nodes[1].Serve("another")
	c.answered(0, 1, "another")
	c.nodes[1].server.server.Shutdown() // the client of the node is cut off
	c.heard[0].wait("down node1", "silent")
	c.heard[1].wait("silent")
	for i := range 2 {
		if _, complete := c.ask(i, "another"); complete {
			t.Errorf("node %d got a no, want a doubt: the other has crashed", i)
		}
	}
	if got := c.heard[0].count("silent"); got != 1 {
		t.Errorf("got %d times silent, want once", got)
	}
}

// relay is a TCP connection's way to an address, which may be cut: then bytes vanish, as those to a dead host do.
type relay struct {
	net.Listener
	to  string
	cut atomic.Bool
}

func newRelay(t testing.TB, to string) *relay {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{Listener: l, to: to}
	done := make(chan struct{})
	go func() { defer close(done); r.run() }()
	t.Cleanup(func() { l.Close(); <-done })
	return r
}

func (r *relay) run() {
	for {
		from, err := r.Accept()
		if err != nil {
			return
		}
		to, err := net.Dial("tcp", r.to)
		if err != nil {
			from.Close()
			continue
		}
		go r.pass(from, to)
		go r.pass(to, from)
	}
}

func (r *relay) pass(from, to net.Conn) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil && err != io.EOF {
			return
		}
		if !r.cut.Load() {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// A host that vanishes without a word is noticed by both sides. It is there again when its packets are.
func TestVanishedHost(t *testing.T) {
	first, h := embeddedNode(t, 0, nil)
	way := newRelay(t, first.Address())
	_, second := embeddedNode(t, 1, nil, way.Addr().String())
	h.wait("up node1")
	second.wait("up node0")
	way.cut.Store(true)
	begun := time.Now()
	h.wait("down node1")
	t.Logf("noticed after %v", time.Since(begun))
	second.wait("down node0")
	way.cut.Store(false)
	h.times("up node1", 2)
	second.times("up node0", 2)
}

// An external server stops and comes back: questions end at once as a doubt, subscriptions are there again.
func TestServerStopsAndReturns(t *testing.T) {
	port := freePort(t)
	s := externalServer(t, port)
	c := externalNodes(t, s, 2).ready().settled()
	c.nodes[1].Serve("stream")
	c.answered(0, 1, "stream")
	var before []int
	for _, h := range c.heard {
		before = append(before, h.count("silent")) // one that asks faster than it connects is silent at first
	}
	s.Shutdown()
	s.WaitForShutdown()
	for i, h := range c.heard {
		h.times("silent", before[i]+1)
		if _, complete := c.ask(i, "nobody's"); complete {
			t.Errorf("node %d got a no without a server, want a doubt", i)
		}
	}
	c.nodes[1].Serve("meanwhile")
	c.nodes[1].Unserve("stream")
	refused := make(chan struct{})
	c.nodes[0].out.publish(message{subject: subjectBeat, data: []byte("lost"), failed: func() { close(refused) }})
	<-refused
	externalServer(t, port)
	for i, h := range c.heard {
		h.times("up ", 2)
		if got, want := h.count("silent"), before[i]+1; got != want {
			t.Errorf("%s: got %d times silent, want %d", h.name, got, want)
		}
	}
	c.answered(0, 1, "meanwhile")
	c.gone(0, "stream")
	if got := c.heard[1].count("heard lost"); got != 0 {
		t.Errorf("got %d beats of the time without a server, want none", got)
	}
}

// A node starts while its servers are down, and finds them later.
func TestServerComesLater(t *testing.T) {
	port := freePort(t)
	s := externalServer(t, port)
	s.Shutdown()
	s.WaitForShutdown()
	c := externalNodes(t, s, 2)
	for i, h := range c.heard {
		h.wait("silent")
		if _, complete := c.ask(i, "nobody's"); complete {
			t.Errorf("node %d got a no without a server, want a doubt", i)
		}
	}
	c.nodes[1].Serve("stream")
	externalServer(t, port)
	c.ready()
	c.answered(0, 1, "stream")
}
