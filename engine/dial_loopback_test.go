package engine_test

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"ringcast/engine"
	"ringcast/engine/api"
	"ringcast/engine/rtp"
	"ringcast/testenv/peer"
)

// These tests have two servers with real sockets: one dials the other. The test stands for the signalling of both.

// dialling starts a server that dials. Each server keeps processors for its own workers only, see keepProcessors, so
// two of them in a process would starve the test.
func dialling(t *testing.T) *engine.Engine {
	before := runtime.GOMAXPROCS(16)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
	return start(t, func(c *engine.Config) { c.Workers, c.Dials = 2, true })
}

// pull makes edge pull a stream of origin. passive is set for an offer of setup:passive: then origin begins the
// handshake.
func pull(t *testing.T, edge, origin *engine.Engine, stream string, passive bool) (edges, origins api.SessionID) {
	t.Helper()
	half := dial(t, edge, api.Publisher, stream)
	offer := offerOf(half)
	offer.Passive = passive
	local, err := origin.Subscribe(t.Context(), stream, offer)
	if err != nil {
		t.Fatal(err)
	}
	answer := answerOf(local)
	answer.Passive = !passive
	answer.Candidates = append([]netip.AddrPort{closedPort(t)}, local.Candidates...)
	for i := range answer.Tracks {
		x := &answer.Tracks[i]
		x.Encodings = []rtp.Encoding{{SSRC: x.SSRC, RTXSSRC: x.RTXSSRC}}
		x.SSRC, x.RTXSSRC = 0, 0
	}
	if err := edge.Answered(t.Context(), half.ID, answer); err != nil {
		t.Fatal(err)
	}
	return half.ID, local.ID
}

func dial(t *testing.T, e *engine.Engine, role api.Role, stream string) api.Local {
	t.Helper()
	video := peer.Video()
	if role == api.Publisher {
		video.Encodings = nil
	}
	half, err := e.Dial(t.Context(), role, stream, api.Dial{Tracks: []rtp.Track{video}, Agent: "another server"})
	if err != nil {
		t.Fatal(err)
	}
	return half
}

func offerOf(half api.Local) api.Offer {
	return api.Offer{ICE: half.ICE, Fingerprints: []api.Fingerprint{half.Fingerprint}, Tracks: half.Tracks}
}

func answerOf(local api.Local) api.Answer {
	return api.Answer{
		ICE: local.ICE, Fingerprints: []api.Fingerprint{local.Fingerprint}, Candidates: local.Candidates,
		Tracks: append([]rtp.Track(nil), local.Tracks...),
	}
}

// payload is that of a marked stream, after the codec's first bytes.
func payload(mark int) []byte { return bytes.Repeat([]byte{byte(0x50 + mark)}, 490) }

// publishMarked publishes a stream of one payload until the test calls stop.
func publishMarked(t *testing.T, e *engine.Engine, stream string, mark int) (stop func()) {
	t.Helper()
	p, err := peer.New(peer.Config{}, loopback)
	if err != nil {
		t.Fatal(err)
	}
	local, err := e.Publish(t.Context(), stream, p.Offer(peer.Video()))
	if err != nil {
		t.Fatal(err)
	}
	connect(t, p, local)
	quit := send(t, p, func(n uint64) []byte {
		b := peer.Packet(n, 500)
		copy(b[rtp.HeaderLen+10:], payload(mark))
		return b
	})
	until(t, "the stream", func() bool { _, ok := e.Stream(stream); return ok })
	return func() { quit(); p.Close() }
}

// watchMarked watches a marked stream. It counts packets with its payload, and those with another.
func watchMarked(t *testing.T, e *engine.Engine, stream string, mark int, got, wrong *atomic.Int64) {
	t.Helper()
	count := func(_ *peer.Peer, packet []byte) {
		switch {
		case bytes.Contains(packet, payload(mark)):
			got.Add(1)
		case len(packet) > 400:
			wrong.Add(1)
		}
	}
	p, err := peer.New(peer.Config{OnRTP: count}, loopback)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	local, err := e.Subscribe(t.Context(), stream, p.Offer(peer.Video()))
	if err != nil {
		t.Fatal(err)
	}
	connect(t, p, local)
}

