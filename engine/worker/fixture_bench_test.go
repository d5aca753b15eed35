package worker

import (
	"net/netip"
	"testing"

	"ringcast/engine/adapt"
	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
	"ringcast/engine/srtp"
	"ringcast/engine/stun"
)

// A stage is one worker with a publisher of video and a number of subscribers, all connected. The publisher's packets
// are sealed in advance, so that only the data plane is measured.
type stage struct {
	w       *Worker
	now     port.Time
	out     Outgoing
	pubPath port.Path
	sealer  srtp.Sealer // the publisher's
	seq     uint64
	next    uint16
	ssrc    uint32         // of the next packet
	subs    []*srtp.Opener // the subscribers'
	checks  [][]byte       // a check of each subscriber
	paths   []port.Path
	scratch []byte
}

const (
	stageType    = 96
	stageRTX     = 97
	stageSSRC    = 0x11111111
	stageTWCC    = 3
	stageMID     = 4
	stagePayload = 1150 // bytes, so that a datagram is about 1,200
)

func stageTrack() rtp.Track {
	t := rtp.Track{Kind: rtp.Video, MID: "0", Formats: []rtp.Format{{
		PayloadType: stageType, RTX: stageRTX, Codec: rtp.VP8, Feedback: rtp.NACK | rtp.PLI | rtp.TransportCC,
	}}}
	t.Extensions[rtp.MID], t.Extensions[rtp.TransportSequence] = stageMID, stageTWCC
	return t
}

func stageKeys(n byte) (server, peer *srtp.Keys) {
	fill := func(size int, b byte) []byte {
		k := make([]byte, size)
		for i := range k {
			k[i] = b + byte(i)
		}
		return k
	}
	server = &srtp.Keys{
		Profile:  srtp.AEADAES128GCM,
		LocalKey: fill(16, n), LocalSalt: fill(12, n+1), RemoteKey: fill(16, n+2), RemoteSalt: fill(12, n+3),
	}
	peer = &srtp.Keys{
		Profile:  server.Profile,
		LocalKey: server.RemoteKey, LocalSalt: server.RemoteSalt, RemoteKey: server.LocalKey,
		RemoteSalt: server.LocalSalt,
	}
	return server, peer
}

func newStage(tb testing.TB, subscribers int) *stage {
	tb.Helper()
	return newLayeredStage(tb, subscribers, stageSSRC)
}

// newLayeredStage makes a stage whose publisher has a layer for each SSRC.
func newLayeredStage(tb testing.TB, subscribers int, ssrcs ...uint32) *stage {
	tb.Helper()
	n := uint64(1)
	s := &stage{
		now: port.Second, scratch: make([]byte, port.FrameSize), ssrc: ssrcs[0],
		w: New(Config{
			Workers: 1, Ufrags: labUfrags, Adapt: true, StartRate: adapt.StartRate,
			Rand: func() uint64 { n = n*6364136223846793005 + 1442695040888963407; return n >> 16 },
		}),
	}
	s.out.Control, s.out.Media = make([]bus.Control, 0, 256), make([]bus.Media, 0, 256)
	s.out.Frames = make([]port.Frame, 256)
	for i := range s.out.Frames {
		s.out.Frames[i].Data = make([]byte, 0, port.FrameSize)
	}
	track := stageTrack()
	for _, ssrc := range ssrcs {
		track.Encodings = append(track.Encodings, rtp.Encoding{SSRC: ssrc})
	}
	path, _, keys := s.open(1, api.Publisher, track)
	s.pubPath = path
	var err error
	if s.sealer, err = srtp.NewSealer(keys); err != nil {
		tb.Fatal(err)
	}
	for i := range subscribers {
		track := stageTrack()
		track.SSRC, track.RTXSSRC = uint32(0x20000000+2*i), uint32(0x20000001+2*i)
		path, check, keys := s.open(2+i, api.Subscriber, track)
		s.paths, s.checks = append(s.paths, path), append(s.checks, check)
		o, err := srtp.NewOpener(keys)
		if err != nil {
			tb.Fatal(err)
		}
		s.subs = append(s.subs, o)
	}
	s.publish(s.packet(true)) // a keyframe, so that all of them have begun
	s.drain()
	return s
}

