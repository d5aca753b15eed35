package e2e

import (
	"encoding/binary"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ringcast/testenv"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/nack"
	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/webrtc/v4"
)

const (
	// wholeWithin is the longest pause after which every frame must still arrive. A busy machine makes longer ones, and
	// after a second the server rightly skips to the live edge.
	wholeWithin = 500 * time.Millisecond
	// restarts is how many there are, the one included that is abandoned.
	restarts = 6
	// betweenRestarts gives the retransmissions after one their time before the next.
	betweenRestarts = 700 * time.Millisecond
)

// A viewer and a publisher restart ICE by PATCH, several times, on the socket they have and on new
// ones. Viewers go on in the same sequence and get every frame.
func TestICERestart(t *testing.T) {
	for _, c := range []struct {
		name   string
		engine func(*testing.T, *url.URL) webrtc.SettingEngine
		codecs func(*testing.T, *webrtc.MediaEngine, *interceptor.Registry)
		moves  bool // to another socket, at each restart
	}{
		{"same socket", muxedEngine, forgivingCodecs, false},
		{"new socket", loopbackEngine, forgivingCodecs, true},
		{"new socket, without RTX", loopbackEngine, forgivingFewCodecs, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := testenv.StartServer(t, testenv.ServerOptions{Workers: 2})
			session := func(path string) *pionSession {
				u, err := url.Parse(s.URL + path)
				must(t, err)
				return newTunedSession(t, u.String(), c.engine(t, u), &habit{codecs: c.codecs})
			}
			pub := newPionPublisherOn(t, session("/whip/restart"))
			pubICE := &restarting{pionSession: pub.pionSession, moves: c.moves}
			pubICE.last = pub.connectAs(t, &habit{})
			pub.start(t)
			view := newTimedViewer(t, session("/whep/restart"))
			viewICE := &restarting{pionSession: view.pionSession, moves: c.moves}
			viewICE.last = view.connectAs(t, &habit{})
			bystander := newTimedViewer(t, session("/whep/restart"))
			bystander.connectAs(t, &habit{})
			let(t, betweenRestarts)
			handshakes := s.Metrics(t).Sum("ringcast_dtls_handshakes_total")

			// pion stops sending and receiving as soon as it makes the new offer, so some pause is its own.
			worst, away := time.Duration(0), time.Duration(0)
			pause := func(began time.Time) (gap, others time.Duration) {
				view.flows(t)
				bystander.flows(t)
				let(t, betweenRestarts)
				gap, others = view.gap(began), bystander.gap(began)
				worst, away = max(worst, gap, others), away+max(gap, others)
				return gap, others
			}
			for _, who := range []struct {
				name string
				*restarting
			}{{"viewer", viewICE}, {"publisher", pubICE}, {"viewer", viewICE}, {"publisher", pubICE}} {
				began := time.Now()
				took := who.restart(t)
				gap, others := pause(began)
				t.Logf("%s: connected again after %v; no packet for %v at the viewer, %v at another",
					who.name, took.Round(time.Millisecond), gap.Round(time.Millisecond), others.Round(time.Millisecond))
			}

			// A restart that nobody completes leaves the old ICE session in force.
			began := time.Now()
			viewICE.abandon(t)
			gap, _ := pause(began)
			t.Logf("abandoned: no packet for %v", gap.Round(time.Millisecond))
			began = time.Now()
			viewICE.restart(t)
			pause(began)

			lastFrame, lastSound := pub.finish(habitFrames)
			for name, v := range map[string]*timedViewer{"the viewer": view, "another": bystander} {
				checkPauses(t, name, v, lastFrame, lastSound, pauses{worst, away})
			}
			checkNoHandshakes(t, s, handshakes)
			view.bye(t)
			pub.bye(t)
		})
	}
}

// pauses are those that restarts made: the longest, and all together.
type pauses struct{ worst, away time.Duration }

