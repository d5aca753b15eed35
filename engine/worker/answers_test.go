package worker

import (
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
)

// Between two polls, the worker keeps a bounded number of answers to checks. It drops and counts the rest.
func TestRepliesAreBounded(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.party(api.Subscriber, 1, watched(true)...)
	check := p.check()
	for range maxReplies + 10 {
		l.quietly(p.path, check)
	}
	l.poll()
	if n := len(l.answers(p.path)); n != maxReplies || l.drops(DropReplies) != 10 {
		t.Errorf("%d answers, %d dropped", n, l.drops(DropReplies))
	}
}

// Records of the controller leave whole, in order, by the selected path, even where the session is closed right after
// them.
func TestRecordsAreSent(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.party(api.Subscriber, 1, watched(true)...)
	l.tell(bus.SendRecord(0, p.spec.ID, []byte("too early: no path")))
	l.receive(p.path, p.check())
	l.tell(bus.SessionOwned(p.spec.ID, 0, port.Path{}))
	l.forget()
	first := bus.SendRecord(0, p.spec.ID, []byte{22, 1})
	second := bus.SendRecord(0, p.spec.ID, []byte{22, 2})
	closing := closed(p)
	l.hand(first)
	l.hand(second)
	l.hand(closing)
	l.poll()
	if got := p.sent(); len(got) != 2 || got[0].data[1] != 1 || got[1].data[1] != 2 {
		t.Errorf("%d records left", len(got))
	}
}
