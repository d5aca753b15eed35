package directory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ringcast/signaling/access"
	"ringcast/signaling/cluster/secret"
)

// wires is a network in memory between nodes, on the virtual clock of a synctest bubble. Each way takes a while, and
// may be cut: bytes then wait, as TCP's do.
type wires struct {
	delay time.Duration

	mu        sync.Mutex // guards the fields below
	listeners map[string]*listener
	cut       map[[2]string]bool
	changed   chan struct{} // closed and made again at each change of cut
}

type listener struct {
	name  string
	conns chan net.Conn
	once  sync.Once
	end   chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.end:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.end) })
	return nil
}
func (l *listener) Addr() net.Addr { return &net.UnixAddr{Name: l.name} }

// wire is one end of a connection.
type wire struct {
	net.Conn
	from, to string
	w        *wires
	once     sync.Once
	end      chan struct{}
}

func (c *wire) Write(p []byte) (int, error) {
	time.Sleep(c.w.delay)
	if err := c.w.pass(c.from, c.to, c.end); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

func (c *wire) Close() error {
	c.once.Do(func() { close(c.end) })
	return c.Conn.Close()
}

// pass waits until the way between two nodes is whole.
func (w *wires) pass(from, to string, end <-chan struct{}) error {
	for {
		w.mu.Lock()
		cut, changed := w.cut[[2]string{from, to}], w.changed
		w.mu.Unlock()
		if !cut {
			return nil
		}
		select {
		case <-changed:
		case <-end:
			return net.ErrClosed
		}
	}
}

// set cuts or mends the ways between two nodes.
func (w *wires) set(a, b string, cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut[[2]string{a, b}], w.cut[[2]string{b, a}] = cut, cut
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *wires) dial(ctx context.Context, from, to string) (net.Conn, error) {
	if err := w.pass(from, to, ctx.Done()); err != nil {
		return nil, err
	}
	time.Sleep(2 * w.delay)
	w.mu.Lock()
	l := w.listeners[to]
	w.mu.Unlock()
	if l == nil {
		return nil, errors.New("connection refused")
	}
	x, y := net.Pipe()
	select {
	case l.conns <- &wire{Conn: y, from: to, to: from, w: w, end: make(chan struct{})}:
		return &wire{Conn: x, from: from, to: to, w: w, end: make(chan struct{})}, nil
	case <-l.end:
		return nil, errors.New("connection refused")
	}
}

// member is a node of a cluster of tests. It has what was announced through it.
type member struct {
	*Service
	t      *testing.T
	name   string
	server *http.Server
	client *http.Client
	late   time.Duration // by how much its clock is late

	mu   sync.Mutex // guards the fields below
	has  map[string]Place
	lost map[string]time.Time
}

func (m *member) Self() Node {
	return Node{ID: NodeID("id-" + m.name), URL: "http://" + m.name, Region: "eu"}
}

func (m *member) Places(stream string, _ NodeID) []Place {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p, ok := m.has[stream]; ok {
		return []Place{p}
	}
	return nil
}

func (m *member) Serves(context.Context, string, Place) error { return nil }

func (m *member) Viewers() Viewers { return nil }

func (m *member) Superseded(stream string, _ Place) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.has, stream)
	m.lost[stream] = time.Now()
}

func (m *member) publish(stream string) {
	p := m.Announce(stream, Publisher{Source: anybody})
	m.mu.Lock()
	defer m.mu.Unlock()
	m.has[stream] = p
}

func (m *member) publishes(stream string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.has[stream]
	return ok
}

func newMember(t *testing.T, w *wires, name, key string, late time.Duration, peers []string) *member {
	m := &member{t: t, name: name, late: late, has: make(map[string]Place), lost: make(map[string]time.Time)}
	l := &listener{name: name, conns: make(chan net.Conn), end: make(chan struct{})}
	w.mu.Lock()
	w.listeners[name] = l
	w.mu.Unlock()
	dial := func(ctx context.Context, _, address string) (net.Conn, error) {
		to, _, _ := strings.Cut(address, ":")
		return w.dial(ctx, name, to)
	}
	m.client = StaticClient(&http.Transport{DialContext: dial})
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	keys, err := secret.New(access.Secret(strings.Repeat(key, 32)), "")
	if err != nil {
		t.Fatal(err)
	}
	id := string(m.Self().ID)
	now := func() time.Time { return time.Now().Add(-m.late) }
	clocks := secret.NewClocks(log, now)
	m.Service = NewService(Config{
		Book: BookConfig{Poll: true}, Local: m, Log: log, Rand: rand.New(rand.NewPCG(1, uint64(name[0]))),
		Seal: Signed{secret.NewSigner(keys, id, clocks, nil), clocks},
	}, NewStatic(peers, secret.NewCaller(keys, id, m.client, clocks)))
	m.server = &http.Server{
		Handler: secret.NewGuard(keys, id, now, nil).Wrap(StaticHandler(m.Service)), ReadHeaderTimeout: time.Minute,
	}
	go func() { _ = m.server.Serve(l) }()
	return m
}