// checkPauses checks that a viewer lost no video, unless a pause was long, and no more audio than the pauses explain.
func checkPauses(t *testing.T, name string, v *timedViewer, lastFrame, lastSound uint32, p pauses) {
	t.Helper()
	if p.worst <= wholeWithin {
		v.video.wait(t, func(p []*rtp.Packet) error { return naming(name, checkVideo(p, lastFrame)) })
	} else {
		v.awaitFrame(t, lastFrame)
		t.Logf("%s: lost frames are excused by a pause of %v", name, p.worst)
	}
	got, missing := heard(t, v.audio.all(), lastSound)
	video := distinct(v.video.all())
	t.Logf("%s: %d video packets, of which %d came again; %d audio packets, %d lost",
		name, video, v.video.len()-video, got, missing)
	// Nothing asks for lost audio, so what was sent in the pauses is gone.
	if most := restarts + int(2*p.away/pionAudioTime); missing > most {
		t.Errorf("%s: %d audio packets are lost, want at most %d after pauses of %v", name, missing, most, p.away)
	}
}

// checkNoHandshakes checks that all went on with the keys of the first handshakes.
func checkNoHandshakes(t *testing.T, s *testenv.Server, before float64) {
	t.Helper()
	m := s.Metrics(t)
	t.Logf("%g packets were asked for, %g sent again, %g refused for the budget",
		m["ringcast_received_nacks_total"], m["ringcast_sent_rtx_packets_total"],
		m[`ringcast_packets_dropped_total{reason="resend_budget"}`])
	if now := m.Sum("ringcast_dtls_handshakes_total"); now != before || before == 0 {
		t.Errorf("%g DTLS handshakes, %g before the restarts", now, before)
	}
}

// muxedEngine keeps one socket on the server's address.
func muxedEngine(t *testing.T, u *url.URL) (e webrtc.SettingEngine) {
	t.Helper()
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(u.Hostname())})
	must(t, err)
	mux := webrtc.NewICEUDPMux(nil, socket)
	t.Cleanup(func() { mux.Close(); socket.Close() })
	e.SetICEUDPMux(mux)
	e.SetIncludeLoopbackCandidate(true)
	e.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	return e
}

// loopbackEngine opens a socket whenever it gathers, on the server's address only.
func loopbackEngine(_ *testing.T, u *url.URL) (e webrtc.SettingEngine) {
	e.SetIncludeLoopbackCandidate(true)
	e.SetIPFilter(func(ip net.IP) bool { return ip.String() == u.Hostname() })
	e.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	e.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	return e
}

// forgivingCodecs are pion's defaults, and writing goes on without a path. pion does not notice packets that come by
// RTX: it sends NACKs for them ten times a second. That uses up the server's budget for resends, and packets that are
// really missing never come. So it may ask twice only.
func forgivingCodecs(t *testing.T, m *webrtc.MediaEngine, r *interceptor.Registry) {
	must(t, m.RegisterDefaultCodecs())
	r.Add(forgiving{})
	must(t, webrtc.RegisterDefaultInterceptorsWithOptions(m, r,
		webrtc.WithNackGeneratorOptions(nack.GeneratorMaxNacksPerPacket(2))))
}

// forgivingFewCodecs leave RTX out; then pion sees what is resent, and asks as often as it needs to.
func forgivingFewCodecs(t *testing.T, m *webrtc.MediaEngine, r *interceptor.Registry) {
	r.Add(forgiving{})
	fewCodecs(t, m, r)
}

// forgiving hides that a packet could not be sent, as it is while pion restarts ICE: the packet is lost
// like any other.
type forgiving struct{ interceptor.NoOp }

// NewInterceptor implements interceptor.Factory.
func (f forgiving) NewInterceptor(string) (interceptor.Interceptor, error) { return &f, nil }

// BindLocalStream implements interceptor.Interceptor.
func (f *forgiving) BindLocalStream(_ *interceptor.StreamInfo, next interceptor.RTPWriter) interceptor.RTPWriter {
	return interceptor.RTPWriterFunc(func(h *rtp.Header, payload []byte, a interceptor.Attributes) (int, error) {
		_, _ = next.Write(h, payload, a)
		return h.MarshalSize() + len(payload), nil
	})
}

