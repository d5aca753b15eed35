package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ringcast/engine/api"
	"ringcast/signaling"
	"ringcast/signaling/cluster/directory"
	"ringcast/signaling/cluster/secret"
)

// A forest is a cluster of nodes with the real directory, tokens and pulls, and engines without media.
type forest struct {
	t     *testing.T
	net   *network
	nodes []*treeNode

	mu sync.Mutex
	// links are the sessions of pulls by the credentials of the upstream's half.
	links map[string]pulled
}

type pulled struct {
	from *treeNode // the node that dialled
	id   api.SessionID
}

// A treeNode is one node of a forest, and its engine.
type treeNode struct {
	*fakeEngine
	f       *forest
	node    *Node
	service *directory.Service
	kicks   *Kicks
	clients *signaling.Server
	public  *server
	host    string
	dead    atomic.Bool
	// vanishes keeps its connections alive after its end. mute leaves requests of pulls without an answer: the
	// directory alone reaches the node.
	vanishes, mute atomic.Bool
	stop           context.CancelFunc
	running        sync.WaitGroup
}

// plant starts nodes.
func plant(t *testing.T, size, fanout int) *forest {
	t.Helper()
	f := &forest{t: t, net: newNetwork(), links: make(map[string]pulled)}
	var urls []string
	for i := range size {
		urls = append(urls, fmt.Sprintf("https://n%d.example", i))
	}
	for i := range size {
		peers := slices.Delete(slices.Clone(urls), i, i+1)
		f.start(i, Config{URL: urls[i], Fanout: fanout, Region: "eu"}, peers)
	}
	time.Sleep(time.Second) // for the first beats
	return f
}

func (f *forest) start(i int, cfg Config, peers []string) {
	id := fmt.Sprintf("n%d", i)
	n := &treeNode{fakeEngine: newFakeEngine(), f: f, host: id + ".example"}
	n.name = id + "/"
	keys, err := cfg.Keys()
	if err != nil {
		f.t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	clocks := secret.NewClocks(quiet, nil)
	caller := secret.NewCaller(keys, id, &http.Client{Transport: n}, clocks)
	n.node = NewNode(NodeConfig{
		Config: cfg, ID: directory.NodeID(id), Log: quiet, Chance: func() float64 { return .5 },
	}, n)
	n.OnEnded(func(id api.SessionID, _ api.Reason) { f.end(n.ufrag(id), api.ReasonBye) })
	origins := NewOrigins(n.node.tree.self, n.node)
	n.service = directory.NewService(directory.Config{
		Book: directory.BookConfig{Takeover: true, Poll: true}, Local: origins, Log: quiet,
		Seal: directory.Signed{Signer: secret.NewSigner(keys, id, clocks, nil), Clocks: clocks},
		Rand: rand.New(rand.NewPCG(uint64(i), 1)),
	}, directory.NewStatic(peers, caller))
	n.node.Join(n.service, caller)
	n.kicks = NewKicks(KicksConfig{
		Self: n.node.id, Nodes: n.service.Nodes, Caller: caller, Engine: n.fakeEngine, Log: quiet,
	})
	relays := signaling.Config{Log: quiet, Find: n.node.Find, Admit: n.node.Admit}
	public := relays
	public.Balancer = NewRedirects(RedirectConfig{How: RedirectOff, Nodes: n.service.Nodes})
	n.clients = signaling.New(public, n.node)
	n.public = &server{engine: n.fakeEngine, node: n.node, web: n.clients.Handler()}
	relays.Relays = true
	m := &Member{Guard: secret.NewGuard(keys, id, nil, nil)}
	all := m.Handler(signaling.New(relays, n.node).Handler(), n.clients.ForwardedHandler(),
		directory.StaticHandler(n.service), n.kicks, n.node.ServePaths)
	f.net.setHandler(n.host, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if news := r.URL.Path == directory.PathWhere || r.URL.Path == directory.PathNews; n.mute.Load() && !news {
			<-r.Context().Done()
			return
		}
		all.ServeHTTP(w, r)
	}))
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	n.running.Go(func() { origins.Run(ctx, n.service) })
	f.nodes = append(f.nodes, n)
	f.t.Cleanup(n.end)
}

