package e2e

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ringcast/testenv"

	"github.com/pion/dtls/v3"
	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// A habit is a way of clients that has broken servers. pion follows it by its settings, or is made to
// by rewriting what it offers and what it is answered.
type habit struct {
	name string
	// settings and codecs make pion's own; nil leaves its defaults.
	settings func(*webrtc.SettingEngine)
	codecs   func(*testing.T, *webrtc.MediaEngine, *interceptor.Registry)
	// offer rewrites what is posted.
	offer func(t *testing.T, d *description)
	// answer examines the server's answer, and restores the words of pion's own offer in it.
	answer func(t *testing.T, d *description)
	// answered follows the POST, before pion knows of the answer.
	answered func(t *testing.T, s *pionSession, x *exchange)
	// check examines what arrived beyond the media themselves.
	check func(t *testing.T, r *habitRun)
	// publishes keeps the habit to the publisher: the client in question never watches.
	publishes bool
}

// habitRun holds the peers of one habit.
type habitRun struct {
	pub       *pionPublisher
	view      *pionViewer // has the habit too, or is nil
	published *exchange
	watched   *exchange
	plain     *pionViewer
	lastFrame uint32
	lastAudio uint32
}

const habitFrames = pionFrames * 5 / 8

// With any habits of a client, its media arrive as they were sent, at a viewer without habits and at one with the same
// habits.
func TestHabits(t *testing.T) {
	for _, h := range habits() {
		t.Run(h.name, func(t *testing.T) {
			t.Parallel()
			s := testenv.StartServer(t, testenv.ServerOptions{})
			r := &habitRun{}
			r.pub = newHabitPublisher(t, s.URL+"/whip/habit", &h)
			r.published = r.pub.connectAs(t, &h)
			r.pub.start(t)
			if !h.publishes {
				r.view = newPionViewerOn(t, newHabitSession(t, s.URL+"/whep/habit", &h))
				r.watched = r.view.connectAs(t, &h)
			}
			r.plain = newPionViewer(t, s.URL+"/whep/habit")
			r.plain.connect(t)
			r.lastFrame, r.lastAudio = r.pub.finish(habitFrames)

			for name, v := range map[string]*pionViewer{"plain": r.plain, "habit": r.view} {
				if v == nil {
					continue
				}
				v.video.wait(t, func(p []*rtp.Packet) error { return naming(name, checkVideo(p, r.lastFrame)) })
				v.audio.wait(t, func(p []*rtp.Packet) error { return naming(name, checkAudio(p, r.lastAudio)) })
			}
			if h.check != nil && !t.Failed() {
				h.check(t, r)
			}
			checkNoDrops(t, s)
			if t.Failed() {
				t.Logf("publisher's offer\n%s\nand answer\n%s", r.published.offer, r.published.answer)
				if r.watched != nil {
					t.Logf("viewer's offer\n%s\nand answer\n%s", r.watched.offer, r.watched.answer)
				}
			}
			for _, v := range []*pionViewer{r.plain, r.view} {
				if v != nil {
					v.bye(t)
				}
			}
			r.pub.bye(t)
		})
	}
}

func naming(who string, err error) error {
	if err != nil {
		return fmt.Errorf("%s viewer: %w", who, err)
	}
	return nil
}