// crash cuts a node off, as a power failure would. Its peers get no farewell, and their connections stay open.
func (m *member) crash(w *wires) {
	for other := range w.listeners {
		w.set(m.name, other, true)
	}
}

func (m *member) end() {
	if err := m.Close(); err != nil {
		m.t.Error(err)
	}
	m.client.CloseIdleConnections()
	_ = m.server.Close()
}

// cluster makes nodes a, b, c and so on, with 5 ms between any two, and lets their connections become warm.
func cluster(t *testing.T, size int) (*wires, []*member) {
	w := &wires{
		delay: 5 * time.Millisecond, listeners: make(map[string]*listener), cut: make(map[[2]string]bool),
		changed: make(chan struct{}),
	}
	var members []*member
	for i := range size {
		var peers []string
		for j := range size {
			if i != j {
				peers = append(peers, fmt.Sprintf("http://%c", 'a'+j))
			}
		}
		members = append(members, newMember(t, w, string(rune('a'+i)), "k", 0, peers))
	}
	time.Sleep(3 * time.Second)
	return w, members
}

// ended ends members, and then the connections that they dialled for requests that are over.
func ended(members ...*member) {
	for _, m := range members {
		m.end()
	}
	time.Sleep(time.Second)
}

func (m *member) where(stream string) (Answer, time.Duration) {
	start := time.Now()
	return m.Where(m.t.Context(), stream, anybody), time.Since(start)
}

// Static peers find a stream, know that there is none, and do not know while one of them is gone.
func TestStaticLookups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, nodes := cluster(t, 3)
		defer ended(nodes...)
		a, b, c := nodes[0], nodes[1], nodes[2]
		if got := len(a.Nodes()); got != 2 {
			t.Errorf("got %d other nodes, want 2", got)
		}
		b.publish("live")
		got, took := a.where("live")
		if got.Verdict != Found || got.Places[0].URL != "http://b" || took > 50*time.Millisecond {
			t.Errorf("got %+v after %v, want the place of b within a round trip and 20 ms", got, took)
		}
		if got, took := a.where("none"); got.Verdict != Nowhere || took > 30*time.Millisecond {
			t.Errorf("got %v after %v, want no after one round trip", got.Verdict, took)
		}
		time.Sleep(2 * time.Second)
		c.crash(w)
		if got, took := a.where("none"); got.Verdict != Unknown || took != Patience {
			t.Errorf("got %v after %v, want unknown after 300 ms", got.Verdict, took)
		}
		if got, _ := a.where("live"); got.Verdict != Found {
			t.Errorf("got %v with one of three nodes gone, want yes", got.Verdict)
		}
		time.Sleep(5 * time.Second)
		if got, took := a.where("none"); got.Verdict != Unknown || took > 30*time.Millisecond {
			t.Errorf("got %v after %v, want unknown without waiting for a node that is down", got.Verdict, took)
		}
	})
}

// A publisher's second place is refused, and a viewer's wait ends with the announcement.
func TestStaticPublishers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, nodes := cluster(t, 3)
		defer ended(nodes...)
		a, b := nodes[0], nodes[1]
		found := make(chan Place, 10)
		stop := b.Watch("live", func(p Place) { found <- p })
		if err := a.Admit(t.Context(), "live", Publisher{Source: anybody}); err != nil {
			t.Errorf("got %v for the first publisher, want none", err)
		}
		start := time.Now()
		a.publish("live")
		if p := <-found; p.Node != a.Self().ID || time.Since(start) > 50*time.Millisecond {
			t.Errorf("got %+v after %v, want the place of a at once", p, time.Since(start))
		}
		stop()
		if err := b.Admit(t.Context(), "live", Publisher{Source: anybody}); !errors.Is(err, ErrTaken) {
			t.Errorf("got %v for the second publisher, want %v", err, ErrTaken)
		}
		a.Withdraw("live")
		a.Superseded("live", Place{})
		time.Sleep(100 * time.Millisecond)
		if err := b.Admit(t.Context(), "live", Publisher{Source: anybody}); err != nil {
			t.Errorf("got %v after the end of the first, want none", err)
		}
	})
}

