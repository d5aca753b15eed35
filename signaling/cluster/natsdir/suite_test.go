//go:build !nocluster

package natsdir

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// forms are the ways to run NATS that the suite goes over.
var forms = []struct {
	name string
	make func(t *testing.T) *cluster
}{
	{"embedded 2", func(t *testing.T) *cluster { return embeddedNodes(t, 2) }},
	{"embedded 3", func(t *testing.T) *cluster { return embeddedNodes(t, 3) }},
	{"embedded 5", func(t *testing.T) *cluster { return embeddedNodes(t, 5) }},
	{"external 3", func(t *testing.T) *cluster { return externalNodes(t, externalServer(t, freePort(t)), 3) }},
}

// suite runs a test over all forms.
func suite(t *testing.T, test func(t *testing.T, c *cluster)) {
	for _, form := range forms {
		t.Run(form.name, func(t *testing.T) {
			t.Parallel() // it waits, mostly
			test(t, form.make(t).ready().settled())
		})
	}
}

// A question reaches each node that serves the stream, and its answers come back. Nobody else hears it.
func TestQuestions(t *testing.T) {
	suite(t, func(t *testing.T, c *cluster) {
		last := len(c.nodes) - 1
		for _, stream := range []string{"a", "A", "with.dots and * > signs", "\x00\xff", strings.Repeat("long", 64)} {
			c.nodes[last].Serve(stream)
			number := c.answered(0, last, stream)
			for i := range last {
				if got := c.heard[i].count("question where is " + stream); got != 0 {
					t.Errorf("node %d got %d questions about %q, want none", i, got, stream)
				}
			}
			c.nodes[last].Unserve(stream)
			c.gone(0, stream)
			answer := fmt.Sprintf("answer %d where is %s from %s", number, stream, id(last))
			if got := c.heard[0].count(answer); got != 1 {
				t.Errorf("got %d answers from %s, want one", got, id(last))
			}
		}
	})
}

// answered asks at one node until another answers. Interest in a stream spreads in its own time.
func (c *cluster) answered(at, by int, stream string) (number uint64) {
	c.t.Helper()
	for deadline := time.Now().Add(limit); ; {
		number = numbers.Add(1)
		c.nodes[at].Ask(number, stream, []byte("where is "+stream))
		over := fmt.Sprintf("asked %d ", number)
		want := fmt.Sprintf("answer %d where is %s from %s", number, stream, id(by))
		found := false
		c.heard[at].until(func(all []string) string {
			for _, line := range all {
				found = found || line == want
				if found || strings.HasPrefix(line, over) {
					return ""
				}
			}
			return want
		})
		if found {
			return number
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("node %d got no answer about %q from node %d, want one", at, stream, by)
		}
	}
}

// gone asks at a node until no node serves the stream.
func (c *cluster) gone(at int, stream string) {
	c.t.Helper()
	for deadline := time.Now().Add(limit); ; {
		if _, complete := c.ask(at, stream); complete {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("node %d got no complete answer about %q, want one", at, stream)
		}
	}
}

// Two nodes that serve one stream both answer.
func TestTwoServe(t *testing.T) {
	suite(t, func(t *testing.T, c *cluster) {
		for i := range c.nodes {
			c.nodes[i].Serve("both")
		}
		for i := range c.nodes {
			for j := range c.nodes {
				if i != j {
					c.answered(i, j, "both")
				}
			}
		}
	})
}

// News of a stream reach the nodes that serve it or listen to it, each once, and nobody else. Beats reach all others.
func TestNews(t *testing.T) {
	suite(t, func(t *testing.T, c *cluster) {
		last := len(c.nodes) - 1
		c.nodes[last].Listen("stream")
		c.nodes[last].Serve("stream")
		c.answered(0, last, "stream") // the subscription to news was made with that to questions
		c.nodes[0].Tell("stream", []byte("news"))
		c.nodes[0].Tell("another", []byte("other news"))
		c.nodes[0].Beat([]byte("beat"))
		for i, h := range c.heard[1:] {
			h.wait("heard beat")
			want := 0
			if i+1 == last {
				want = 1
				h.wait("heard news")
			}
			if got := h.count("heard news"); got != want {
				t.Errorf("node %d heard the news %d times, want %d", i+1, got, want)
			}
			if got := h.count("heard other news"); got != 0 {
				t.Errorf("node %d heard other news, want nothing of a stream that it does not listen to", i+1)
			}
		}
		c.nodes[last].Unserve("stream")
		c.gone(0, "stream")
		c.nodes[0].Tell("stream", []byte("late news"))
		c.heard[last].wait("heard late news") // it listens still
		c.nodes[last].Unlisten("stream")
		if got := c.heard[0].count("heard beat"); got != 0 {
			t.Errorf("node 0 heard its own beat %d times, want none", got)
		}
	})
}

// A node's own interest is no other node's: its question about a stream that it serves alone is answered by nobody.
func TestOwnStream(t *testing.T) {
	suite(t, func(t *testing.T, c *cluster) {
		c.nodes[0].Serve("own")
		c.answered(1, 0, "own")
		c.gone(0, "own")
		if got := c.heard[0].count("question where is it"); got != 0 {
			t.Errorf("got %d questions from itself, want none", got)
		}
	})
}

// A message that is larger than any of ours goes no further than the transport.
func TestHugeMessages(t *testing.T) {
	suite(t, func(t *testing.T, c *cluster) {
		huge := strings.Repeat("x", maxMessage+1)
		c.nodes[0].Beat([]byte(huge))
		c.nodes[0].Beat([]byte("beat"))
		c.heard[1].wait("heard beat")
		if got := c.heard[1].count("heard " + huge); got != 0 {
			t.Errorf("got %d huge messages, want none", got)
		}
	})
}

// A closed transport takes calls, and does nothing.
func TestClosed(t *testing.T) {
	suite(t, func(t *testing.T, c *cluster) {
		node := c.nodes[0]
		node.Ask(1<<40, "stream", []byte("unanswered"))
		for range 2 {
			if err := node.Close(); err != nil {
				t.Fatal(err)
			}
		}
		node.Ask(1, "stream", nil)
		node.Tell("stream", nil)
		node.Serve("stream")
		if got := c.heard[0].count("asked 1 false"); got != 0 {
			t.Errorf("got %d ends of questions after Close, want none", got)
		}
	})
}