func habits() []habit {
	return []habit{
		{
			name: "everything at session level",
			offer: func(t *testing.T, d *description) {
				for _, prefix := range []string{
					"a=ice-ufrag:", "a=ice-pwd:", "a=fingerprint:", "a=setup:",
					d.direction(),
				} {
					line := d.drop(prefix)
					if line == "" {
						t.Fatalf("no %s in pion's offer", prefix)
					}
					d.add(0, line)
				}
			},
		},
		{
			name: "Firefox, sendrecv at session level and not on the lines",
			offer: func(_ *testing.T, d *description) {
				fingerprint := d.drop("a=fingerprint:")
				d.drop("a=ice-options:")
				d.add(0, "a=sendrecv", fingerprint, "a=ice-options:trickle")
			},
		},
		{
			name: "bundle-only with port 0",
			offer: func(t *testing.T, d *description) {
				d.edit(func(part int, line string) string {
					if part < 2 || !strings.HasPrefix(line, "m=") {
						return line
					}
					return strings.Replace(line, " 9 ", " 0 ", 1)
				})
				d.add(2, "a=bundle-only")
				if d.count("m=video 0 ") != 1 {
					t.Fatalf("the video line has another port than 9:\n%s", d)
				}
			},
			answer: func(t *testing.T, d *description) {
				if d.count("m=video 0 ") != 0 || d.count("a=bundle-only") != 0 {
					t.Errorf("a line that is bundled only was taken for a rejected one:\n%s", d)
				}
			},
		},
		{
			name:  "another ufrag on the line without the tag",
			offer: func(t *testing.T, d *description) { otherCredentials(t, d, 2) },
		},
		{
			name: "another ufrag on the first line, the tag on the second",
			offer: func(t *testing.T, d *description) {
				otherCredentials(t, d, 1)
				tag, _ := d.value(2, "a=mid:")
				other, _ := d.value(1, "a=mid:")
				d.drop("a=group:")
				d.add(0, "a=group:BUNDLE "+tag+" "+other)
			},
		},
		{
			name: "no candidates",
			offer: func(t *testing.T, d *description) {
				if d.count("a=candidate:")+d.count("a=end-of-candidates") != 0 {
					t.Fatalf("pion gathered before it offered:\n%s", d)
				}
			},
			answer: func(t *testing.T, d *description) {
				if d.count("a=candidate:") == 0 || d.count("a=end-of-candidates") == 0 {
					t.Errorf("an answer without all candidates:\n%s", d)
				}
			},
		},
		{
			name:   "setup passive",
			offer:  passive,
			answer: active,
		},
		{
			name:     "SRTP_AES128_CM_HMAC_SHA1_80 only",
			settings: oldProfile,
		},
		{
			name:   "OBS, SSRCs and nothing else to tell the tracks apart",
			codecs: fewCodecs,
			offer:  noExtensions,
			answer: func(t *testing.T, d *description) {
				if d.count("a=extmap:") != 0 {
					t.Errorf("extensions that were not offered:\n%s", d)
				}
			},
			check: func(t *testing.T, r *habitRun) {
				for _, sender := range r.pub.pc.GetSenders() {
					if e := sender.GetParameters().HeaderExtensions; len(e) != 0 {
						t.Errorf("the publisher negotiated header extensions: %v", e)
					}
				}
				for _, p := range slices.Concat(r.view.video.all(), r.view.audio.all()) {
					if p.Extension {
						t.Fatalf("packet %d has header extensions", p.SequenceNumber)
					}
				}
			},
		},
		twoByteExtensions(),
		{
			name:     `If-Match: "*" on every PATCH`,
			answered: func(t *testing.T, s *pionSession, x *exchange) { trickle(t, s, x, `"*"`) },
			check: func(t *testing.T, r *habitRun) {
				for _, match := range []string{`"*"`, `*`, r.published.etag} {
					trickle(t, r.pub.pionSession, r.published, match)
				}
				trickle(t, r.view.pionSession, r.watched, r.watched.etag)
			},
		},
		{
			name: "codecs in capitals",
			offer: func(t *testing.T, d *description) {
				d.edit(func(_ int, line string) string {
					if !strings.HasPrefix(line, "a=rtpmap:") {
						return line
					}
					head, encoding, _ := strings.Cut(line, " ")
					if upper := strings.ToUpper(encoding); upper != encoding {
						return head + " " + upper
					}
					return head + " " + strings.ToLower(encoding)
				})
				for _, want := range []string{"OPUS/48000/2", "vp8/90000", "RTX/90000"} {
					if !strings.Contains(d.String(), want) {
						t.Fatalf("the rewritten offer has no %s:\n%s", want, d)
					}
				}
			},
		},
		{
			name:     "ufrags of 32 characters",
			settings: longCredentials,
			offer: func(t *testing.T, d *description) {
				if ufrag, _ := d.value(1, "a=ice-ufrag:"); len(ufrag) != 32 {
					t.Fatalf("pion's ufrag is %q", ufrag)
				}
			},
		},
		{
			name:     "GStreamer, sendrecv and mids of its own, OPUS, a long ufrag",
			settings: longCredentials,
			offer: func(_ *testing.T, d *description) {
				direction := d.direction()
				d.edit(func(_ int, line string) string {
					switch line {
					case direction:
						return "a=sendrecv"
					case "a=mid:0":
						return "a=mid:audio0"
					case "a=mid:1":
						return "a=mid:video1"
					case "a=group:BUNDLE 0 1":
						return "a=group:BUNDLE audio0 video1"
					}
					return strings.Replace(line, "opus/48000", "OPUS/48000", 1)
				})
			},
			answer: func(t *testing.T, d *description) {
				if d.count("a=sendrecv") != 0 {
					t.Errorf("sendrecv was answered by sendrecv:\n%s", d)
				}
				d.edit(func(_ int, line string) string {
					switch line {
					case "a=mid:audio0":
						return "a=mid:0"
					case "a=mid:video1":
						return "a=mid:1"
					case "a=group:BUNDLE audio0 video1":
						return "a=group:BUNDLE 0 1"
					}
					return line
				})
			},
		},
		{
			name:     "FFmpeg, setup passive, the old profile and no extensions",
			settings: oldProfile,
			codecs:   fewCodecs,
			offer: func(t *testing.T, d *description) {
				passive(t, d)
				noExtensions(t, d)
			},
			answer: func(t *testing.T, d *description) {
				active(t, d)
				if size := len(d.String()); size > 8192 {
					t.Errorf("the answer has %d bytes, more than FFmpeg reads", size)
				}
				// It takes the first candidate, and no other.
				first, _ := d.value(1, "a=candidate:")
				if f := strings.Fields(first); len(f) < 8 || f[2] != "udp" || f[7] != "host" {
					t.Errorf("the first candidate is %q, want a host's by UDP", first)
				}
			},
			publishes: true,
		},
	}
}

