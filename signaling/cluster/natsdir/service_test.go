//go:build !nocluster

package natsdir

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"ringcast/signaling/access"
	"ringcast/signaling/cluster/directory"
	"ringcast/signaling/cluster/secret"
)

var anybody = netip.MustParseAddr("198.18.0.1")

// member is a node with a whole directory. It has each stream that it publishes.
type member struct {
	*directory.Service
	id directory.NodeID

	mu   sync.Mutex
	has  map[string]directory.Place
	lost chan string
}

func (m *member) Self() directory.Node {
	return directory.Node{ID: m.id, URL: "http://" + string(m.id)}
}

func (m *member) Places(stream string, _ directory.NodeID) []directory.Place {
	m.mu.Lock()
	defer m.mu.Unlock()
	if place, ok := m.has[stream]; ok {
		return []directory.Place{place}
	}
	return nil
}

func (m *member) Serves(context.Context, string, directory.Place) error { return nil }

func (m *member) Viewers() directory.Viewers { return nil }

func (m *member) Superseded(stream string, _ directory.Place) {
	m.mu.Lock()
	delete(m.has, stream)
	m.mu.Unlock()
	m.lost <- stream
}

func (m *member) publish(stream string) {
	place := m.Announce(stream, directory.Publisher{Source: anybody})
	m.mu.Lock()
	defer m.mu.Unlock()
	m.has[stream] = place
}

func (m *member) unpublish(stream string) {
	m.mu.Lock()
	delete(m.has, stream)
	m.mu.Unlock()
	m.Withdraw(stream)
}

// verdict asks until the answer is the wanted one.
func (m *member) verdict(t testing.TB, stream string, want directory.Verdict) directory.Answer {
	t.Helper()
	var got directory.Answer
	for begun := time.Now(); time.Since(begun) < limit; {
		for i := range byte(200) { // addresses in turn: each may ask 20 times a second
			if got = m.Where(t.Context(), stream, netip.AddrFrom4([4]byte{198, 18, 1, i})); got.Verdict == want {
				return got
			}
		}
	}
	t.Fatalf("%s got %v about %q, want %v", m.id, got.Verdict, stream, want)
	return got
}

// newMember makes a node on a transport that form makes.
func newMember(t testing.TB, i int, form func(m *member, keys *secret.Keys, clocks *secret.Clocks) directory.Transport,
) *member {
	keys, err := secret.New(access.Secret(strings.Repeat("k", 32)), "")
	if err != nil {
		t.Fatal(err)
	}
	m := &member{id: id(i), has: make(map[string]directory.Place), lost: make(chan string, 16)}
	clocks := secret.NewClocks(quiet(t), time.Now)
	transport := form(m, keys, clocks)
	m.Service = directory.NewService(directory.Config{
		Book: directory.BookConfig{Takeover: true, Poll: true}, Local: m, Log: quiet(t),
		Seal: directory.Signed{Signer: secret.NewSigner(keys, string(m.id), clocks, nil), Clocks: clocks},
	}, transport)
	t.Cleanup(func() { m.Close() })
	return m
}

// onNATS makes the transport of a configuration.
func onNATS(t testing.TB, config Config) directory.Transport {
	t.Helper()
	transport, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	transport.settle = 0
	return transport
}

func embeddedMembers(t testing.TB, n int) (all []*member) {
	var peers []string
	for i := range n {
		all = append(all, newMember(t, i, func(_ *member, keys *secret.Keys, _ *secret.Clocks) directory.Transport {
			transport := onNATS(t, Config{
				Node: id(i), Log: quiet(t), Routes: &Routes{Listen: "127.0.0.1:0", Peers: peers, Logins: keys.Logins()},
			})
			peers = []string{transport.(*Transport).Address()}
			return transport
		}))
	}
	return all
}

func externalMembers(t testing.TB, url string, n int) (all []*member) {
	for i := range n {
		all = append(all, newMember(t, i, func(*member, *secret.Keys, *secret.Clocks) directory.Transport {
			return onNATS(t, Config{Node: id(i), Log: quiet(t), External: &External{URLs: []string{url}}})
		}))
	}
	return all
}

