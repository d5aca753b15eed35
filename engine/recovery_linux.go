package engine

import (
	"time"

	"ringcast/engine/host"
	"ringcast/xsk"
	"ringcast/xsk/nexthop"
)

const (
	// downSpan is how long a link may be down before the ports close their sockets. Frames on the rings leave when the
	// link is back, so it must not be longer than frames may be late.
	downSpan = 100 * time.Millisecond
	// settleSpan is how long a link may be down after we bound our sockets. With zerocopy some drivers reset the
	// interface then. Closing the sockets for that would lead to the next reset, without end.
	settleSpan = 3 * time.Second
	// settleZeroCopy is the same where the NIC uses our memory: igb takes more than three seconds to reset.
	settleZeroCopy = 10 * time.Second
	// A recovery that fails is tried again after retryFirst. The pause doubles with each failure, up to retryLast.
	retryFirst = 100 * time.Millisecond
	retryLast  = 5 * time.Second
)

// A recovery watches over an interface. While the interface is down or gone, deaf or stuck, the ports serve through the
// companion. When it is back they get new sockets. A recovery belongs to one goroutine.
//
//	serving ──down for long, gone, deaf, stuck──▶ suspended ──up, and all old sockets are closed──▶ serving
type recovery struct {
	*nic

	up        bool
	suspended bool              // some port still lacks the sockets that it lost in an outage
	distrust  bool              // it was deaf or stuck: it stays suspended until the interface is another
	released  []<-chan struct{} // closed when the ports' old queues are released
	due       <-chan time.Time  // to suspend, or to try to recover again
	pause     time.Duration     // before the next try to recover
	bound     time.Time         // when the present sockets were opened

	vigil vigil
}

// watch follows the interface until stop.
func (n *nic) watch() {
	if n.bundle.Mode == xsk.ZeroCopy {
		n.bundle.Mode = xsk.Auto // from now on a bundle goes down its own ladder
	}
	r := recovery{nic: n, up: true, bound: time.Now(), pause: retryFirst}
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-n.ending:
			return
		case event := <-n.hops.Events():
			r.heed(event)
		case now := <-look.C:
			if r.up && r.serves() {
				r.look(now)
			}
		case <-r.due:
			if r.up {
				r.recover()
			} else {
				r.suspend("the link is down")
			}
		}
	}
}

// heed handles a change of the link.
func (r *recovery) heed(event nexthop.LinkEvent) {
	switch event.Change {
	case nexthop.LinkGone:
		r.up, r.distrust = false, false
		r.suspend("the interface is gone")
	case nexthop.LinkDown:
		r.up = false
		if !r.serves() {
			r.due = nil
			return
		}
		r.due = time.After(r.patience())
	case nexthop.LinkUp:
		r.up, r.due, r.pause = true, nil, retryFirst
		if r.suspended {
			r.recover()
		}
	case nexthop.LinkAddress:
		r.tellAddress()
	case nexthop.LinkBack: // it is of use once it is up
	}
}

// patience is how long the link may be down before the ports are suspended.
func (r *recovery) patience() time.Duration {
	settle := settleSpan
	if *r.rung.Load() == host.ZeroCopy {
		settle = settleZeroCopy
	}
	if time.Since(r.bound) < settle {
		return settle
	}
	return downSpan
}

// look suspends the ports for reasons that no event reports. The number of queues may change while the link stays up,
// or while it is down too shortly to notice.
func (r *recovery) look(now time.Time) {
	if !r.suspended && r.requeued() {
		r.suspend("the interface has other queues than before")
		r.recover()
		return
	}
	if why := r.vigil.look(now, r.signs()); why != "" {
		r.deaf.Add(1)
		r.distrust = true
		r.suspend(why + "; sockets serve until the interface is removed and added again, or the server restarts")
	}
}

// suspend makes all ports close their sockets. Some may have new ones already.
func (r *recovery) suspend(why string) {
	if r.serves() {
		r.log.Warn("AF_XDP suspended, packets go through the kernel", "reason", why)
		r.outages.Add(1)
	}
	for _, p := range r.ports {
		r.released = append(r.released, p.Suspend())
	}
	r.suspended, r.due, r.vigil = true, nil, vigil{}
}

// recover gives the ports sockets again. It waits until the old ones are closed, which clears the same slots of the
// program.
func (r *recovery) recover() {
	if r.distrust {
		return
	}
	for _, done := range r.released {
		select {
		case <-done:
		case <-r.ending:
			return
		}
	}
	r.released = nil
	err := r.resume()
	if err == nil {
		r.log.Info("AF_XDP resumed", "io", *r.rung.Load())
		r.pause = retryFirst
		r.suspended, r.due, r.bound = false, nil, time.Now()
		return
	}
	if r.pause == retryFirst {
		r.log.Warn("AF_XDP cannot resume yet", "error", err)
	}
	r.due = time.After(r.pause)
	r.pause = min(2*r.pause, retryLast)
}

// current is the rung that the interface's packets use now.
func (n *nic) current() host.Rung {
	if !n.serves() {
		return host.Sockets
	}
	return *n.rung.Load()
}

// serves reports whether a port of the interface has sockets. Some may have, while opening failed for others.
func (n *nic) serves() bool { return n.suspended() < len(n.ports) }
