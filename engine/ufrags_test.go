package engine

import (
	"testing"

	"ringcast/engine/bus"
	"ringcast/engine/ufrag"
)

// keysTold are the keys that a worker was told last, nil for none, and how many messages told of sessions after them.
func (r *registry) keysTold(worker int) (keys *ufrag.Keys, after int) {
	e := r.ends[worker]
	for m := e.NextControl(); m != nil; m = e.NextControl() {
		switch m.Kind {
		case bus.UfragKeysTurned:
			keys, after = m.UfragKeys, 0
		case bus.SessionOpened, bus.SessionRestarted:
			after++
		}
		e.Done()
	}
	return keys, after
}

// judge checks a ufrag, and what it says of its session.
func (r *registry) judge(when string, keys *ufrag.Keys, l Local, restart uint16, want ufrag.Verdict) {
	r.t.Helper()
	id, v := keys.Check([]byte(l.ICE.Ufrag))
	if wanted := (ufrag.ID{Session: uint64(l.ID), Restart: restart, Role: uint8(bus.Publisher)}); id != wanted || v != want {
		r.t.Errorf("%s: %+v, verdict %d; want %+v, %d", when, id, v, wanted, want)
	}
}

// Sessions and their restarts get ufrags by the present key. Keys turn each hour, all workers are told before a ufrag
// is made by the new one, and the old one stays valid for the next hour: no pending session is lost.
func TestUfragKeysTurn(t *testing.T) {
	r := newRegistry(t, Config{})
	first := r.ufrags
	l, err := r.open(bus.Publisher, "stream", from("198.18.0.1"))
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
	if r.ufrags == first {
		t.Fatal("no keys turned after an hour")
	}
	restarted, err := r.restart(l.ID, bus.Credentials{Ufrag: "new", Password: "the new password of the peer"})
	if err != nil {
		t.Fatal(err)
	}
	for w := range r.ends {
		keys, after := r.keysTold(w)
		if keys != r.ufrags || after != 1 {
			t.Errorf("worker %d: keys %p, then %d sessions; want %p, 1", w, keys, after, r.ufrags)
		}
	}
	r.judge("the first ufrag after an hour", r.ufrags, l, 0, ufrag.Genuine)
	r.judge("the restart's", r.ufrags, restarted, 1, ufrag.Genuine)
	r.judge("the restart's by the keys before", first, restarted, 1, ufrag.Expired)
	again, err := r.restart(l.ID, bus.Credentials{Ufrag: "newer", Password: "the newer password of the peer"})
	if err != nil {
		t.Fatal(err)
	}
	r.judge("the second restart's", r.ufrags, again, 2, ufrag.Genuine)
	if len(again.ICE.Password) != 24 || again.ICE.Password == restarted.ICE.Password {
		t.Errorf("password %q after %q, want 24 other letters", again.ICE.Password, restarted.ICE.Password)
	}
	r.now += ufragTerm
	r.expire()
	r.judge("the first ufrag after two hours", r.ufrags, l, 0, ufrag.Expired)
	r.judge("the restart's after an hour", r.ufrags, restarted, 1, ufrag.Genuine)
}