// staticMembers are nodes on the static directory, which the same suite holds to.
func staticMembers(t testing.TB, n int) (all []*member) {
	var listeners []*httptest.Server
	for range n {
		l := httptest.NewUnstartedServer(nil)
		t.Cleanup(l.Close)
		listeners = append(listeners, l)
	}
	for i := range n {
		var guard *secret.Guard
		m := newMember(t, i, func(m *member, keys *secret.Keys, clocks *secret.Clocks) directory.Transport {
			var peers []string
			for j, l := range listeners {
				if j != i {
					peers = append(peers, "http://"+l.Listener.Addr().String())
				}
			}
			client := directory.StaticClient(&http.Transport{DialContext: (&net.Dialer{}).DialContext})
			t.Cleanup(client.CloseIdleConnections)
			guard = secret.NewGuard(keys, string(m.id), time.Now, nil)
			return directory.NewStatic(peers, secret.NewCaller(keys, string(m.id), client, clocks))
		})
		listeners[i].Config.Handler = guard.Wrap(directory.StaticHandler(m.Service))
		all = append(all, m)
	}
	for _, l := range listeners {
		l.Start()
	}
	return all
}

// The whole directory over each transport: a stream is found, is gone again, is waited for, and moves.
func TestDirectory(t *testing.T) {
	for _, form := range []struct {
		name string
		make func(t *testing.T) []*member
	}{
		{"embedded 2", func(t *testing.T) []*member { return embeddedMembers(t, 2) }},
		{"embedded 3", func(t *testing.T) []*member { return embeddedMembers(t, 3) }},
		{"embedded 5", func(t *testing.T) []*member { return embeddedMembers(t, 5) }},
		{"external", func(t *testing.T) []*member {
			return externalMembers(t, serverURL(externalServer(t, freePort(t))), 3)
		}},
		{"static", func(t *testing.T) []*member { return staticMembers(t, 3) }},
	} {
		t.Run(form.name, func(t *testing.T) {
			t.Parallel() // it waits for time-outs, mostly
			all := form.make(t)
			first, last := all[0], all[len(all)-1]
			for _, m := range all {
				m.verdict(t, "nobody's", directory.Nowhere)
			}
			first.publish("live")
			answer := last.verdict(t, "live", directory.Found)
			if place := answer.Places[0]; place.Node != first.id || !place.Origin() {
				t.Errorf("got %v, want the origin %s", place, first.id)
			}
			found := make(chan directory.Place, 16)
			stop := first.Watch("soon", func(p directory.Place) { found <- p })
			last.publish("soon")
			select {
			case place := <-found:
				if place.Node != last.id {
					t.Errorf("got %s as the new origin, want %s", place.Node, last.id)
				}
			case <-time.After(limit):
				t.Error("got no news of the stream that is waited for, want some")
			}
			stop()
			last.publish("live") // newer, as it has seen the first
			select {
			case stream := <-first.lost:
				if stream != "live" {
					t.Errorf("got the end of %q, want live", stream)
				}
			case <-time.After(limit):
				t.Error("got two publishers, want the older one ended")
			}
			first.Withdraw("live")
			last.unpublish("live")
			first.verdict(t, "live", directory.Nowhere)
		})
	}
}

// spy is a stranger on the operator's NATS. It hears the messages about a stream, and may publish any.
type spy struct {
	t      *testing.T
	client *nats.Conn
	heard  chan *nats.Msg
}