// restarting is a session that restarts ICE.
type restarting struct {
	*pionSession
	moves bool
	// last is the POST, with the changes of later restarts.
	last *exchange
}

// restart makes pion's new ICE session and waits until it is in use.
func (s *restarting) restart(t *testing.T) (took time.Duration) {
	t.Helper()
	before := s.pair(t)
	if before == nil {
		t.Fatal("a restart without a session")
	}
	began := time.Now()
	offer, err := s.pc.CreateOffer(&webrtc.OfferOptions{ICERestart: true})
	must(t, err)
	must(t, s.pc.SetLocalDescription(offer))
	s.last.offer = describe(offer.SDP)
	ufrag, _ := s.last.offer.value(1, "a=ice-ufrag:")
	password, _ := s.last.offer.value(1, "a=ice-pwd:")
	s.ask(t, ufrag, password)
	must(t,
		s.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: s.last.answer.String()}))

	giveUp := time.Now().Add(patience)
	var now *webrtc.ICECandidatePair
	for ; now == nil || s.pc.ICEConnectionState() != webrtc.ICEConnectionStateConnected; now = s.pair(t) {
		if time.Now().After(giveUp) {
			t.Fatalf("not connected again: ICE %v, %v\noffer\n%s\nanswer\n%s",
				s.pc.ICEConnectionState(), s.pc.ConnectionState(),
				transportLines(offer.SDP), transportLines(s.last.answer.String()))
		}
		let(t, time.Millisecond)
	}
	took = time.Since(began)
	if moved := now.Local.Port != before.Local.Port; moved != s.moves {
		t.Errorf("pion's port was %d and is %d", before.Local.Port, now.Local.Port)
	}
	// Trickling belongs to the new ICE session now.
	trickle(t, s.pionSession, s.last, s.last.etag)
	return took
}

func (s *restarting) pair(t *testing.T) *webrtc.ICECandidatePair {
	t.Helper()
	pair, err := s.pc.SCTP().Transport().ICETransport().GetSelectedCandidatePair()
	if err != nil {
		return nil // while pion has none
	}
	return pair
}

// abandon asks for an ICE session that will never be used. pion goes on with the one it has.
func (s *restarting) abandon(t *testing.T) {
	t.Helper()
	s.ask(t, "abandoned", "thisPasswordIsNeverUsed")
}

// ask restarts ICE on the server and notes what it answers, as far as that is right.
func (s *restarting) ask(t *testing.T, ufrag, password string) {
	t.Helper()
	x := s.last
	resp, body := s.patch(t, x.etag, "a=ice-options:trickle", "a=group:BUNDLE 0 1",
		"m=audio 9 UDP/TLS/RTP/SAVPF 111", "a=mid:0", "a=ice-ufrag:"+ufrag, "a=ice-pwd:"+password)
	kind, etag := resp.Header.Get("Content-Type"), resp.Header.Get("ETag")
	if resp.StatusCode != http.StatusOK || kind != "application/trickle-ice-sdpfrag" {
		t.Fatalf("PATCH: %s, %s\n%s", resp.Status, kind, body)
	}
	if etag == x.etag || len(etag) < 3 || etag[0] != '"' {
		t.Errorf("the ETag was %s and is %s; want a new strong one", x.etag, etag)
	}

	fragment, answer := describe(body), describe(x.answer.String())
	for _, prefix := range []string{"a=ice-ufrag:", "a=ice-pwd:"} {
		before, _ := answer.value(1, prefix)
		now, ok := fragment.value(0, prefix)
		if !ok {
			now, ok = fragment.value(1, prefix)
		}
		if !ok || now == before {
			t.Fatalf("%s%s after %s%s:\n%s", prefix, now, prefix, before, body)
		}
		answer.edit(func(_ int, line string) string {
			if strings.HasPrefix(line, prefix) {
				return prefix + now
			}
			return line
		})
	}
	for _, same := range []string{"a=ice-lite", "a=ice-options:", "a=candidate:"} {
		if before, now := linesOf(answer, same), linesOf(fragment, same); before == "" || before != now {
			t.Errorf("the answer had %q, the fragment has %q", before, now)
		}
	}
	old := x.etag
	x.answer, x.etag = answer, etag
	if resp, body := s.patch(t, old, "a=ice-ufrag:"+ufrag, "a=ice-pwd:"+password, "m=audio 9 UDP/TLS/RTP/SAVPF 0",
		"a=mid:0"); resp.StatusCode != http.StatusPreconditionFailed {
		t.Errorf("PATCH with the ETag of before: %s, want 412\n%s", resp.Status, body)
	}
}