func passive(t *testing.T, d *description) {
	if d.drop("a=setup:") != "a=setup:actpass" {
		t.Fatalf("pion does not offer actpass:\n%s", d)
	}
	for part := 1; part < len(d.parts); part++ {
		d.add(part, "a=setup:passive")
	}
}

func active(t *testing.T, d *description) {
	if n := len(d.parts) - 1; d.count("a=setup:active") != n || d.count("a=setup:") != n {
		t.Errorf("passive was not answered by active:\n%s", d)
	}
}

func oldProfile(e *webrtc.SettingEngine) {
	e.SetSRTPProtectionProfiles(dtls.SRTP_AES128_CM_HMAC_SHA1_80)
}

func longCredentials(e *webrtc.SettingEngine) {
	// By time only to differ from each other.
	e.SetICECredentials(fmt.Sprintf("ufrag%027d", time.Now().UnixNano()),
		fmt.Sprintf("pwd%029d", time.Now().UnixNano()))
}

// otherCredentials gives a line credentials by which no check will ever come.
func otherCredentials(t *testing.T, d *description, part int) {
	changed := 0
	d.edit(func(i int, line string) string {
		switch {
		case i != part:
		case strings.HasPrefix(line, "a=ice-ufrag:"):
			changed++
			return "a=ice-ufrag:otherLine"
		case strings.HasPrefix(line, "a=ice-pwd:"):
			changed++
			return "a=ice-pwd:thisPasswordIsNeverUsed"
		}
		return line
	})
	if changed != 2 {
		t.Fatalf("media line %d has no credentials of its own:\n%s", part, d)
	}
}

func noExtensions(_ *testing.T, d *description) { d.drop("a=extmap:", "a=extmap-allow-mixed") }

// fewCodecs are Opus and VP8 without retransmission or feedback for bandwidth.
func fewCodecs(t *testing.T, m *webrtc.MediaEngine, r *interceptor.Registry) {
	opus := webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}
	vp8 := webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8, ClockRate: 90000}
	must(
		t,
		m.RegisterCodec(webrtc.RTPCodecParameters{RTPCodecCapability: opus, PayloadType: 111},
			webrtc.RTPCodecTypeAudio),
	)
	must(t,
		m.RegisterCodec(webrtc.RTPCodecParameters{RTPCodecCapability: vp8, PayloadType: 96}, webrtc.RTPCodecTypeVideo))
	must(t, webrtc.ConfigureNack(m, r))
	must(t, webrtc.ConfigureRTCPReports(r))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const (
	midURI   = "urn:ietf:params:rtp-hdrext:sdes:mid"
	levelURI = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
	// pion's numbers from 1 on become too large for a header of one byte.
	extensionShift = 20
)