// RoundTrip sends a request of the node.
func (n *treeNode) RoundTrip(r *http.Request) (*http.Response, error) {
	if n.dead.Load() {
		return nil, errors.New("the node is dead")
	}
	if n.vanishes.Load() {
		r = r.WithContext(context.WithoutCancel(r.Context()))
	}
	return n.f.net.RoundTrip(r)
}

// Answered notes to which session the node's own is a half.
func (n *treeNode) Answered(ctx context.Context, id api.SessionID, a api.Answer) error {
	n.f.mu.Lock()
	n.f.links[a.ICE.Ufrag] = pulled{n, id}
	n.f.mu.Unlock()
	if err := n.fakeEngine.Answered(ctx, id, a); err != nil {
		return err
	}
	n.begin(stream)
	return nil
}

// end ends the pull that is the other half of a session.
func (f *forest) end(ufrag string, why api.Reason) {
	f.mu.Lock()
	l, ok := f.links[ufrag]
	delete(f.links, ufrag)
	f.mu.Unlock()
	if ok && !l.from.dead.Load() {
		go l.from.End(l.id, why)
	}
}

func (n *treeNode) end() {
	n.stop()
	n.running.Wait()
	n.node.Stop()
	_ = n.service.Close() // a dead node cannot say goodbye
}

// kill ends a node without a farewell. Others notice after a while.
func (n *treeNode) kill() {
	n.dead.Store(true)
	n.f.net.setHandler(n.host, nil)
	n.mu.Lock()
	var halves []string
	for id := range n.live {
		halves = append(halves, n.ufrag(id))
	}
	n.mu.Unlock()
	n.end()
	time.Sleep(1600 * time.Millisecond)
	for _, half := range halves {
		n.f.end(half, api.ReasonUpstreamSilent)
	}
}

// join lets a viewer in, who comes again until there is a place.
func (n *treeNode) join() {
	n.f.t.Helper()
	var v viewer
	for range 30 {
		if v = n.public.watch(); v.status == http.StatusCreated {
			return
		}
		time.Sleep(time.Second)
	}
	n.f.t.Errorf("%s: got status %d: %s; want a place for a viewer", n.host, v.status, v.body)
}

// place returns the path of the stream to the node, and the nodes that pull from there.
func (n *treeNode) place() (path directory.Path, children []directory.NodeID) {
	n.node.mu.Lock()
	defer n.node.mu.Unlock()
	if b := n.node.tree.branches[stream]; b != nil {
		children = b.Children()
	}
	return n.node.tree.path(stream), children
}

// whole fails the test unless all living nodes are in one tree. It returns the depth.
func (f *forest) whole(when string, fanout int) (deepest int) {
	f.t.Helper()
	synctest.Wait()
	byID := make(map[directory.NodeID]*treeNode)
	for _, n := range f.nodes {
		byID[n.node.id] = n
	}
	for _, n := range f.nodes {
		if n.dead.Load() {
			continue
		}
		path, children := n.place()
		if len(path) == 0 || path[len(path)-1] != n.node.id || path.Depth() > directory.MaxDepth {
			f.t.Errorf("%s: %s has the path %v; want one to itself, of depth 3 at most", when, n.host, path)
			continue
		}
		deepest = max(deepest, path.Depth())
		if len(children) > fanout {
			f.t.Errorf("%s: %s has the children %v, want %d at most", when, n.host, children, fanout)
		}
		if path.Depth() == 0 {
			continue
		}
		up := byID[path[len(path)-2]]
		above, siblings := up.place()
		if up.dead.Load() || !slices.Equal(above.Extend(n.node.id), path) || !slices.Contains(siblings, n.node.id) {
			f.t.Errorf("%s: %s has the path %v; its upstream has %v and the children %v", when, n.host, path, above,
				siblings)
		}
	}
	return deepest
}

