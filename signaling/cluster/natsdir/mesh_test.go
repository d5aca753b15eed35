//go:build !nocluster

package natsdir

import (
	"slices"
	"testing"
	"time"

	"ringcast/signaling/cluster/directory"
)

type routes map[directory.NodeID]time.Time

// Silence is a no while the routes to all nodes of late are up and proven, and at no other time.
func TestComplete(t *testing.T) {
	start := time.Unix(1000, 0)
	m := newMesh(2, start.Add(settle))
	now := start
	check := func(when string, complete, silent bool) {
		t.Helper()
		if got := m.complete(now); got != complete {
			t.Errorf("%s: got complete %t, want %t", when, got, complete)
		}
		if got := m.silent(now); got != silent {
			t.Errorf("%s: got silent %t, want %t", when, got, silent)
		}
	}
	check("at the start", false, false)
	m.update(now, routes{"a": start})
	check("with a route that is not proven", false, false)
	if !m.prove("a") || m.prove("a") || m.prove("b") {
		t.Error("got a wrong proof, want one of a")
	}
	check("with one route of two", false, false)
	now = start.Add(settle)
	check("with one route of two, for long", true, false)
	m.update(now, routes{"a": start, "b": now})
	check("with a new node", false, false)
	m.prove("b")
	check("with both", true, false)

	if down := m.update(now, routes{"b": now}); !slices.Equal(down, []directory.NodeID{"a"}) {
		t.Errorf("got %v down, want a", down)
	}
	check("without one", false, false)
	now = now.Add(remembered)
	m.update(now, routes{"b": start.Add(settle)})
	check("a minute after", true, false)
	m.update(now, routes{"b": now})
	check("with a route made again", false, true)
	m.prove("b")
	check("with its proof", true, false)
	if !m.left("b") || m.left("b") || m.prove("b") {
		t.Error("got a wrong goodbye, want one of b, which is not proven again")
	}
	check("with a goodbye of all", false, true)
	if down := m.update(now, nil); len(down) != 0 {
		t.Errorf("got %v down after their goodbye, want none", down)
	}
	check("alone, with peers", false, true)
}

// A node without peers is alone, or the first of several.
func TestCompleteAlone(t *testing.T) {
	start := time.Unix(1000, 0)
	m := newMesh(0, start.Add(settle))
	if m.complete(start) {
		t.Error("got a complete answer at the start, want a doubt: others may be on their way")
	}
	if now := start.Add(settle); !m.complete(now) || m.silent(now) {
		t.Error("got a doubt, want a complete answer of a node alone")
	}
}

// The subjects of version 1.
func TestSubjects(t *testing.T) {
	for _, test := range []struct{ got, want string }{
		{where("live"), "rc1.where.nruxmzi"},
		{up("a.b *>"), "rc1.up.mexgeibkhy"},
		{where("\x00\xff"), "rc1.where.ad7q"},
		{node("id"), "rc1.node.id"},
	} {
		if test.got != test.want {
			t.Errorf("got %q, want %q", test.got, test.want)
		}
	}
}

// Answers go to inboxes of nodes alone.
func FuzzPlain(f *testing.F) {
	for _, reply := range []string{
		"rc1.answer.ABC.1", "rc1.answer.", "rc1.beat", "rc1.answer.*", "rc1.answer.>", "rc1.answer.a b", "",
		"_INBOX.x.1",
	} {
		f.Add(reply)
	}
	f.Fuzz(func(t *testing.T, reply string) {
		if !plain(reply) {
			return
		}
		if len(reply) <= len(subjectAnswer) || reply[:len(subjectAnswer)] != subjectAnswer {
			t.Errorf("got %q as an inbox, want one below %s", reply, subjectAnswer)
		}
	})
}

// A node is not one of its own peers, whether its route has the address that it listens at or the host of its URL.
func TestOthers(t *testing.T) {
	all := []string{"node1.example.org:6222", "node2.example.org:6222", "node1.example.org:6223", "198.18.0.1:6222"}
	for _, row := range []struct {
		name   string
		routes Routes
		want   int
	}{
		{"by address", Routes{Listen: "198.18.0.1:6222", Peers: all}, 3},
		{"by advertised address", Routes{Listen: ":7", Advertise: "node2.example.org:6222", Peers: all}, 3},
		{"by the host of the URL", Routes{Listen: ":6222", Host: "Node1.example.org", Peers: all}, 3},
		{"another port", Routes{Listen: ":6224", Host: "node1.example.org", Peers: all}, 4},
		{"without a host", Routes{Listen: ":6222", Peers: all}, 4},
	} {
		if got := row.routes.others(); got != row.want {
			t.Errorf("%s: got %d other nodes, want %d", row.name, got, row.want)
		}
	}
}
