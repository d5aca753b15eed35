package sim

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"

	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/stun"
)

const (
	checkRetry    = 50 * port.Millisecond
	checkInterval = 2500 * port.Millisecond
	// slowChecks are Firefox's, indicationInterval is libnice's.
	slowChecks         = 5 * port.Second
	indicationInterval = 20 * port.Second
)

// habit is how an agent goes on once it is connected.
type habit uint8

const (
	// nominatesAlways is Chromium's: every check nominates.
	nominatesAlways habit = iota
	// nominatesOnce is Firefox's: checks go on, seldom, without a nomination.
	nominatesOnce
	// indicates is libnice's: two checks at the start, then Binding indications only.
	indicates
	// checksNoMore leaves it to media and reports to keep the session.
	checksNoMore
)

// agent is the ICE side of a peer: it checks, nominates, and goes on checking.
type agent struct {
	world  *World
	self   peer
	addr   netip.AddrPort
	spec   *bus.Session
	hasher *stun.Hasher
	rand   *rand.Rand
	// connected is the time of the first answer to a check, 0 before.
	connected port.Time
	habit     habit
	// silent stops the checks.
	silent bool
	// lastCheck is the time of the last check.
	lastCheck port.Time
	// ice are the credentials that checks are made with.
	ice ice
	// probes are the checks that are not answered yet, answers counts the others by our ufrag.
	probes  map[[12]byte]probe
	answers map[string]int
}

// ice is the authentication of a check: the server's credentials and the peer's half of the name.
type ice struct {
	api.Credentials
	remote string
}

type probe struct {
	from netip.AddrPort
	ice  ice
}

func (a *agent) address() netip.AddrPort { return a.addr }

func (a *agent) start(w *World, self peer, spec *bus.Session) {
	a.world, a.self, a.spec, a.hasher = w, self, spec, stun.NewHasher()
	a.ice = ice{spec.Local, spec.RemoteUfrag}
	a.probes, a.answers = make(map[[12]byte]probe), make(map[string]int)
	a.addr = w.join(self)
	a.rand = rand.New(rand.NewPCG(w.cfg.Seed, 1000+uint64(spec.ID)))
	a.check()
}

func (a *agent) check() {
	if a.silent {
		return
	}
	wait := checkInterval
	switch {
	case a.connected == 0:
		a.probe(a.addr, a.ice, true)
		wait = checkRetry
	case a.habit == nominatesAlways:
		a.probe(a.addr, a.ice, true)
	case a.habit == nominatesOnce:
		a.probe(a.addr, a.ice, false)
		wait = slowChecks
	case a.habit == indicates:
		a.indicate()
		wait = indicationInterval
	case a.habit == checksNoMore:
		return
	}
	a.world.at(a.world.clock.Now()+wait, a.check)
}

// indicate sends a Binding indication.
func (a *agent) indicate() {
	b := make([]byte, 20)
	b[1] = 0x11
	binary.BigEndian.PutUint32(b[4:], 0x2112A442)
	binary.BigEndian.PutUint64(b[8:], a.rand.Uint64())
	a.world.upFrom(a.addr, b)
}

// probe sends one check from an address.
func (a *agent) probe(from netip.AddrPort, with ice, nominate bool) {
	var id [12]byte
	binary.BigEndian.PutUint64(id[:], a.rand.Uint64())
	a.probes[id] = probe{from, with}
	a.lastCheck = a.world.clock.Now()
	a.world.upFrom(
		from,
		a.hasher.AppendRequest(nil, &id, stun.Request{
			Username: with.Ufrag + ":" + with.remote, Password: with.Password, Priority: 1, UseCandidate: nominate,
			TieBreaker: 7,
		}),
	)
}

// answered takes in a datagram if it is STUN; first reports the first success.
func (a *agent) answered(data []byte) (is, first bool) {
	if data[0] > 3 {
		return false, false
	}
	id := [12]byte(data[8:20])
	p, asked := a.probes[id]
	r, valid := a.hasher.VerifyResponse(data, p.ice.Password)
	if !asked || !valid || r.Mapped != p.from {
		return true, false
	}
	delete(a.probes, id)
	a.answers[p.ice.Ufrag]++
	if a.connected == 0 {
		a.connected = a.world.clock.Now()
		return true, true
	}
	return true, false
}

// rebind gives the peer another address, which hashes to a worker, and takes the old one from it, as
// a NAT does that forgets. The peer knows nothing of it.
func (a *agent) rebind(worker int) {
	a.world.leave(a.addr)
	a.addr = a.another(worker)
}

// another gives the peer one more address, which hashes to a worker.
func (a *agent) another(worker int) netip.AddrPort {
	place, home := a.world.place, a.world.home
	a.world.place, a.world.home = worker, a.addr.Addr()
	defer func() { a.world.place, a.world.home = place, home }()
	to := a.world.join(a.self)
	a.world.Network.follow(a.world.indexOf(a.addr), a.world.indexOf(to))
	return to
}

// owner is the worker that the controller takes for the session's owner.
func (a *agent) owner() int { return a.world.control.sessions[a.spec.ID].owner }