// inner returns a node that pulls from the first and has children of its own.
func (f *forest) inner() *treeNode {
	for _, n := range f.nodes[1:] {
		if path, children := n.place(); !n.dead.Load() && path.Depth() == 1 && len(children) > 0 {
			return n
		}
	}
	f.t.Fatal("got no edge with edges of its own, want one")
	return nil
}

// Eight nodes with room for two children each are a tree. It stays one while an edge dies, the publisher moves to an
// edge, and the first origin dies.
func TestTree(t *testing.T) {
	for _, together := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := plant(t, 8, 2)
			origin := f.nodes[0]
			origin.publish(stream)
			time.Sleep(time.Second)
			var joins sync.WaitGroup
			for _, n := range f.nodes[1:] {
				if joins.Go(n.join); !together {
					joins.Wait()
				}
			}
			joins.Wait()
			if deepest := f.whole("joined", 2); deepest < 2 {
				t.Errorf("got depth %d, want 2 at least: the origin has room for two", deepest)
			}
			f.inner().kill()
			time.Sleep(10 * time.Second)
			f.whole("an edge died", 2)

			second := f.inner()
			second.public.lose(api.ReasonLocalPublisher)
			second.publish(stream)
			origin.join() // it pulls for its children and this viewer
			time.Sleep(10 * time.Second)
			f.whole("the publisher moved", 2)
			if path, _ := second.place(); len(path) != 1 {
				t.Errorf("got the path %v at the new publisher's node, want it to be the origin", path)
			}

			second.kill()
			third := f.nodes[slices.IndexFunc(f.nodes[1:], func(n *treeNode) bool { return !n.dead.Load() })+1]
			third.public.lose(api.ReasonLocalPublisher)
			third.publish(stream)
			time.Sleep(10 * time.Second)
			f.whole("the origin died", 2)
		})
	}
}

// A node that vanished gives its place to another after 5 s, though its session lives on at the upstream for longer. A
// node whose connection breaks does so earlier.
func TestSilentChild(t *testing.T) {
	for _, vanishes := range []bool{false, true} {
		least, most := time.Duration(0), 3*time.Second
		if vanishes {
			least, most = 3*time.Second, 8*time.Second // it may have been heard 2 s before its end
		}
		testSilentChild(t, vanishes, least, most)
	}
}

func testSilentChild(t *testing.T, vanishes bool, least, most time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := plant(t, 3, 1)
		f.nodes[0].publish(stream)
		time.Sleep(time.Second)
		f.nodes[1].join()
		time.Sleep(time.Minute)
		if _, children := f.nodes[0].place(); !slices.Equal(children, []directory.NodeID{"n1"}) {
			t.Errorf("got the children %v after a minute, want n1 in its place", children)
		}
		f.nodes[1].vanishes.Store(vanishes)
		time.Sleep(3 * time.Second) // until its next request
		began := time.Now()
		f.nodes[1].kill()
		f.nodes[2].join()
		took := time.Since(began)
		_, children := f.nodes[0].place()
		if !slices.Equal(children, []directory.NodeID{"n2"}) || took < least || took > most {
			t.Errorf("got the children %v after %v, want n2 after %v to %v", children, took, least, most)
		}
	})
}

// A viewer's offer that the origin sends on to another node makes that one pull the stream. It is no pull itself.
func TestOfferSentOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := plant(t, 2, 1)
		origin, edge := f.nodes[0], f.nodes[1]
		origin.publish(stream)
		time.Sleep(time.Second)
		r := httptest.NewRequestWithContext(secret.To(t.Context(), string(edge.node.id)), http.MethodPost,
			"https://"+edge.host+"/whep/"+stream, strings.NewReader(viewerOffer()))
		r.RequestURI = ""
		r.Header.Set("Content-Type", "application/sdp")
		r.Header.Set("Ringcast-Source", "198.51.100.9")
		answer, err := origin.node.nodes.RoundTrip(r)
		if err != nil || answer.StatusCode != http.StatusCreated {
			t.Fatalf("got %+v and error %v, want 201", answer, err)
		}
		if path, children := edge.place(); len(path) != 2 || len(children) != 0 {
			t.Errorf("got the path %v and children %v at the edge, want a pull and no child", path, children)
		}
	})
}