// open connects a peer and returns its path, a check of it, and its keys.
func (s *stage) open(id int, role api.Role, track rtp.Track) (port.Path, []byte, *srtp.Keys) {
	spec := &bus.Session{
		ID: api.SessionID(id), Role: role, Stream: 1, Tracks: []rtp.Track{track}, CNAME: "cname",
		Local: api.Credentials{
			Ufrag: nameOf(api.SessionID(id), role, 0), Password: "a password of this session",
		},
		RemoteUfrag: "peer",
	}
	server, peer := stageKeys(byte(id))
	remote := netip.AddrFrom4([4]byte{198, 18, byte(id >> 14), byte(id >> 6)})
	p := port.Path{
		Remote: netip.AddrPortFrom(remote, uint16(1024+id&63)),
		Local:  netip.AddrFrom4([4]byte{198, 18, 255, 1}),
	}
	var tx [12]byte
	check := stun.NewHasher().AppendRequest(nil, &tx, stun.Request{
		Username: spec.Local.Ufrag + ":peer", Password: spec.Local.Password, Priority: 1, UseCandidate: true,
		TieBreaker: 1,
	})
	tell := func(m bus.Control) { s.w.HandleControl(s.now, &m) }
	tell(bus.SessionOpened(spec))
	s.w.HandlePacket(s.now, &port.Inbound{Path: p, Data: check, Arrival: s.now})
	tell(bus.SessionOwned(spec.ID, 0, port.Path{}))
	tell(bus.SessionKeyed(0, spec.ID, server))
	if role == api.Publisher {
		tell(bus.PublicationOpened(1, 1, 0, spec))
	}
	s.drain()
	return p, check, peer
}

// packet seals the publisher's next packet.
func (s *stage) packet(key bool) []byte {
	b := make([]byte, rtp.HeaderLen+4+4, port.FrameSize)
	rtp.FixedHeader{
		Marker: true, Extension: true, PayloadType: stageType, Sequence: uint16(s.seq), Timestamp: uint32(s.seq) * 3000,
		SSRC: s.ssrc,
	}.Put(b)
	copy(b[rtp.HeaderLen:], []byte{0xBE, 0xDE, 0, 1, stageTWCC<<4 | 1, byte(s.next >> 8), byte(s.next), 0})
	payload := make([]byte, stagePayload)
	payload[0], payload[1] = 0x10, 1
	if key {
		payload[1] = 0
	}
	out := s.sealer.SealRTP(b, len(b), payload, s.seq)
	s.seq++
	s.next++
	return out
}

// packets seals a number of them.
func (s *stage) packets(n int) [][]byte {
	all := make([][]byte, n)
	for i := range all {
		all[i] = s.packet(i%300 == 0)
	}
	return all
}

// publish hands a copy of a packet to the worker.
func (s *stage) publish(data []byte) {
	s.now += port.Millisecond
	in := port.Inbound{Path: s.pubPath, Data: s.scratch[:copy(s.scratch, data)], Arrival: s.now}
	s.w.HandlePacket(s.now, &in)
}

// drain polls until there is no more, and returns how many frames came.
func (s *stage) drain() (frames int) {
	for more := true; more; {
		more = s.w.Poll(s.now, &s.out)
		frames += s.out.Filled
		s.out.Filled = 0
		s.out.Routes = s.out.Routes[:0]
		clear(s.out.Control)
		clear(s.out.Media)
		s.out.Control, s.out.Media = s.out.Control[:0], s.out.Media[:0]
	}
	return frames
}

// feedback seals RTCP of a subscriber: a receiver report and a NACK.
func (s *stage) feedback(sub int, seq uint16) []byte {
	b := rtcp.AppendReceiverReport(make([]byte, 0, 256), 1, []rtcp.ReportBlock{{SSRC: uint32(0x20000000 + 2*sub)}})
	b = rtcp.AppendNACK(b, 1, uint32(0x20000000+2*sub), []uint16{seq})
	return s.subs[sub].SealRTCP(b)
}

// subscriber returns the worker's state of a subscriber.
func (s *stage) subscriber(sub int) *subscriber { return s.w.sessions[api.SessionID(2+sub)].sub }

// sequence returns the sequence number that a subscriber was sent last.
func (s *stage) sequence(sub int) uint16 {
	return uint16(s.subscriber(sub).tracks[0].highest)
}
