package worker_test

import (
	"fmt"
	"net/netip"

	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
	"ringcast/engine/srtp"
	"ringcast/engine/stun"
	"ringcast/engine/ufrag"
	"ringcast/engine/worker"
)

// A publisher and a viewer connect to one worker, and a packet of sound travels from one to the other. The example
// plays the driver, the controller and both peers.
func Example() {
	w := worker.New(worker.Config{Workers: 1, Ufrags: ufrags, Rand: func() uint64 { return 1 }})
	now := port.Second // the driver's clock
	tell := func(m bus.Control) { w.HandleControl(now, &m) }

	publisher, viewer := session(1, api.Publisher), session(2, api.Subscriber)
	for _, s := range []*bus.Session{publisher, viewer} {
		tell(bus.SessionOpened(s)) // before the HTTP answer leaves
		w.HandlePacket(now, &port.Inbound{Path: pathOf(s), Data: check(s), Arrival: now})
		poll(w, now)
		tell(bus.SessionOwned(s.ID, 0, pathOf(s))) // the claim is granted
		tell(bus.SessionKeyed(0, s.ID, keys))      // DTLS is done
	}
	tell(bus.PublicationOpened(publisher.Stream, 1, 0, publisher))

	w.HandlePacket(now, &port.Inbound{Path: pathOf(publisher), Data: sound("hello"), Arrival: now})
	poll(w, now)

	for end := now + port.Second; w.Deadline() < end; poll(w, now) {
		now = w.Deadline() // nothing is due before
		w.HandleTimeout(now)
	}

	// Output:
	// Route 0 leads to 198.18.0.1:5000.
	// Session 1 is claimed.
	// Route 0 gets the answer to a check.
	// Route 1 leads to 198.18.0.2:5000.
	// Session 2 is claimed.
	// Route 1 gets the answer to a check.
	// Session 1 is connected.
	// Session 1 sends media.
	// Session 1 has media.
	// Session 1 sends payload type 111.
	// Route 1 gets "hello" from SSRC 9.
	// Route 1 gets a report.
	// Session 1 is heard.
	// Session 1 has paused.
	// Route 1 gets a report.
}

// poll prints all that the worker has to send. A driver would hand it to the port and to the bus.
func poll(w *worker.Worker, now port.Time) {
	out := worker.Outgoing{Control: make([]bus.Control, 0, 16), Media: make([]bus.Media, 0, 16)}
	for range 16 {
		out.Frames = append(out.Frames, port.Frame{Data: make([]byte, 0, port.FrameSize)})
	}
	for more := true; more; out.Routes, out.Control, out.Filled = out.Routes[:0], out.Control[:0], 0 {
		more = w.Poll(now, &out)
		for _, r := range out.Routes {
			fmt.Printf("Route %d leads to %v.\n", r.Route, r.Path.Remote)
		}
		for _, m := range out.Control {
			fmt.Printf("Session %d %s.\n", m.ID, kinds[m.Kind]) // the controller reads this
		}
		for _, f := range out.Frames[:out.Filled] {
			fmt.Printf("Route %d gets %s.\n", f.Route, describe(f.Data))
		}
	}
}

var kinds = map[bus.Kind]string{
	bus.KindSessionClaimed:   "is claimed",
	bus.KindSessionConnected: "is connected",
	bus.KindMediaBegan:       "sends media",
	bus.KindMediaFlows:       "has media",
	bus.KindMediaPaused:      "has paused",
	bus.KindFormatActive:     "sends payload type 111",
	bus.KindSessionHeard:     "is heard",
}

// describe opens a datagram as its peer does.
func describe(data []byte) string {
	peer, _ := srtp.NewOpener(keys)
	switch {
	case data[0] < 4:
		return "the answer to a check"
	case rtp.IsRTCP(data):
		return "a report"
	}
	var h rtp.Header
	packet, _ := peer.OpenRTP(data)
	h.Parse(packet, &rtp.ExtensionMap{})
	return fmt.Sprintf("%q from SSRC %d", packet[h.HeaderLen:], h.SSRC)
}

var (
	ufrags = ufrag.New(func(b []byte) { copy(b, "random bytes") })
	// Here the server's keys are the peers' as well.
	keys = &srtp.Keys{
		Profile:  srtp.AEADAES128GCM,
		LocalKey: make([]byte, 16), LocalSalt: make([]byte, 12),
		RemoteKey: make([]byte, 16), RemoteSalt: make([]byte, 12),
	}
)

// session returns the description of a session that signaling negotiated: one line of sound.
func session(id uint64, role api.Role) *bus.Session {
	opus := rtp.Track{Kind: rtp.Audio, Formats: []rtp.Format{{PayloadType: 111, Codec: rtp.Opus}}}
	if role == api.Publisher {
		opus.Encodings = []rtp.Encoding{{SSRC: 7}}
	} else {
		opus.SSRC = 9
	}
	return &bus.Session{
		ID: api.SessionID(id), Role: role, Stream: 1, Tracks: []rtp.Track{opus},
		Local:       api.Credentials{Ufrag: ufrags.Make(ufrag.ID{Session: id, Role: uint8(role)}), Password: "secret"},
		RemoteUfrag: "peer",
	}
}

// pathOf returns the path between a session's peer and the server.
func pathOf(s *bus.Session) port.Path {
	peer := netip.AddrFrom4([4]byte{198, 18, 0, byte(s.ID)})
	return port.Path{Remote: netip.AddrPortFrom(peer, 5000), Local: netip.MustParseAddr("198.18.1.1")}
}

// check returns a check of the peer, which nominates its path.
func check(s *bus.Session) []byte {
	return stun.NewHasher().AppendRequest(nil, &[12]byte{}, stun.Request{
		Username: s.Local.Ufrag + ":" + s.RemoteUfrag, Password: s.Local.Password, UseCandidate: true,
	})
}

// sound returns a packet of the publisher.
func sound(payload string) []byte {
	sealer, _ := srtp.NewSealer(keys)
	frame := make([]byte, rtp.HeaderLen, port.FrameSize)
	rtp.FixedHeader{PayloadType: 111, Sequence: 100, SSRC: 7}.Put(frame)
	return sealer.SealRTP(frame, rtp.HeaderLen, []byte(payload), 100)
}