func newSpy(t *testing.T, url string) *spy {
	client, err := nats.Connect(url, nats.NoEcho(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	s := &spy{t, client, make(chan *nats.Msg, 1<<12)}
	for _, subject := range []string{subjectBeat, up("live"), where("live"), subjectAnswer + ">"} {
		if _, err := client.ChanSubscribe(subject, s.heard); err != nil {
			t.Fatal(err)
		}
	}
	s.flush()
	return s
}

func (s *spy) flush() {
	if err := s.client.FlushTimeout(limit); err != nil {
		s.t.Fatal(err)
	}
}

// next returns the next message of a subject.
func (s *spy) next(subject string) *nats.Msg {
	s.t.Helper()
	for {
		select {
		case m := <-s.heard:
			if strings.HasPrefix(m.Subject, subject) {
				return m
			}
		case <-time.After(limit):
			s.t.Fatalf("heard nothing of %s, want a message", subject)
		}
	}
}

func (s *spy) say(subject, reply string, data []byte) {
	if err := s.client.PublishMsg(&nats.Msg{Subject: subject, Reply: reply, Data: data}); err != nil {
		s.t.Fatal(err)
	}
}

// flood sends all that a stranger can make of messages that it heard.
func (s *spy) flood(beat, news, question, answer *nats.Msg) {
	huge := make([]byte, 900<<10)
	for range 20 {
		for _, subject := range []string{subjectBeat, up("live"), where("live"), question.Reply} {
			s.say(subject, "rc1.answer.evil.1", huge)
		}
	}
	inverted := func(m *nats.Msg) []byte {
		data := append([]byte(nil), m.Data...)
		data[len(data)/2] ^= 1
		return data
	}
	for i := range 20_000 {
		name := fmt.Sprint("name ", i)
		s.say(where(name), "rc1.answer.evil.2", question.Data) // a question about another stream
		s.say(up(name), "", news.Data)                         // news of another stream
		switch i % 8 {
		case 0:
			s.say(where("live"), "rc1.answer.evil.3", inverted(question))
		case 1:
			s.say(where("live"), subjectBeat, question.Data) // the answer would be a beat
		case 2:
			s.say(up("live"), "", inverted(news))
		case 3:
			s.say(question.Reply, "", answer.Data) // again
		case 4:
			s.say(subjectBeat, "", inverted(beat))
		case 5:
			s.say(up("live"), "", answer.Data) // a kind for another
		case 6:
			s.say(subjectBeat, "", fmt.Appendf(nil, `{"v":1,"kind":"beat","from":"evil%d"}`, i))
		case 7:
			s.say(question.Reply[:strings.LastIndex(question.Reply, ".")+1]+"x", "", nil)
		}
	}
	s.flush()
}

// A stranger on a shared NATS can neither end a stream, nor bring one, nor be a node. Memory stays flat.
func TestHostileClient(t *testing.T) {
	s := externalServer(t, freePort(t))
	all := externalMembers(t, serverURL(s), 2)
	for _, m := range all {
		m.verdict(t, "nobody's", directory.Nowhere)
	}
	evil := newSpy(t, serverURL(s))
	all[0].publish("live")
	news := evil.next(up("live"))
	all[1].verdict(t, "live", directory.Found)
	question := evil.next(where("live"))
	answer := evil.next(question.Reply)
	beat := evil.next(subjectBeat)

	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	evil.flood(beat, news, question, answer)
	all[1].verdict(t, "nobody's other", directory.Nowhere)
	if got := all[1].verdict(t, "live", directory.Found).Places[0].Node; got != all[0].id {
		t.Errorf("got %s as the origin, want %s", got, all[0].id)
	}
	for _, m := range all {
		if nodes := m.Nodes(); len(nodes) > 1 || len(nodes) == 1 && !strings.HasPrefix(string(nodes[0].ID), "node") {
			t.Errorf("%s got the nodes %v, want no stranger", m.id, nodes)
		}
		select {
		case stream := <-m.lost:
			t.Errorf("%s lost %q, want no end by a stranger", m.id, stream)
		default:
		}
	}
	for len(evil.heard) > 0 { // its own memory
		<-evil.heard
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	t.Logf("%d KB of heap more", (int64(after.HeapAlloc)-int64(before.HeapAlloc))>>10)
	if got := int64(after.HeapAlloc) - int64(before.HeapAlloc); got > 32<<20 {
		t.Errorf("got %d bytes of heap more, want at most 32 MB", got)
	}
}

// The directory over an external server that stops: local answers go on, look-ups are unknown, and it comes back.
func TestDirectorySilent(t *testing.T) {
	port := freePort(t)
	s := externalServer(t, port)
	all := externalMembers(t, serverURL(s), 2)
	all[0].publish("live")
	all[1].verdict(t, "live", directory.Found)
	s.Shutdown()
	s.WaitForShutdown()
	all[1].verdict(t, "live", directory.Unknown) // once the cache has forgotten
	if err := all[1].Admit(context.Background(), "new", directory.Publisher{Source: anybody}); err != nil {
		t.Errorf("got %v for a publisher in silence, want it admitted", err)
	}
	all[1].publish("new")
	if got := all[1].Places("new", all[0].id); len(got) != 1 {
		t.Errorf("got %v as places of the own stream, want one", got)
	}
	externalServer(t, port)
	all[1].verdict(t, "live", directory.Found)
	all[0].verdict(t, "new", directory.Found)
}