// twoByteExtensions numbers the extensions above 14. The publisher's offer has no SSRCs, so only the MID in such a
// header binds its tracks.
func twoByteExtensions() habit {
	feedback := new(atomic.Int32)
	return habit{
		name: "two-byte header extensions, and MIDs without SSRCs",
		codecs: func(t *testing.T, m *webrtc.MediaEngine, r *interceptor.Registry) {
			must(t, m.RegisterDefaultCodecs())
			must(t, webrtc.RegisterDefaultInterceptors(m, r))
			must(t,
				m.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: midURI}, webrtc.RTPCodecTypeAudio))
			must(t,
				m.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: levelURI}, webrtc.RTPCodecTypeAudio))
			must(t, webrtc.ConfigureTWCCHeaderExtensionSender(m, r))
			r.Add(extender{feedback: feedback}) // the last is the first that a packet meets
		},
		offer: func(t *testing.T, d *description) {
			d.drop("a=ssrc:", "a=ssrc-group:", "a=extmap-allow-mixed")
			d.add(0, "a=extmap-allow-mixed")
			shifted := 0
			d.edit(func(_ int, line string) string {
				value, ok := strings.CutPrefix(line, "a=extmap:")
				if !ok {
					return line
				}
				number, uri, _ := strings.Cut(value, " ")
				id, err := strconv.Atoi(number)
				must(t, err)
				shifted++
				return fmt.Sprintf("a=extmap:%d %s", id+extensionShift, uri)
			})
			if shifted < 4 {
				t.Fatalf("only %d extensions:\n%s", shifted, d)
			}
		},
		answer: func(t *testing.T, d *description) {
			if d.count("a=extmap-allow-mixed") == 0 {
				t.Errorf("two-byte headers among others were not answered:\n%s", d)
			}
			for part := 1; part < len(d.parts); part++ {
				if extensionID(t, d, part, midURI) <= extensionShift {
					t.Errorf("the extensions of line %d got other numbers:\n%s", part, d)
				}
			}
		},
		check: func(t *testing.T, r *habitRun) {
			if feedback.Load() == 0 {
				t.Errorf("the publisher got no transport-wide feedback")
			}
			level := extensionID(t, r.watched.answer, 1, levelURI)
			for part, packets := range map[int][]*rtp.Packet{1: r.view.audio.all(), 2: r.view.video.all()} {
				mid, _ := r.watched.answer.value(part, "a=mid:")
				id := extensionID(t, r.watched.answer, part, midURI)
				seen := 0
				for _, p := range packets {
					if p.Extension && p.ExtensionProfile != rtp.ExtensionProfileTwoByte {
						t.Fatalf("line %d: packet %d has extension profile %#x",
							part, p.SequenceNumber, p.ExtensionProfile)
					}
					if got := p.GetExtension(id); got != nil {
						if seen++; string(got) != mid {
							t.Fatalf("line %d: packet %d has MID %q, want %q", part, p.SequenceNumber, got, mid)
						}
					}
					if part != 1 {
						continue
					}
					want := audioLevel(p.Payload)
					if got := p.GetExtension(level); len(got) == 0 || got[0] != want {
						t.Fatalf("audio packet %d has level %x, want %x", p.SequenceNumber, got, want)
					}
				}
				t.Logf("line %d: %d of %d packets had a MID", part, seen, len(packets))
			}
		},
	}
}

func extensionID(t *testing.T, d *description, part int, uri string) uint8 {
	t.Helper()
	for _, line := range d.parts[part] {
		value, ok := strings.CutPrefix(line, "a=extmap:")
		if number, of, _ := strings.Cut(value, " "); ok && of == uri {
			id, err := strconv.ParseUint(number, 10, 8)
			must(t, err)
			return uint8(id)
		}
	}
	t.Fatalf("line %d has no %s:\n%s", part, uri, d)
	return 0
}

// audioLevel is the extender's level of an Opus packet: a value that differs between neighbours.
func audioLevel(payload []byte) byte { return byte(binary.BigEndian.Uint32(payload[3:])) & 0x7f }