// socketsOf is how many sockets a server has for dialled sessions.
func socketsOf(t *testing.T, e *engine.Engine) int {
	registry := prometheus.NewRegistry()
	registry.MustRegister(e)
	return int(sum(gather(t, registry)["ringcast_dialled_sockets"]))
}

// closedPort is an address where datagrams are refused.
func closedPort(t *testing.T) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, 0)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// An edge pulls several streams of one origin, whose media all comes from one UDP port, with either DTLS role. The
// first candidate of each answer refuses datagrams. Viewers of the edge get what was published, each the stream that
// it asked for. A pull that is closed ends at the origin, and one that the origin closes ends at the edge. Their
// sockets are closed, and the other pulls go on.
func TestPullsOverLoopback(t *testing.T) {
	origin, edge := start(t, func(c *engine.Config) { c.Workers = 2 }), dialling(t)
	var ended atomic.Int64 // at either server
	note := func(api.SessionID, api.Reason) { ended.Add(1) }
	origin.OnEnded(note)
	edge.OnEnded(note)
	const streams = 4
	var edges, origins [streams]api.SessionID
	var got [streams]atomic.Int64
	var wrong atomic.Int64
	for i := range streams {
		name := fmt.Sprint("stream", i)
		defer publishMarked(t, origin, name, i)()
		edges[i], origins[i] = pull(t, edge, origin, name, i%2 == 1)
		watchMarked(t, edge, name, i, &got[i], &wrong)
	}
	for i := range streams {
		until(t, fmt.Sprintf("media of stream %d at the edge", i), func() bool { return got[i].Load() > 100 })
	}
	if n := wrong.Load(); n != 0 {
		t.Errorf("%d packets were of another stream", n)
	}
	if n := socketsOf(t, edge); n != streams {
		t.Errorf("%d sockets for %d pulls", n, streams)
	}
	edge.Close(edges[0])
	origin.Close(origins[1])
	until(t, "both ends of two pulls", func() bool { return ended.Load() >= 4 })
	until(t, "their sockets to close", func() bool { return socketsOf(t, edge) == streams-2 })
	before := got[2].Load()
	until(t, "media of another stream", func() bool { return got[2].Load() > before+50 })
	shutdown(t, edge)
	shutdown(t, origin)
}

// A server pushes a stream to another, where it is published.
func TestPushOverLoopback(t *testing.T) {
	source, sink := dialling(t), start(t)
	defer publishMarked(t, source, "here", 7)()
	half := dial(t, source, api.Subscriber, "here")
	offer := offerOf(half)
	offer.Tracks = append([]rtp.Track(nil), half.Tracks...)
	for i := range offer.Tracks {
		x := &offer.Tracks[i]
		x.Encodings = []rtp.Encoding{{SSRC: x.SSRC, RTXSSRC: x.RTXSSRC}}
		x.SSRC, x.RTXSSRC = 0, 0
	}
	local, err := sink.Publish(t.Context(), "there", offer)
	if err != nil {
		t.Fatal(err)
	}
	answer := answerOf(local)
	answer.Passive, answer.Tracks = true, half.Tracks
	if err := source.Answered(t.Context(), half.ID, answer); err != nil {
		t.Fatal(err)
	}
	until(t, "the stream to be published", func() bool { return len(sink.Streams()) == 1 })
	var got, wrong atomic.Int64
	watchMarked(t, sink, "there", 7, &got, &wrong)
	until(t, "media of the push", func() bool { return got.Load() > 100 })
	if n := wrong.Load(); n != 0 {
		t.Errorf("%d packets had another payload", n)
	}
	shutdown(t, source)
	shutdown(t, sink)
}
