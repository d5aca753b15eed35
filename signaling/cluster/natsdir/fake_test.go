//go:build !nocluster

package natsdir

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"ringcast/signaling/cluster/directory"
	"ringcast/signaling/cluster/secret"
	"ringcast/testenv"
)

// limit bounds the wait for something that must happen. No test takes it unless it fails.
const limit = time.Minute

// heard is a receiver that notes all calls as lines of text.
type heard struct {
	t    testing.TB
	name directory.NodeID
	mu   sync.Mutex
	news chan struct{} // closed and replaced at each call
	all  []string
}

func newHeard(t testing.TB, name directory.NodeID) *heard {
	return &heard{t: t, name: name, news: make(chan struct{})}
}

func (h *heard) note(format string, v ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, fmt.Sprintf(format, v...))
	close(h.news)
	h.news = make(chan struct{})
}

func (h *heard) Question(question []byte) []byte {
	h.note("question %s", question)
	return fmt.Appendf(nil, "%s from %s", question, h.name)
}

func (h *heard) Answer(number uint64, answer []byte) (genuine bool) {
	h.note("answer %d %s", number, answer)
	return true
}

func (h *heard) Asked(number uint64, got directory.Completeness) { h.note("asked %d %t", number, got) }
func (h *heard) Heard(message []byte)                            { h.note("heard %s", message) }
func (h *heard) Up(node directory.NodeID)                        { h.note("up %s", node) }
func (h *heard) Down(node directory.NodeID)                      { h.note("down %s", node) }
func (h *heard) Silent()                                         { h.note("silent") }

// count returns how often a line was noted.
func (h *heard) count(line string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.all {
		if l == line {
			n++
		}
	}
	return n
}

// wait waits until each line was noted.
func (h *heard) wait(lines ...string) {
	h.t.Helper()
	h.until(func(all []string) string {
		for _, line := range lines {
			if !slices.Contains(all, line) {
				return line
			}
		}
		return ""
	})
}

// times waits until a line was noted n times.
func (h *heard) times(line string, n int) {
	h.t.Helper()
	h.until(func(all []string) string {
		got := 0
		for _, l := range all {
			if l == line {
				got++
			}
		}
		if got < n {
			return fmt.Sprintf("%s %d times", line, n)
		}
		return ""
	})
}

// until waits until missing returns nothing for all lines so far.
func (h *heard) until(missing func(all []string) string) {
	h.t.Helper()
	deadline := time.After(limit)
	for {
		h.mu.Lock()
		want, news, all := missing(h.all), h.news, slices.Clone(h.all)
		h.mu.Unlock()
		if want == "" {
			return
		}
		select {
		case <-news:
		case <-deadline:
			h.t.Fatalf("%s got %q, want %q among it", h.name, all, want)
		}
	}
}

// cluster is some nodes with one form of NATS.
type cluster struct {
	t     testing.TB
	nodes []*Transport
	heard []*heard
	// up are the lines that each node notes once all are connected.
	up func(i int) []string
}

// ours is the login of nodes with the cluster's secret.
var ours = secret.Login{User: "rings", Password: "of-nodes-with-a-secret"}

func quiet(testing.TB) *slog.Logger { return slog.New(slog.DiscardHandler) }

func id(i int) directory.NodeID { return directory.NodeID(fmt.Sprintf("node%d", i)) }

// embeddedNode starts a node whose peers are the addresses.
func embeddedNode(t testing.TB, i int, change func(*Config), peers ...string) (*Transport, *heard) {
	t.Helper()
	config := Config{
		Node: id(i), Log: quiet(t),
		Routes: &Routes{Listen: "127.0.0.1:0", Peers: peers, Logins: []secret.Login{ours}},
	}
	if change != nil {
		change(&config)
	}
	node, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { node.Close() })
	node.settle = 0
	h := newHeard(t, id(i))
	node.Start(h)
	return node, h
}

// embeddedNodes starts n nodes, each of which knows the first alone.
func embeddedNodes(t testing.TB, n int) *cluster {
	c := &cluster{t: t, up: func(i int) (lines []string) {
		for j := range n {
			if j != i {
				lines = append(lines, "up "+string(id(j)))
			}
		}
		return lines
	}}
	for i := range n {
		var peers []string
		if i > 0 {
			peers = []string{c.nodes[0].Address()}
		}
		node, h := embeddedNode(t, i, nil, peers...)
		c.nodes, c.heard = append(c.nodes, node), append(c.heard, h)
	}
	return c
}

// freePort returns a port of loopback that nobody takes while a server at it is down.
func freePort(t testing.TB) int {
	t.Helper()
	address, err := testenv.FreePort("tcp", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	return int(netip.MustParseAddrPort(address).Port())
}

// externalServer starts a NATS server of the operator's, at a port.
func externalServer(t testing.TB, port int) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: port, NoSigs: true, NoLog: true, Username: "operator", Password: "of the test",
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(limit) {
		t.Fatal("the external NATS server does not listen")
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s
}

func serverURL(s *server.Server) string {
	return strings.Replace(s.ClientURL(), "nats://", "nats://operator:of%20the%20test@", 1)
}

// externalNodes starts n nodes on a server.
func externalNodes(t testing.TB, s *server.Server, n int) *cluster {
	c := &cluster{t: t, up: func(int) []string { return []string{"up "} }}
	for i := range n {
		node, err := New(Config{
			Node: id(i), Log: quiet(t), External: &External{URLs: []string{serverURL(s)}},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { node.Close() })
		node.settle = 0
		h := newHeard(t, id(i))
		node.Start(h)
		c.nodes, c.heard = append(c.nodes, node), append(c.heard, h)
	}
	return c
}

// ready waits until all nodes are connected.
func (c *cluster) ready() *cluster {
	c.t.Helper()
	for i, h := range c.heard {
		h.wait(c.up(i)...)
	}
	return c
}

// settled waits until a look-up of a stream that nobody has is a no, at each node.
func (c *cluster) settled() *cluster {
	c.t.Helper()
	for i := range c.nodes {
		c.gone(i, "nobody's")
	}
	return c
}

var numbers atomic.Uint64

// ask asks for a stream at a node, and returns the question's number once it is over.
func (c *cluster) ask(i int, stream string) (number uint64, complete bool) {
	c.t.Helper()
	number = numbers.Add(1)
	c.nodes[i].Ask(number, stream, []byte("where is it"))
	c.heard[i].until(func(all []string) string {
		for _, line := range all {
			if line == fmt.Sprintf("asked %d true", number) {
				complete = true
				return ""
			}
			if line == fmt.Sprintf("asked %d false", number) {
				return ""
			}
		}
		return fmt.Sprintf("asked %d", number)
	})
	return number, complete
}
