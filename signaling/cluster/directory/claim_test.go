package directory

import (
	"fmt"
	"testing"
)

// announce tells a desk that a node has a newer publisher of a stream.
func (d *desk) announce(stream string, count uint64, node NodeID) {
	m := message{Kind: kindUp, From: node, Stream: stream, Places: []Place{at(count, node)}}
	d.hear(m.encode())
}

// withdraw tells a desk that a node's publisher of a stream has ended.
func (d *desk) withdraw(stream string, node NodeID) {
	m := message{Kind: kindGone, From: node, Stream: stream}
	d.hear(m.encode())
}

// noClaims fails the test where a desk holds anything of a claim.
func (d *desk) noClaims() {
	d.t.Helper()
	if c := &d.Book.claims; len(c.nodes) != 0 || c.waiting != 0 || c.running != 0 {
		d.t.Errorf("got claims of %d nodes, %d waiting, %d checks, want none", len(c.nodes), c.waiting, c.running)
	}
}

// A node that claims a stream and sends nothing ends no publisher. After three failures nobody looks for a minute, and
// its places count less than older ones.
func TestLiar(t *testing.T) {
	d := newDesk(t, BookConfig{}, "self")
	d.Announce(d.now, "live", Publisher{})
	for i := range uint64(6) {
		d.announce("live", 10+i, "liar")
		want := 1
		if i >= maxFailures {
			want = 0
		}
		if got := d.prove(Refuted); got != want {
			t.Errorf("claim %d: got %d checks, want %d", i, got, want)
		}
	}
	if lost := d.take(OutputSuperseded); len(lost) != 0 || d.own["live"] == nil {
		t.Errorf("got %+v, want the publisher to stay", lost)
	}
	if d.Counts.FalseClaims != maxFailures || d.Counts.LeftOut != 1 {
		t.Errorf("got the counts %+v, want three false claims and a node left out", d.Counts)
	}
	d.noClaims()

	ticket, number := d.ask("other")
	d.answer("liar", "other", number, at(99, "liar"))
	d.answer("honest", "other", number, at(1, "honest"))
	d.answer("liar", "other", number, at(100, "liar"))
	d.Asked(d.now, number, Complete)
	if a := d.got(ticket); a.Verdict != Found || len(a.Places) != 1 || a.Places[0].Node != "honest" {
		t.Errorf("got %+v, want the honest place", a)
	}

	// A minute later the stream is announced once more: the node may have been slow rather than false.
	d.pass(blameSpan)
	if tells := d.take(OutputTell); len(tells) != 1 {
		t.Errorf("got %d announcements after a minute, want 1", len(tells))
	}
	d.announce("live", 30, "liar")
	if got := d.prove(Proven); got != 1 || d.own["live"] != nil {
		t.Errorf("got %d checks after a minute, want one, and the publisher to lose to a node that sends", got)
	}
}

// A node that was left out claims a stream. The older of two publishers ends all the same.
func TestClaimAfterPartition(t *testing.T) {
	d := newDesk(t, BookConfig{}, "self")
	d.Announce(d.now, "live", Publisher{})
	for range maxFailures {
		d.Failed(d.now, "other")
	}
	d.announce("live", 9, "other")
	if got := d.prove(Proven); got != 1 || d.own["live"] != nil {
		t.Errorf("got %d checks, want one, and the older publisher to end", got)
	}
}

// A check that failed by chance is repeated: the stream is announced, and the other node claims it again.
func TestClaimAgain(t *testing.T) {
	for _, proof := range []Proof{Unchecked, Refuted} {
		d := newDesk(t, BookConfig{}, "self")
		d.Announce(d.now, "live", Publisher{})
		d.announce("live", 9, "other")
		d.take(OutputNone)
		d.Checked(d.now, "live", "other", proof)
		if tells := d.take(OutputTell); len(tells) != 1 {
			t.Errorf("proof %d: got %d announcements, want 1", proof, len(tells))
		}
	}
}

// A check blames nobody where one of the publishers has ended meanwhile, or where this node could not check.
func TestClaimBlamesNobody(t *testing.T) {
	for name, meanwhile := range map[string]func(d *desk){
		"ours ended":    func(d *desk) { d.Withdraw(d.now, "live") },
		"ours is newer": func(d *desk) { d.Announce(d.now, "live", Publisher{}) },
		"theirs ended":  func(d *desk) { d.withdraw("live", "other") },
		"theirs ended and began": func(d *desk) {
			d.withdraw("live", "other")
			d.announce("live", 12, "other")
		},
	} {
		d := newDesk(t, BookConfig{}, "self")
		for range 2 * maxFailures {
			d.Announce(d.now, "live", Publisher{})
			d.announce("live", d.own["live"].place.Generation.Count+1, "other")
			meanwhile(d)
			d.Checked(d.now, "live", "other", Refuted)
			d.withdraw("live", "other")
			d.prove(Unchecked)
		}
		if d.Counts.FalseClaims != 0 || d.Counts.LeftOut != 0 || d.Counts.Superseded != 0 {
			t.Errorf("%s: got the counts %+v, want no blame", name, d.Counts)
		}
		d.noClaims()
	}
}

// A node's claims are checked some at a time, each once.
func TestClaims(t *testing.T) {
	d := newDesk(t, BookConfig{}, "self")
	const streams = 3 * maxChecks
	for i := range streams {
		d.Announce(d.now, fmt.Sprint("s", i), Publisher{})
		d.announce(fmt.Sprint("s", i), 5, "other")
		d.announce(fmt.Sprint("s", i), 6, "other")
	}
	d.withdraw("s0", "other")
	d.withdraw(fmt.Sprint("s", streams-1), "other") // which waits
	if got := len(d.take(OutputCheck)); got != maxChecks {
		t.Errorf("got %d checks at once, want %d", got, maxChecks)
	}
	checks := maxChecks
	for i := range maxChecks {
		d.Checked(d.now, fmt.Sprint("s", i), "other", Proven)
	}
	for n := d.prove(Proven); n > 0; n = d.prove(Proven) {
		checks += n
	}
	if checks != streams-1 || len(d.own) != 2 {
		t.Errorf("got %d checks and %d publishers, want %d, and the two whose claims were taken back", checks,
			len(d.own), streams-1)
	}
	d.noClaims()
}

// Nobody who has the secret of the cluster can make a node check or remember without bound.
func TestClaimsAreBounded(t *testing.T) {
	d := newDesk(t, BookConfig{}, "self")
	d.Announce(d.now, "live", Publisher{})
	for i := range maxAllChecks + maxClaims + 100 {
		d.announce("live", 9, NodeID(fmt.Sprint("node", i)))
	}
	if got := len(d.take(OutputCheck)); got != maxAllChecks {
		t.Errorf("got %d checks at once, want %d", got, maxAllChecks)
	}
	if got := len(d.Book.claims.nodes); got != maxAllChecks+maxClaims {
		t.Errorf("got claims of %d nodes, want %d", got, maxAllChecks+maxClaims)
	}
	for i := range maxAllChecks { // the first ends our publisher, so that all others are old
		d.Checked(d.now, "live", NodeID(fmt.Sprint("node", i)), Proven)
	}
	if d.Counts.Superseded != 1 {
		t.Errorf("got %d publishers that lost their stream, want 1", d.Counts.Superseded)
	}
	d.noClaims()
}
