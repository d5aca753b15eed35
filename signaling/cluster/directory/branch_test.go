package directory

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

func branchOf(id NodeID, fanout int) *Branch {
	return NewBranch(Node{ID: id, URL: "https://" + string(id) + ".example"}, fanout)
}

// A branch takes no child that is in its path, or that would be too deep, or without a path or room.
func TestAdopt(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	child := func(id NodeID) Node { return Node{ID: id, URL: "https://" + string(id) + ".example"} }
	for _, test := range []struct {
		upstream  Path
		requester NodeID
		want      error
	}{
		{Path{"o"}, "x", nil},
		{Path{"o", "a"}, "x", nil},
		{Path{"o", "a", "b"}, "x", ErrDepth},
		{Path{"o", "a"}, "a", ErrLoop},
		{Path{"o", "a"}, "self", ErrLoop},
		{nil, "x", ErrNoPath},
	} {
		b := branchOf("self", 16)
		if err := b.Follow(Generation{1, 1}, test.upstream); err != nil {
			t.Fatalf("%v: got %v, want it followed", test.upstream, err)
		}
		if err := b.Adopt(now, child(test.requester)); !errors.Is(err, test.want) {
			t.Errorf("%s asks below %v: got %v, want %v", test.requester, test.upstream, err, test.want)
		}
	}
}

// An upstream's path that leads back here, or is too long, ends the pull. An empty one only waits.
func TestFollow(t *testing.T) {
	b := branchOf("self", 16)
	for _, test := range []struct {
		upstream, path Path
		want           error
	}{
		{Path{"o", "a"}, Path{"o", "a", "self"}, nil},
		{Path{"o", "self", "a"}, nil, ErrLoop},
		{Path{"o", "a", "b"}, Path{"o", "a", "b", "self"}, nil},
		{Path{"o", "a", "b", "c"}, nil, ErrDepth},
		{nil, nil, nil},
	} {
		err := b.Follow(Generation{1, 1}, test.upstream)
		path, _ := b.Path()
		if !errors.Is(err, test.want) || !slices.Equal(path, test.path) {
			t.Errorf("%v: got %v and error %v, want %v and %v", test.upstream, path, err, test.path, test.want)
		}
	}
}

// Three nodes change places at once, each before it hears of the others' changes, and pull from each other. The first
// path that has gone around ends the circle.
func TestCircle(t *testing.T) {
	now, g := time.Unix(1_800_000_000, 0), Generation{1, 1}
	a, b, c := branchOf("a", 16), branchOf("b", 16), branchOf("c", 16)
	follow := func(child, up *Branch) error {
		path, _ := up.Path()
		return child.Follow(g, path)
	}
	adopt := func(up, child *Branch) {
		t.Helper()
		if err := up.Adopt(now, child.self); err != nil {
			t.Fatal(err)
		}
	}
	a.path, b.path, c.path = Path{"o", "a"}, Path{"o", "b"}, Path{"o", "c"}
	adopt(a, b)
	fromA := a.path // the answer is on its way
	a.Lose()
	adopt(c, a)
	fromC := c.path
	if err := b.Follow(g, fromA); err != nil {
		t.Fatal(err)
	}
	c.Lose()
	adopt(b, c) // b has not heard of a's loss
	if err := errors.Join(follow(c, b), a.Follow(g, fromC)); err != nil {
		t.Fatal(err)
	}
	// Now a pulls from c, c from b and b from a. a's message goes around.
	if err := follow(b, a); err != nil {
		t.Fatalf("got %v at b, want it to follow", err)
	}
	if err := follow(c, b); !errors.Is(err, ErrLoop) {
		t.Errorf("got %v at c, want %v", err, ErrLoop)
	}
}

// A branch without room names its children, and a child that is not heard gives its place.
func TestFanout(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	b := branchOf("self", 3)
	b.Publish(Generation{1, 1})
	for i := range 3 {
		if places := b.Places("x"); len(places) != 1 || places[0].Node != "self" {
			t.Errorf("got %+v with room, want this node", places)
		}
		id := NodeID(fmt.Sprint("n", i))
		if err := b.Adopt(now, Node{ID: id, URL: "https://" + string(id)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Adopt(now, Node{ID: "n0", URL: "https://n0"}); err != nil {
		t.Errorf("got %v for a child that asks again, want none", err)
	}
	if err := b.Adopt(now, Node{ID: "again", URL: "https://n1"}); err != nil {
		t.Errorf("got %v for a child that was started again, want none", err)
	}
	if err := b.Adopt(now, Node{ID: "x", URL: "https://x"}); !errors.Is(err, ErrFanout) {
		t.Errorf("got %v for a fourth child, want %v", err, ErrFanout)
	}
	for _, p := range b.Places("n0") {
		if !p.valid() || p.Node == "n0" {
			t.Errorf("got the place %+v for n0, want another child", p)
		}
	}
	if places := b.Places("x"); len(places) != 3 || places[0].Origin() {
		t.Errorf("got %+v without room, want the three children", places)
	}
	b.Heard(now.Add(childSpan-1), "n2")
	if gone := b.Expire(now.Add(childSpan)); !slices.Equal(gone, []NodeID{"again", "n0"}) {
		t.Errorf("got %v gone after 5 s, want again and n0", gone)
	}
	broken := now.Add(2 * childSpan)
	b.Heard(broken, "n2")
	b.Broke(broken, now, "n2") // an earlier request than its last
	if gone := b.Expire(broken.Add(brokenSpan)); len(gone) != 0 {
		t.Errorf("got %v gone, want none: n2 was heard after it broke off", gone)
	}
	b.Broke(broken, broken, "n2")
	if gone := b.Expire(broken.Add(brokenSpan - 1)); len(gone) != 0 {
		t.Errorf("got %v gone before 1.5 s, want none", gone)
	}
	if gone := b.Expire(broken.Add(brokenSpan)); !slices.Equal(gone, []NodeID{"n2"}) {
		t.Errorf("got %v gone 1.5 s after it broke off, want n2", gone)
	}
	if err := b.Adopt(broken, Node{ID: "n2", URL: "https://n2"}); err != nil {
		t.Error(err)
	}
	if b.Leave("n2"); len(b.Children()) != 0 {
		t.Errorf("got the children %v, want none", b.Children())
	}
}

// A full node lets others look for a packet.
func TestProve(t *testing.T) {
	now := time.Unix(0, 0)
	b := NewBranch(Node{ID: "self", URL: "https://self"}, 1)
	b.Publish(Generation{1, 1})
	if err := b.Adopt(now, Node{ID: "n", URL: "https://n"}); err != nil {
		t.Fatal(err)
	}
	for i := range maxProofs {
		id := NodeID(fmt.Sprint("p", i))
		if err := b.Prove(now, Node{ID: id, URL: "https://" + string(id)}); err != nil {
			t.Errorf("got %v for a node that looks for a packet, want room", err)
		}
	}
	if err := b.Prove(now, Node{ID: "x", URL: "https://x"}); !errors.Is(err, ErrFanout) {
		t.Errorf("got %v for one too many of those, want %v", err, ErrFanout)
	}
}