// An extender writes header extensions of two bytes: MIDs, and levels of audio.
type extender struct {
	interceptor.NoOp
	feedback *atomic.Int32
}

// NewInterceptor implements interceptor.Factory.
func (e extender) NewInterceptor(string) (interceptor.Interceptor, error) { return &e, nil }

// BindLocalStream implements interceptor.Interceptor.
func (e *extender) BindLocalStream(info *interceptor.StreamInfo, next interceptor.RTPWriter) interceptor.RTPWriter {
	audio := strings.EqualFold(info.MimeType, webrtc.MimeTypeOpus)
	mid := "1"
	if audio {
		mid = "0"
	}
	ids := make(map[string]uint8)
	for _, x := range info.RTPHeaderExtensions {
		ids[x.URI] = uint8(x.ID)
	}
	return interceptor.RTPWriterFunc(func(h *rtp.Header, payload []byte, a interceptor.Attributes) (int, error) {
		h.Extension, h.ExtensionProfile, h.Extensions = true, rtp.ExtensionProfileTwoByte, nil
		if err := h.SetExtension(ids[midURI], []byte(mid)); err != nil {
			return 0, err
		}
		if audio {
			if err := h.SetExtension(ids[levelURI], []byte{audioLevel(payload)}); err != nil {
				return 0, err
			}
		}
		return next.Write(h, payload, a)
	})
}

// BindRTCPReader implements interceptor.Interceptor.
func (e *extender) BindRTCPReader(next interceptor.RTCPReader) interceptor.RTCPReader {
	return interceptor.RTCPReaderFunc(func(b []byte, a interceptor.Attributes) (int, interceptor.Attributes, error) {
		n, a, err := next.Read(b, a)
		if err != nil {
			return n, a, err
		}
		packets, err := rtcp.Unmarshal(b[:n])
		for _, p := range packets {
			if cc, ok := p.(*rtcp.TransportLayerCC); ok && cc.PacketStatusCount > 0 {
				e.feedback.Add(1)
			}
		}
		return n, a, err
	})
}

// newHabitSession is a newPionSession with the habit's settings.
func newHabitSession(t *testing.T, endpoint string, h *habit) *pionSession {
	t.Helper()
	u, err := url.Parse(endpoint)
	must(t, err)
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(u.Hostname())})
	must(t, err)
	mux := webrtc.NewICEUDPMux(nil, socket)
	t.Cleanup(func() { mux.Close(); socket.Close() })
	var engine webrtc.SettingEngine
	engine.SetICEUDPMux(mux)
	engine.SetIncludeLoopbackCandidate(true)
	engine.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	return newTunedSession(t, endpoint, engine, h)
}

func newTunedSession(t *testing.T, endpoint string, engine webrtc.SettingEngine, h *habit) *pionSession {
	t.Helper()
	if h.settings != nil {
		h.settings(&engine)
	}
	options := []func(*webrtc.API){webrtc.WithSettingEngine(engine)}
	if h.codecs != nil {
		media, registry := &webrtc.MediaEngine{}, &interceptor.Registry{}
		h.codecs(t, media, registry)
		options = append(options, webrtc.WithMediaEngine(media), webrtc.WithInterceptorRegistry(registry))
	}
	pc, err := webrtc.NewAPI(options...).NewPeerConnection(webrtc.Configuration{})
	must(t, err)
	t.Cleanup(func() { pc.Close() })
	return pionSessionOn(pc, endpoint)
}

func newHabitPublisher(t *testing.T, endpoint string, h *habit) *pionPublisher {
	t.Helper()
	return newPionPublisherOn(t, newHabitSession(t, endpoint, h))
}

func newPionPublisherOn(t *testing.T, s *pionSession) *pionPublisher {
	t.Helper()
	p := &pionPublisher{pionSession: s, done: make(chan struct{})}
	p.last.Store(^uint32(0))
	add := func(codec webrtc.RTPCodecCapability, id string) *webrtc.TrackLocalStaticRTP {
		track, err := webrtc.NewTrackLocalStaticRTP(codec, id, "pion")
		must(t, err)
		transceiver, err := p.pc.AddTransceiverFromTrack(track,
			webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
		must(t, err)
		go p.readRTCP(transceiver.Sender())
		return track
	}
	p.audio = add(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}, "audio")
	p.video = add(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8, ClockRate: 90000}, "video")
	return p
}

