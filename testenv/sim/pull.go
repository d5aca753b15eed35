package sim

import (
	"net/netip"

	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
	"ringcast/engine/srtp"
)

// serverPort is the UDP port of all servers. A datagram to any other is lost.
const serverPort = 3478

// A Pull is a session by which one server gets a stream of another, and its socket. To the other server it is a
// subscriber. Signalling takes no time, and neither do handshakes: both sides have their keys once they have a path.
type Pull struct {
	socket
	// Upstream is the subscriber's session at the other server, ID the publisher's at this one.
	Upstream, ID api.SessionID
}

// A socket is the one of a session that dials. Its datagrams take the ways of a peer of the upstream's network.
type socket struct {
	from, to *World
	name     netip.Addr
	addr     netip.AddrPort // as the upstream sees it
	// lose, if set, reports which datagrams of the upstream do not arrive.
	lose func(data []byte) bool
	// seen keeps the last datagrams that arrived.
	seen [][]byte
}

func (s *socket) address() netip.AddrPort { return s.addr }

// receive takes in a datagram of the upstream.
func (s *socket) receive(data []byte) {
	if s.lose != nil && s.lose(data) {
		return
	}
	if len(s.seen) == 1000 {
		s.seen = s.seen[1:]
	}
	s.seen = append(s.seen, data)
	s.inject(netip.AddrPortFrom(s.to.server, serverPort), data)
}

// inject gives the dialling worker a datagram from an address.
func (s *socket) inject(from netip.AddrPort, data []byte) {
	x, now := s.from.workers[s.from.cfg.Workers], s.from.clock.Now()
	x.packets = append(x.packets, port.Inbound{
		Path: port.Path{Remote: from, Local: s.name}, Data: append([]byte(nil), data...), Arrival: now,
	})
	s.from.schedule(x, now)
}

// Rebind gives the socket another address, and takes the old one from it, as a NAT does that forgets.
func (s *socket) Rebind() {
	s.to.leave(s.addr)
	old := s.to.indexOf(s.addr)
	s.addr = s.to.join(s)
	s.to.Network.follow(old, s.to.indexOf(s.addr))
}

// Cut loses all that is sent between the two servers in this session, or mends that.
func (s *socket) Cut(off bool) { s.to.cut(s.addr, off) }

// across carries a datagram of a session that dials. It reaches only the server that the session was opened with.
func (w *World) across(p port.Path, data []byte) {
	s := w.control.sockets[p.Local]
	if s != nil && p.Remote == netip.AddrPortFrom(s.to.server, serverPort) {
		s.to.upFrom(s.addr, append([]byte(nil), data...))
	}
}

// Pull makes this server get a stream of another. The candidates come before the other server's own: those that never
// answer. Faults, if any, are those of the way between the two.
func (w *World) Pull(from *World, stream bus.StreamID, faults *Faults, candidates ...netip.AddrPort) *Pull {
	video, audio := videoTrack(true, false, rtp.VP8), audioTrack()
	video.SSRC, video.RTXSSRC, audio.SSRC = 0x5001, 0x5002, 0x6001
	up := from.control.register(api.Subscriber, stream, []rtp.Track{audio, video})
	video.Encodings = []rtp.Encoding{{SSRC: video.SSRC, RTXSSRC: video.RTXSSRC}}
	audio.Encodings = []rtp.Encoding{{SSRC: audio.SSRC}}
	s := w.control.register(api.Publisher, stream, []rtp.Track{audio, video})
	return w.pull(from, up, s, faults, candidates)
}

// PullLayers makes this server get all layers of a stream of another. tracks are those of the publisher.
func (w *World) PullLayers(from *World, stream bus.StreamID, tracks []rtp.Track, faults *Faults) *Pull {
	var lines, pulled []rtp.Track
	ssrc := uint32(0x7000)
	for _, t := range tracks {
		for _, e := range []rtp.Extension{rtp.MID, rtp.RID, rtp.RepairedRID, rtp.TransportSequence} {
			t.Extensions[e] = 0
		}
		whole := t
		whole.Encodings = nil
		for _, e := range t.Encodings {
			ssrc += 2
			t.SSRC, t.RTXSSRC = ssrc, 0
			if t.Formats[0].RTX != 0 {
				t.RTXSSRC = ssrc + 1
			}
			t.Encodings = []rtp.Encoding{{RID: e.RID, SSRC: t.SSRC, RTXSSRC: t.RTXSSRC}}
			lines, whole.Encodings = append(lines, t), append(whole.Encodings, t.Encodings[0])
		}
		pulled = append(pulled, whole)
	}
	up := from.control.register(api.Subscriber, stream, lines)
	up.spec.Relay = true
	return w.pull(from, up, w.control.register(api.Publisher, stream, pulled), faults, nil)
}

// pull connects both sessions of a pull.
func (w *World) pull(from *World, up, s *controlled, faults *Faults, candidates []netip.AddrPort) *Pull {
	up.spec.RemoteUfrag, s.spec.RemoteUfrag = s.spec.Local.Ufrag, up.spec.Local.Ufrag
	s.keys = from.control.announce(up, srtp.AEADAES128GCM)
	p := &Pull{
		socket:   socket{from: w, to: from, name: port.Socket(uint64(s.spec.ID))},
		Upstream: up.spec.ID, ID: s.spec.ID,
	}
	p.addr = from.join(&p.socket)
	if faults != nil {
		from.Network.own[from.indexOf(p.addr)] = faults
	}
	s.spec.Dial = &bus.Dial{Password: up.spec.Local.Password, TieBreaker: w.rand.Uint64()}
	for _, c := range append(candidates, netip.AddrPortFrom(from.server, serverPort)) {
		s.spec.Dial.Paths = append(s.spec.Dial.Paths, port.Path{Remote: c, Local: p.name})
	}
	w.control.answered(s, &p.socket)
	return p
}

// answered announces a session that dials to its worker, and its publication to all.
func (c *controller) answered(s *controlled, x *socket) {
	if c.sockets == nil {
		c.sockets = make(map[netip.Addr]*socket)
	}
	c.sockets[x.name] = x
	s.owner = c.world.cfg.Workers
	c.world.tell(bus.Address(s.owner), bus.SessionOpened(s.spec))
	if c.live[s.spec.Stream] == nil {
		c.goLive(s)
	}
}

// Ended reports whether and why the session ended at the server that pulls, and when.
func (p *Pull) Ended() (why api.Reason, at port.Time, ok bool) {
	why, ok = p.from.control.ended[p.ID]
	return why, p.from.control.endedAt[p.ID], ok
}

// End ends the session at both servers.
func (p *Pull) End() {
	p.from.control.close(p.ID, api.ReasonClosed)
	p.to.control.close(p.Upstream, api.ReasonBye)
}