func linesOf(d *description, prefix string) string {
	var lines []string
	for _, part := range d.parts {
		for _, line := range part {
			if strings.HasPrefix(line, prefix) {
				lines = append(lines, line)
			}
		}
	}
	return strings.Join(lines, "\n")
}

// A timedViewer notes when video came.
type timedViewer struct {
	*pionViewer
	mu    sync.Mutex
	times []time.Time
}

func newTimedViewer(t *testing.T, s *pionSession) *timedViewer {
	t.Helper()
	v := &timedViewer{pionViewer: newPionViewerOn(t, s)}
	v.pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		for {
			packet, _, err := track.ReadRTP()
			if err != nil {
				return
			}
			if track.Kind() == webrtc.RTPCodecTypeAudio {
				v.audio.add(packet)
				continue
			}
			v.mu.Lock()
			v.times = append(v.times, time.Now())
			v.mu.Unlock()
			v.video.add(packet)
		}
	})
	return v
}

// flows waits for video that comes from now on.
func (v *timedViewer) flows(t *testing.T) {
	t.Helper()
	n := v.video.len() + 5
	for giveUp := time.Now().Add(patience); v.video.len() < n; let(t, time.Millisecond) {
		if time.Now().After(giveUp) {
			t.Fatalf("no video within %v", patience)
		}
	}
}

// gap is the longest time without video since then, until now.
func (v *timedViewer) gap(since time.Time) (longest time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	last := since
	for _, at := range append(v.times[:len(v.times):len(v.times)], time.Now()) {
		if at.After(since) {
			longest = max(longest, at.Sub(last))
			last = at
		}
	}
	return longest
}

// awaitFrame waits until a frame has begun.
func (v *timedViewer) awaitFrame(t *testing.T, n uint32) {
	t.Helper()
	begins := func(p *rtp.Packet) bool {
		var d codecs.VP8Packet
		chunk, err := d.Unmarshal(p.Payload)
		return err == nil && d.S == 1 && d.PID == 0 && len(chunk) >= 14 && binary.BigEndian.Uint32(chunk[10:]) == n
	}
	for giveUp := time.Now().Add(patience); !slices.ContainsFunc(v.video.all(), begins); let(t, 20*time.Millisecond) {
		if time.Now().After(giveUp) {
			t.Errorf("frame %d did not come", n)
			return
		}
	}
}

// distinct counts the different packets.
func distinct(packets []*rtp.Packet) int {
	numbers := make(map[uint16]bool)
	for _, p := range packets {
		numbers[p.SequenceNumber] = true
	}
	return len(numbers)
}

// heard counts the different audio packets, and those missing between the first and the last sent.
func heard(t *testing.T, packets []*rtp.Packet, last uint32) (got, missing int) {
	t.Helper()
	if len(packets) == 0 {
		t.Error("no audio at all")
		return 0, 0
	}
	numbers := make(map[uint32]bool)
	first := last
	for _, p := range packets {
		n := binary.BigEndian.Uint32(p.Payload[3:])
		numbers[n] = true
		first = min(first, n)
	}
	return len(numbers), int(last-first) + 1 - len(numbers)
}
