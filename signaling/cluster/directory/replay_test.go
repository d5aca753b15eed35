package directory

import (
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ringcast/signaling/access"
	"ringcast/signaling/cluster/secret"
)

// tape is a Transport that reaches nobody, and keeps the last messages.
type tape struct {
	Transport
	mu         sync.Mutex
	news, beat []byte
}

func (*tape) Start(Receiver) {}
func (*tape) Serve(string)   {}
func (*tape) Unserve(string) {}
func (*tape) Close() error   { return nil }
func (*tape) Reach() Reach   { return Reach{} }

func (p *tape) Tell(_ string, text []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.news = text
}

func (p *tape) Beat(text []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.beat = text
}

func (p *tape) last() (news, beat []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.news, p.beat
}

// A stranger on the operator's NATS sends an old announcement again. The node that published then has said more since,
// so the announcement ends no publisher.
func TestReplayedAnnouncement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys, err := secret.New(access.Secret(strings.Repeat("k", 32)), "")
		if err != nil {
			t.Fatal(err)
		}
		join := func(name string) (*member, *tape) {
			log, p := slog.New(slog.DiscardHandler), &tape{}
			m := &member{t: t, name: name, has: make(map[string]Place), lost: make(map[string]time.Time)}
			clocks := secret.NewClocks(log, nil)
			m.Service = NewService(Config{
				Local: m, Log: log, Seal: Signed{secret.NewSigner(keys, "id-"+name, clocks, nil), clocks},
			}, p)
			return m, p
		}
		before, heard := join("before")
		after, _ := join("after")
		defer func() { _, _ = before.Close(), after.Close() }()
		for range 2 { // its generation is above the first of another node
			before.Announce("live", Publisher{})
		}
		replayed, _ := heard.last()
		before.Withdraw("live")
		time.Sleep(secret.Span / 2)
		after.publish("live")
		_, beat := heard.last()
		after.Heard(beat)
		after.Heard(replayed)
		synctest.Wait()
		if !after.publishes("live") {
			t.Error("an announcement of 15 s ago ended the publisher of now")
		}
		for range 2 {
			before.Announce("live", Publisher{})
		}
		fresh, _ := heard.last()
		after.Heard(fresh)
		synctest.Wait()
		if after.publishes("live") {
			t.Error("got two publishers, want the newer one")
		}
	})
}