// Both sides of a partition have a publisher. Within a second of its end, the older one has lost the stream, and is
// refused when it returns.
func TestStaticPartition(t *testing.T) {
	for _, size := range []int{2, 3} {
		synctest.Test(t, func(t *testing.T) {
			w, nodes := cluster(t, size)
			defer ended(nodes...)
			a := nodes[0]
			for _, other := range nodes[1:] {
				w.set(a.name, other.name, true)
			}
			time.Sleep(5 * time.Second)
			publishers := []*member{a, nodes[size-1]}
			for _, m := range publishers {
				start := time.Now()
				err := m.Admit(t.Context(), "live", Publisher{Source: anybody})
				if err != nil || time.Since(start) > Patience {
					t.Errorf("%s: got %v after %v, want it admitted within 300 ms", m.name, err, time.Since(start))
				}
				m.publish("live")
			}
			time.Sleep(15 * time.Second)
			for _, m := range publishers {
				if !m.publishes("live") {
					t.Errorf("%s: lost its publisher in the partition", m.name)
				}
			}
			for _, other := range nodes[1:] {
				w.set(a.name, other.name, false)
			}
			time.Sleep(time.Second)
			if x, y := publishers[0].publishes("live"), publishers[1].publishes("live"); x == y {
				t.Fatalf("got publishers %t and %t a second after the partition, want one", x, y)
			}
			loser := publishers[0]
			if loser.publishes("live") {
				loser = publishers[1]
			}
			if err := loser.Admit(t.Context(), "live", Publisher{Source: anybody}); !errors.Is(err, ErrLost) {
				t.Errorf("got %v for the loser, want %v", err, ErrLost)
			}
			other := Publisher{Subject: "other"}
			if err := loser.Admit(t.Context(), "live", other); !errors.Is(err, ErrTaken) {
				t.Errorf("got %v for another publisher, want %v", err, ErrTaken)
			}
		})
	}
}

// Nodes with another secret are not heard, and count as silent.
func TestStaticStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, nodes := cluster(t, 2)
		stranger := newMember(t, w, "stranger", "x", 0, []string{"http://a", "http://b"})
		defer ended(append(nodes, stranger)...)
		nodes[0].publish("live")
		time.Sleep(3 * time.Second)
		stranger.publish("live")
		if got, _ := stranger.where("live"); got.Verdict != Unknown {
			t.Errorf("got %v with another secret, want unknown", got.Verdict)
		}
		time.Sleep(3 * time.Second)
		if got, _ := nodes[1].where("live"); got.Verdict != Found || got.Places[0].Node != nodes[0].Self().ID {
			t.Errorf("got %+v, want the place of a", got)
		}
		if got := len(nodes[0].Nodes()); got != 1 {
			t.Errorf("got %d other nodes, want 1", got)
		}
		if !nodes[0].publishes("live") {
			t.Error("a stranger took the stream")
		}
	})
}

// A node whose clock is ten minutes late finds streams and is found. Its news are read once it has answered.
func TestStaticWrongClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, nodes := cluster(t, 1)
		late := newMember(t, w, "late", "k", 10*time.Minute, []string{"http://a"})
		good := newMember(t, w, "good", "k", 0, []string{"http://a", "http://late"})
		defer ended(append(nodes, late, good)...)
		nodes[0].publish("live")
		late.publish("other")
		time.Sleep(5 * time.Second)
		if got, _ := late.where("live"); got.Verdict != Found {
			t.Errorf("got %v at the late node, want yes", got.Verdict)
		}
		if got, _ := good.where("other"); got.Verdict != Found {
			t.Errorf("got %v of the late node's stream, want yes", got.Verdict)
		}
		if p := late.Announce("live", Publisher{}); p.Generation.Count != 2 {
			t.Errorf("got generation %v, want one after the other node's", p.Generation)
		}
		if err := good.Admit(t.Context(), "other", Publisher{}); !errors.Is(err, ErrTaken) {
			t.Errorf("got %v for a second publisher, want %v", err, ErrTaken)
		}
	})
}
