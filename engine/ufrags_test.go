package engine

import (
	"errors"
	"slices"
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/ufrag"
)

// keysTold are the keys that a worker was told last, nil for none, and how many messages told of sessions after them.
func (r *registry) keysTold(worker int) (keys *ufrag.Keys, after int) {
	e := r.ends[worker]
	for m := e.NextControl(); m != nil; m = e.NextControl() {
		switch m.Kind {
		case bus.KindUfragKeysTurned:
			keys, after = m.UfragKeys, 0
		case bus.KindSessionOpened, bus.KindSessionRestarted:
			after++
		}
		e.ControlDone()
	}
	return keys, after
}

// judge checks a ufrag, and what it says of its session.
func (r *registry) judge(when string, keys *ufrag.Keys, l api.Local, restart uint16, want ufrag.Verdict) {
	r.t.Helper()
	id, v := keys.Check([]byte(l.ICE.Ufrag))
	wanted := ufrag.ID{Session: uint64(l.ID), Restart: restart, Role: uint8(api.Publisher)}
	if id != wanted || v != want {
		r.t.Errorf("%s: %+v, verdict %d; want %+v, %d", when, id, v, wanted, want)
	}
}

// Sessions and their restarts get ufrags by the present key. Keys turn each hour. All workers get the new key before a
// ufrag is made by it. The old key stays valid for the next hour, so no pending session is lost.
func TestUfragKeysTurn(t *testing.T) {
	r := newRegistry(t)
	first := r.ufrags.keys
	l, err := r.open(api.Publisher, "stream", from("198.18.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	r.judge("at first", first, l, 0, ufrag.Genuine)
	r.connect(l.ID)
	r.now += ufragTerm - 1
	r.expire()
	if keys, _ := r.keysTold(0); keys != nil {
		t.Error("keys turned before an hour was over")
	}
	r.now++
	r.expire()
	if r.ufrags.keys == first {
		t.Fatal("no keys turned after an hour")
	}
	restarted, err := r.restart(l.ID, api.Credentials{Ufrag: "new", Password: "the new password of the peer"})
	if err != nil {
		t.Fatal(err)
	}
	for w := range r.ends {
		keys, after := r.keysTold(w)
		if keys != r.ufrags.keys || after != 1 {
			t.Errorf("worker %d: keys %p, then %d sessions; want %p, 1", w, keys, after, r.ufrags.keys)
		}
	}
	r.judge("the first ufrag after an hour", r.ufrags.keys, l, 0, ufrag.Genuine)
	r.judge("the restart's", r.ufrags.keys, restarted, 1, ufrag.Genuine)
	r.judge("the restart's by the keys before", first, restarted, 1, ufrag.Expired)
	again, err := r.restart(l.ID, api.Credentials{Ufrag: "newer", Password: "the newer password of the peer"})
	if err != nil {
		t.Fatal(err)
	}
	r.judge("the second restart's", r.ufrags.keys, again, 2, ufrag.Genuine)
	if len(again.ICE.Password) != 24 || again.ICE.Password == restarted.ICE.Password {
		t.Errorf("password %q after %q, want 24 other letters", again.ICE.Password, restarted.ICE.Password)
	}
	r.now += ufragTerm
	r.expire()
	r.judge("the first ufrag after two hours", r.ufrags.keys, l, 0, ufrag.Expired)
	r.judge("the restart's after an hour", r.ufrags.keys, restarted, 1, ufrag.Genuine)
}

// A fakeGuard notes what it is told.
type fakeGuard struct {
	keys  *ufrag.Keys
	kept  []string
	fails error
}

func (g *fakeGuard) SetUfragKeys(k *ufrag.Keys) error {
	if g.fails == nil {
		g.keys = k
	}
	return g.fails
}

func (g *fakeGuard) KeepUfrag(name string) error {
	g.kept = append(g.kept, name)
	return nil
}

func (g *fakeGuard) ForgetUfrag(name string) error {
	at := slices.Index(g.kept, name)
	if at < 0 {
		return errors.New("not kept")
	}
	g.kept = slices.Delete(g.kept, at, at+1)
	return nil
}

// The guard keeps the ufrag in force of every session that has a path, and of no other.
func TestGuardKeepsUfrags(t *testing.T) {
	r := newRegistry(t)
	g := &fakeGuard{}
	r.ufrags.guard = g
	expect := func(when string, want ...string) {
		t.Helper()
		if !slices.Equal(g.kept, want) {
			t.Errorf("%s: %q are kept, want %q", when, g.kept, want)
		}
	}
	open := func(name string) api.Local {
		t.Helper()
		l, err := r.open(api.Publisher, name, from("198.18.0.1"))
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	settle := func(l api.Local) {
		m := bus.SessionNominated(l.ID, l.ICE.Ufrag)
		r.handleMessage(&m)
	}
	restart := func(l api.Local) api.Local {
		t.Helper()
		l, err := r.restart(l.ID, api.Credentials{Ufrag: "new", Password: "the new password of the peer"})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	a, b := open("a"), open("b")
	expect("without a path")
	r.connect(a.ID)
	expect("with a path", a.ICE.Ufrag)
	r.says(bus.KindSessionClaimed, a.ID) // another worker's claim, too late
	expect("claimed twice", a.ICE.Ufrag)
	again := restart(a)
	expect("a restart begins", a.ICE.Ufrag)
	settle(again)
	expect("the restart is completed", again.ICE.Ufrag)

	// A restart that is completed before there was a path.
	again2 := restart(b)
	settle(again2)
	expect("no path yet", again.ICE.Ufrag)
	r.connect(b.ID)
	expect("both", again.ICE.Ufrag, again2.ICE.Ufrag)

	r.close(r.sessions[a.ID], api.ReasonClosed)
	expect("one has ended", again2.ICE.Ufrag)
	c := open("c")
	r.close(r.sessions[c.ID], api.ReasonClosed)
	r.close(r.sessions[b.ID], api.ReasonClosed)
	expect("all have ended")
}

// The guard gets new keys before any ufrag is made by them. If it cannot take them, the old ones stay in use.
func TestGuardGetsKeysFirst(t *testing.T) {
	r := newRegistry(t)
	g := &fakeGuard{fails: errors.New("no")}
	r.ufrags.guard = g
	first := r.ufrags.keys
	r.now += ufragTerm
	r.expire()
	if keys, _ := r.keysTold(0); r.ufrags.keys != first || keys != nil {
		t.Error("keys turned that the guard does not have")
	}
	g.fails = nil
	r.now += ufragTerm
	r.expire()
	if keys, _ := r.keysTold(0); r.ufrags.keys == first || g.keys != r.ufrags.keys || keys != r.ufrags.keys {
		t.Errorf("the guard has keys %p, the worker %p, want %p", g.keys, keys, r.ufrags.keys)
	}
}