// all are the packets so far.
func (r *received) all() []*rtp.Packet {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.packets)
}

// An exchange is a POST: the offer as the server got it, and what it said.
type exchange struct {
	offer, answer *description
	etag          string
}

// connectAs posts the offer in the habit's manner and waits for ICE and DTLS.
func (s *pionSession) connectAs(t *testing.T, h *habit) *exchange {
	t.Helper()
	offer, err := s.pc.CreateOffer(nil)
	must(t, err)
	must(t, s.pc.SetLocalDescription(offer))
	x := &exchange{offer: describe(offer.SDP)}
	if h.offer != nil {
		h.offer(t, x.offer)
	}
	resp, body := s.post(t, x.offer.String())
	for giveUp := time.Now().Add(patience); resp.StatusCode == http.StatusConflict && time.Now().Before(giveUp); {
		let(t, 50*time.Millisecond)
		resp, body = s.post(t, x.offer.String())
	}
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("POST %s: %s\n%s\nto\n%s", s.endpoint, resp.Status, body, x.offer)
	}
	location, err := resp.Location()
	must(t, err)
	s.resource = location.String()
	x.etag = resp.Header.Get("ETag")
	x.answer = describe(body)
	if h.answer != nil {
		h.answer(t, x.answer)
	}
	if h.answered != nil {
		h.answered(t, s, x)
	}
	if err := s.pc.SetRemoteDescription(webrtc.SessionDescription{
		Type: webrtc.SDPTypeAnswer,
		SDP:  x.answer.String(),
	}); err != nil {
		t.Fatalf("%v in\n%s", err, x.answer)
	}
	select {
	case <-s.connected:
	case <-deadline(t, patience).Done():
		t.Fatalf("not connected: ICE %v, %v\noffer\n%s\nanswer\n%s", s.pc.ICEConnectionState(), s.pc.ConnectionState(),
			transportLines(x.offer.String()), transportLines(body))
	}
	return x
}

// trickle sends a PATCH for each of pion's candidates, as if it had just been found. Then it sends some that are
// useless to the server, and the end of them.
func trickle(t *testing.T, s *pionSession, x *exchange, match string) {
	t.Helper()
	select {
	case <-webrtc.GatheringCompletePromise(s.pc):
	case <-deadline(t, patience).Done():
		t.Fatal("pion gathers for ever")
	}
	local := describe(s.pc.LocalDescription().SDP)
	var lines []string
	for _, line := range local.parts[1] {
		if strings.HasPrefix(line, "a=candidate:") {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		t.Fatalf("pion has no candidates:\n%s", local)
	}
	lines = append(
		lines,
		"a=candidate:1 1 udp 2113937151 1f6d8bc3-3a8f-4e86-93c4-5b1b2e9a2d4e.local 54321 typ host",
		"a=candidate:2 1 tcp 1518280447 198.18.0.9 9 typ host tcptype active",
		"a=end-of-candidates",
	)
	ufrag, _ := x.offer.value(1, "a=ice-ufrag:")
	password, _ := x.offer.value(1, "a=ice-pwd:")
	mid, _ := x.offer.value(1, "a=mid:")
	for _, line := range lines {
		resp, body := s.patch(t, match, "a=ice-ufrag:"+ufrag, "a=ice-pwd:"+password,
			"m=audio 9 UDP/TLS/RTP/SAVPF 0", "a=mid:"+mid, line)
		if resp.StatusCode != http.StatusNoContent || body != "" || resp.Header.Get("ETag") != "" {
			t.Errorf("PATCH with If-Match: %s and %s: %s, ETag %q, body %q; want 204 with neither",
				match, line, resp.Status, resp.Header.Get("ETag"), body)
		}
	}
}

// patch sends an SDP fragment.
func (s *pionSession) patch(t *testing.T, match string, lines ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, s.resource,
		strings.NewReader(strings.Join(lines, "\r\n")+"\r\n"))
	must(t, err)
	req.Header.Set("Content-Type", "application/trickle-ice-sdpfrag")
	req.Header.Set("If-Match", match)
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp, string(body)
}
