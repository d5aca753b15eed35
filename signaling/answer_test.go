package signaling

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/pion/sdp/v3"

	"ringcast/engine/api"
	"ringcast/engine/rtp"
)

const (
	obs        = "obslike-libdatachannel-offer-whip"
	chromiumTX = "chromium-offer-sendonly"
	chromiumRX = "chromium-offer-recvonly"
	firefoxTX  = "firefox-offer-sendonly"
	firefoxRX  = "firefox-offer-recvonly"
)

// The extensions of an answer, as its lines write them.
const (
	midURI      = " urn:ietf:params:rtp-hdrext:sdes:mid"
	ridURI      = " urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"
	repairedURI = " urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"
	twccURI     = " http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
	levelURI    = " urn:ietf:params:rtp-hdrext:ssrc-audio-level"
	rotationURI = " urn:3gpp:video-orientation"
	delayURI    = " http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"
	colorURI    = " http://www.webrtc.org/experiments/rtp-hdrext/color-space"
)

// wantLine is the expected contents of one media line of an answer.
type wantLine struct {
	name, list string
	extmaps    []string
	// feedback are the values for the first payload type.
	feedback []string
	// rtpmaps are those of the first payload type and its retransmissions; fmtp is the first's.
	rtpmaps []string
	fmtp    string
	rsize   bool
	rids    []string
	simulc  string
	sources []string
}

var videoFeedback = []string{"transport-cc", "ccm fir", "nack", "nack pli"}

const chromiumVideo = "96 97 102 103 104 107 108 109 114 115 116 117 39 40 45 46 98 99 100 101"

var chromiumAudioTX = wantLine{
	name: "audio", list: "111", rsize: true, feedback: []string{"transport-cc"},
	extmaps: []string{"4" + midURI, "3" + twccURI, "1" + levelURI},
	rtpmaps: []string{"111 opus/48000/2"}, fmtp: "minptime=10;useinbandfec=1",
}

func chromiumVideoTX() wantLine {
	return wantLine{
		name: "video", list: chromiumVideo, rsize: true, feedback: videoFeedback,
		extmaps: []string{
			"4" + midURI, "10" + ridURI, "11" + repairedURI, "3" + twccURI, "13" + rotationURI, "5" + delayURI,
			"8" + colorURI,
		},
		rtpmaps: []string{"96 VP8/90000", "97 rtx/90000"},
	}
}

var firefoxAudioTX = wantLine{
	name: "audio", list: "109", feedback: []string{"transport-cc"},
	extmaps: []string{"3" + midURI, "7" + twccURI, "1" + levelURI},
	rtpmaps: []string{"109 opus/48000/2"}, fmtp: "maxplaybackrate=48000;stereo=1;useinbandfec=1",
}

// TestAnswerFixtures checks the answer to every captured offer, field by field.
func TestAnswerFixtures(t *testing.T) {
	simulcast := chromiumVideoTX()
	simulcast.rids, simulcast.simulc = []string{"h recv", "m recv", "l recv"}, "recv h;m;l"
	svc := chromiumVideoTX()
	svc.list, svc.rtpmaps, svc.fmtp = "45 46 98 99 100 101", []string{
		"45 AV1/90000", "46 rtx/90000",
	}, "level-idx=5;profile=0;tier=0"
	firefoxVideo := wantLine{
		name: "video", list: "120 124 121 125 99 100", rsize: true, feedback: videoFeedback,
		extmaps: []string{"3" + midURI, "7" + twccURI},
		rtpmaps: []string{"120 VP8/90000", "124 rtx/90000"},
	}
	firefoxSimulcast := firefoxVideo
	firefoxSimulcast.extmaps = []string{"3" + midURI, "9/recvonly" + ridURI, "10/recvonly" + repairedURI, "7" + twccURI}
	firefoxSimulcast.rids, firefoxSimulcast.simulc = simulcast.rids, simulcast.simulc
	withSources := func(l wantLine, sources ...string) wantLine {
		l.sources = sources
		return l
	}
	audioSources := []string{"msid:room audio", "ssrc:1000 cname:cname", "ssrc:1000 msid:room audio"}
	videoSources := []string{
		"msid:room video", "ssrc-group:FID 1001 2001", "ssrc:1001 cname:cname", "ssrc:1001 msid:room video",
		"ssrc:2001 cname:cname", "ssrc:2001 msid:room video",
	}
	viewed := firefoxVideo
	viewed.extmaps = []string{"3" + midURI, "7" + twccURI, "6/sendonly" + delayURI}

	tests := []struct {
		offer, root string
		lines       []wantLine
		mixed       bool // for the session
	}{
		{obs, "whip", []wantLine{
			{
				name: "audio", list: "111", rtpmaps: []string{"111 opus/48000/2"},
				fmtp: "minptime=10;maxaveragebitrate=96000;stereo=1;sprop-stereo=1;useinbandfec=1",
			},
			{
				name: "video", list: "96", rtpmaps: []string{"96 H264/90000"}, feedback: []string{"nack", "nack pli"},
				fmtp: "profile-level-id=42e01f;packetization-mode=1;level-asymmetry-allowed=1",
			},
		}, false},
		{chromiumTX, "whip", []wantLine{chromiumAudioTX, chromiumVideoTX()}, true},
		{chromiumTX + "-nogather", "whip", []wantLine{chromiumAudioTX, chromiumVideoTX()}, true},
		{chromiumTX + "-simulcast", "whip", []wantLine{chromiumAudioTX, simulcast}, true},
		{chromiumTX + "-svc-vp9av1", "whip", []wantLine{chromiumAudioTX, svc}, true},
		{firefoxTX, "whip", []wantLine{firefoxAudioTX, firefoxVideo}, false},
		{firefoxTX + "-simulcast", "whip", []wantLine{firefoxAudioTX, firefoxSimulcast}, false},
		{chromiumRX, "whep", []wantLine{
			withSources(wantLine{
				name: "audio", list: "111", rsize: true, extmaps: []string{"4" + midURI, "1" + levelURI},
				rtpmaps: chromiumAudioTX.rtpmaps, fmtp: chromiumAudioTX.fmtp,
			}, audioSources...),
			withSources(wantLine{
				name: "video", rsize: true, feedback: videoFeedback,
				list: "108 109 102 103 116 117 41 42 96 97 98 99 100 101 35 36 37 38 104 107 114 115 39 40 43 44 " +
					"45 46 47 48",
				extmaps: []string{"4" + midURI, "3" + twccURI, "13" + rotationURI, "5" + delayURI, "8" + colorURI},
				rtpmaps: []string{"108 H264/90000", "109 rtx/90000"},
				fmtp:    "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
			}, videoSources...),
		}, true},
		{firefoxRX, "whep", []wantLine{
			withSources(wantLine{
				name: "audio", list: "109", extmaps: []string{"3" + midURI, "1" + levelURI},
				rtpmaps: firefoxAudioTX.rtpmaps, fmtp: firefoxAudioTX.fmtp,
			}, audioSources...),
			withSources(viewed, videoSources...),
		}, false},
	}
	var seen []string
	for _, tt := range tests {
		seen = append(seen, tt.offer)
		t.Run(tt.offer, func(t *testing.T) {
			b := newBench(t, Config{})
			if tt.root == "whep" {
				publisher := obs
				if tt.offer == firefoxRX {
					publisher = chromiumTX
				}
				b.mustPost("/whip/room", fixture(t, publisher))
			}
			_, text := b.mustPost("/"+tt.root+"/room", fixture(t, tt.offer))
			checkFixtureAnswer(t, fixture(t, tt.offer), text, tt.root == "whep", tt.mixed, tt.lines)
			checkAnswer(t, fixture(t, tt.offer), text, b.engine.lastPeer().Tracks)
		})
	}
	slices.Sort(seen)
	names := fixtureNames(t)
	slices.Sort(names)
	if !slices.Equal(seen, names) {
		t.Errorf("checked %q, but the fixtures are %q", seen, names)
	}
}

func checkFixtureAnswer(t *testing.T, offer, text string, whep, mixed bool, lines []wantLine) {
	t.Helper()
	offered, d := parseDescription(t, offer), parseDescription(t, text)
	wantSession := []string{"ice-lite", "ice-options:ice2", "group:BUNDLE 0 1"}
	if mixed {
		wantSession = append(wantSession, "extmap-allow-mixed")
	}
	if got := render(d.Attributes); !slices.Equal(got, wantSession) {
		t.Errorf("session attributes %q, want %q", got, wantSession)
	}
	if len(d.MediaDescriptions) != len(lines) {
		t.Fatalf("%d media lines, want %d", len(d.MediaDescriptions), len(lines))
	}
	for i, want := range lines {
		m := d.MediaDescriptions[i]
		if got := m.MediaName.String(); got != want.name+" 8189 UDP/TLS/RTP/SAVPF "+want.list {
			t.Errorf("m=%s, want %s 8189 UDP/TLS/RTP/SAVPF %s", got, want.name, want.list)
		}
		if got := m.ConnectionInformation.String(); got != "IN IP4 192.0.2.1" {
			t.Errorf("c=%s", got)
		}
		direction := "recvonly"
		if whep {
			direction = "sendonly"
		}
		mid, _ := offered.MediaDescriptions[i].Attribute("mid")
		_, allowMixed := offered.MediaDescriptions[i].Attribute("extmap-allow-mixed")
		wantAttributes := want.attributes(mid, direction, i == 0, allowMixed)
		got := render(m.Attributes)
		if !slices.Equal(got[:min(len(got), len(wantAttributes))], wantAttributes) {
			t.Errorf("%s:\n got %q\nwant %q", want.name, got, wantAttributes)
		}
		var wantTail []string
		for _, r := range want.rids {
			wantTail = append(wantTail, "rid:"+r)
		}
		if want.simulc != "" {
			wantTail = append(wantTail, "simulcast:"+want.simulc)
		}
		wantTail = append(wantTail, want.sources...)
		if tail := got[max(0, len(got)-len(wantTail)):]; !slices.Equal(tail, wantTail) {
			t.Errorf("%s ends with\n     %q\nwant %q", want.name, tail, wantTail)
		}
		if len(want.sources) == 0 && strings.Contains(strings.Join(got, "\n"), "\nssrc") {
			t.Errorf("%s has sources in an answer to a publisher", want.name)
		}
	}
}

// attributes are the attributes of an answer's line but those of layers and sources. The first line has the
// transport's.
func (l *wantLine) attributes(mid, direction string, transport, allowMixed bool) []string {
	first, _, _ := strings.Cut(l.list, " ")
	all := []string{
		"mid:" + mid, direction, "ice-ufrag:" + localUfrag, "ice-pwd:" + localPassword,
		"fingerprint:sha-256 " + localFingerprint, "setup:passive",
	}
	if transport {
		all = append(all, "candidate:1 1 udp 2130706431 192.0.2.1 8189 typ host",
			"candidate:2 1 udp 2130706175 2001:db8::1 8190 typ host", "end-of-candidates")
	}
	all = append(all, "rtcp-mux")
	if l.rsize {
		all = append(all, "rtcp-rsize")
	}
	if allowMixed {
		all = append(all, "extmap-allow-mixed")
	}
	for _, e := range l.extmaps {
		all = append(all, "extmap:"+e)
	}
	all = append(all, "rtpmap:"+l.rtpmaps[0])
	for _, f := range l.feedback {
		all = append(all, "rtcp-fb:"+first+" "+f)
	}
	if l.fmtp != "" {
		all = append(all, "fmtp:"+first+" "+l.fmtp)
	}
	if len(l.rtpmaps) > 1 {
		rtx, _, _ := strings.Cut(l.rtpmaps[1], " ")
		all = append(all, "rtpmap:"+l.rtpmaps[1], "fmtp:"+rtx+" apt="+first)
	}
	return all
}

// checkAnswer checks the invariants of every answer: it has nothing that was not offered, and agrees with the engine's
// tracks.
func checkAnswer(t testing.TB, offer, answer string, tracks []rtp.Track) {
	t.Helper()
	offered, d := parseDescription(t, offer), parseDescription(t, answer)
	if len(d.MediaDescriptions) != len(offered.MediaDescriptions) {
		t.Fatalf("%d media lines answer %d", len(d.MediaDescriptions), len(offered.MediaDescriptions))
	}
	if !strings.HasSuffix(answer, "\r\n") || strings.Contains(strings.ReplaceAll(answer, "\r\n", ""), "\n") {
		t.Errorf("not every line of the answer ends with CR LF")
	}
	for i, m := range d.MediaDescriptions {
		o := offered.MediaDescriptions[i]
		if m.MediaName.Media != o.MediaName.Media || !slices.Equal(m.MediaName.Protos, o.MediaName.Protos) {
			t.Errorf("m=%s answers m=%s", m.MediaName.String(), o.MediaName.String())
		}
		got, _ := m.Attribute("mid")
		want := ""
		for _, a := range o.Attributes { // an empty one says nothing
			if a.Key == "mid" && want == "" {
				want = strings.TrimSpace(a.Value)
			}
		}
		if got != strings.TrimSpace(want) {
			t.Errorf("mid %q answers %q", got, want)
		}
		for _, f := range m.MediaName.Formats {
			if !slices.Contains(o.MediaName.Formats, f) {
				t.Errorf("payload type %s was not offered", f)
			}
		}
		if m.MediaName.Port.Value != 0 && len(m.MediaName.Formats) == 0 {
			t.Errorf("m=%s has no format", m.MediaName.String())
		}
	}

	// The answer reads like an offer, but for a=ice-lite, which only one end may say.
	again, err := parseOffer([]byte(replace(t, answer, "a=ice-lite\r\n", "")), Limits{}.withDefaults(), nil)
	if err != nil {
		t.Fatalf("the answer cannot be read: %v\n%s", err, answer)
	}
	told := slices.Clone(tracks)
	read := again.tracks()
	for i := range told {
		told[i].Encodings = nil
		told[i].Formats = slices.Clone(told[i].Formats)
		for j := range told[i].Formats {
			told[i].Formats[j].Sets = "" // of the offer alone
		}
	}
	for i := range read {
		read[i].Encodings = nil
	}
	if !reflect.DeepEqual(told, read) {
		t.Errorf("the engine was told %+v\nbut the answer says %+v", told, read)
	}
}

func parseDescription(t testing.TB, text string) *sdp.SessionDescription {
	t.Helper()
	if !strings.HasSuffix(text, "\n") {
		text += "\r\n"
	}
	var d sdp.SessionDescription
	if err := d.UnmarshalString(text); err != nil {
		t.Fatalf("parse: %v\n%s", err, text)
	}
	return &d
}

func render(attributes []sdp.Attribute) []string {
	var lines []string
	for _, a := range attributes {
		if a.Value == "" {
			lines = append(lines, a.Key)
		} else {
			lines = append(lines, a.Key+":"+a.Value)
		}
	}
	return lines
}

// OBS from 32.1 on offers layers with numbers as RIDs, as its library writes them. The SSRCs that it announces do not
// tell the layers apart.
func TestAnswerOBSSimulcast(t *testing.T) {
	const ssrc = "a=ssrc:1002 cname:cname\r\n"
	layers := "a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\r\n" +
		"a=extmap:2 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n" +
		"a=rid:0 send\r\na=rid:1 send\r\na=rid:2 send\r\na=simulcast:send 0;1;2\r\n"
	for name, sources := range map[string]string{
		"one SSRC": ssrc, "an SSRC each": ssrc + "a=ssrc:1003 cname:cname\r\na=ssrc:1004 cname:cname\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			offer := replace(t, fixture(t, obs), ssrc, layers+sources)
			b := newBench(t, Config{})
			_, text := b.mustPost("/whip/room", offer)
			for _, line := range []string{
				"a=extmap:2 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n",
				"a=rid:0 recv\r\na=rid:1 recv\r\na=rid:2 recv\r\na=simulcast:recv 0;1;2\r\n",
			} {
				if !strings.Contains(text, line) {
					t.Errorf("the answer has no %q:\n%s", line, text)
				}
			}
			var rids []string
			for _, e := range b.engine.lastPeer().Tracks[1].Encodings {
				rids = append(rids, e.RID)
			}
			if !slices.Equal(rids, []string{"0", "1", "2"}) {
				t.Errorf("the layers are %q", rids)
			}
			checkAnswer(t, offer, text, b.engine.lastPeer().Tracks)
		})
	}
}

// TestAnswerWhole pins one whole answer to the byte.
func TestAnswerWhole(t *testing.T) {
	o, err := parseOffer([]byte(fixture(t, obs)), Limits{}.withDefaults(), nil)
	if err != nil {
		t.Fatal(err)
	}
	tracks, err := o.forPublisher()
	if err != nil {
		t.Fatal(err)
	}
	answer, err := o.answer(api.Publisher, "room", api.Local{
		ICE:         api.Credentials{Ufrag: "uuuu", Password: "pppppppppppppppppppppp"},
		Fingerprint: api.Fingerprint{Algorithm: "sha-256", Value: "00:11"},
		Candidates:  []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::1]:443")},
		Tracks:      tracks,
	}, 42)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.ReplaceAll(`v=0
o=- 42 1 IN IP4 127.0.0.1
s=-
t=0 0
a=ice-lite
a=ice-options:ice2
a=group:BUNDLE 0 1
m=audio 443 UDP/TLS/RTP/SAVPF 111
c=IN IP6 2001:db8::1
a=mid:0
a=recvonly
a=ice-ufrag:uuuu
a=ice-pwd:pppppppppppppppppppppp
a=fingerprint:sha-256 00:11
a=setup:passive
a=candidate:1 1 udp 2130706431 2001:db8::1 443 typ host
a=end-of-candidates
a=rtcp-mux
a=rtpmap:111 opus/48000/2
a=fmtp:111 minptime=10;maxaveragebitrate=96000;stereo=1;sprop-stereo=1;useinbandfec=1
m=video 443 UDP/TLS/RTP/SAVPF 96
c=IN IP6 2001:db8::1
a=mid:1
a=recvonly
a=ice-ufrag:uuuu
a=ice-pwd:pppppppppppppppppppppp
a=fingerprint:sha-256 00:11
a=setup:passive
a=rtcp-mux
a=rtpmap:96 H264/90000
a=rtcp-fb:96 nack
a=rtcp-fb:96 nack pli
a=fmtp:96 profile-level-id=42e01f;packetization-mode=1;level-asymmetry-allowed=1
`, "\n", "\r\n")
	if string(answer) != want {
		t.Errorf("got\n%s\nwant\n%s", answer, want)
	}
}

func TestAnswerVariants(t *testing.T) {
	tests := []struct {
		name     string
		offer    func(t *testing.T) string
		has, not []string
	}{
		{"setup passive is answered active", func(t *testing.T) string {
			return replace(t, fixture(t, obs), "setup:actpass", "setup:passive")
		}, []string{"a=setup:active\r\n"}, []string{"a=setup:passive"}},
		{"setup active is answered passive", func(t *testing.T) string {
			return replace(t, fixture(t, obs), "setup:actpass", "setup:active")
		}, []string{"a=setup:passive\r\n"}, []string{"a=setup:active"}},
		{"a disabled line stays disabled", func(t *testing.T) string {
			text := replace(t, fixture(t, obs), "BUNDLE 0 1", "BUNDLE 1")
			return replace(t, text, "m=audio 49660", "m=audio 0")
		}, []string{
			"a=group:BUNDLE 1\r\n",
			"m=audio 0 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=inactive\r\nm=video 8189",
			"192.0.2.1 8189 typ host\r\n",
		}, nil},
		{"a disabled data channel is no obstacle", func(t *testing.T) string {
			return fixture(t, obs) +
				"m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:data\r\n"
		}, []string{
			"m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:data\r\na=inactive\r\n",
		}, nil},
		{"the group's order stays", func(t *testing.T) string {
			return replace(t, fixture(t, obs), "BUNDLE 0 1", "BUNDLE 1 0")
		}, []string{"a=group:BUNDLE 1 0\r\n", "a=mid:1\r\na=recvonly\r\n" +
			"a=ice-ufrag:LocalUfrag\r\na=ice-pwd:LocalPasswordLocalPassword\r\n" +
			"a=fingerprint:sha-256 " + localFingerprint + "\r\na=setup:passive\r\na=candidate:1 "}, nil},
		{"one line without group or mid", func(t *testing.T) string {
			text, _, _ := strings.Cut(fixture(t, obs), "m=video")
			return replace(t, replace(t, text, "a=group:BUNDLE 0 1\r\n", ""), "a=mid:0\r\n", "")
		}, []string{"m=audio 8189"}, []string{"a=group", "a=mid"}},
		{"capitals stay", func(t *testing.T) string {
			return replace(t, fixture(t, obs), "opus/48000/2", "OPUS/48000/2")
		}, []string{"a=rtpmap:111 OPUS/48000/2\r\n"}, nil},
		{"feedback for all", func(t *testing.T) string {
			return replace(t, fixture(t, obs), "a=rtcp-fb:96 nack pli", "a=rtcp-fb:* nack pli")
		}, []string{"a=rtcp-fb:96 nack\r\n", "a=rtcp-fb:96 nack pli\r\n"}, []string{"rtcp-fb:111"}},
		{
			"no limit of the browser's decoder", func(t *testing.T) string { return fixture(t, firefoxTX) }, nil,
			[]string{"max-fs", "max-fr"},
		},
		{"alternative and paused layers", func(t *testing.T) string {
			return replace(t, fixture(t, chromiumTX+"-simulcast"), "send h;m;l", "send h,m;~l;x")
		}, []string{"a=rid:h recv\r\na=rid:l recv\r\na=simulcast:recv h;l\r\n"}, []string{"rid:m"}},
		{"simulcast without RIDs on the wire", func(t *testing.T) string {
			return replace(t, fixture(t, chromiumTX+"-simulcast"), "a=extmap:10 ", "a=extmap:10/recvonly ")
		}, nil, []string{"a=rid", "a=simulcast", "extmap:10"}},
		{"no numbers without feedback", func(t *testing.T) string {
			return replace(t, fixture(t, chromiumTX), "transport-cc\r\n", "x-transport\r\n")
		}, nil, []string{"transport-wide-cc", "transport-cc"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, Config{})
			offer := tt.offer(t)
			_, answer := b.mustPost("/whip/room", offer)
			checkAnswer(t, offer, answer, b.engine.lastPeer().Tracks)
			for _, part := range tt.has {
				if !strings.Contains(answer, part) {
					t.Errorf("the answer lacks %q:\n%s", part, answer)
				}
			}
			for _, part := range tt.not {
				if strings.Contains(answer, part) {
					t.Errorf("the answer has %q:\n%s", part, answer)
				}
			}
		})
	}
}

func TestAnswerCandidates(t *testing.T) {
	for _, tt := range []struct {
		name       string
		candidates []netip.AddrPort
		line       string
	}{
		{"none", nil, "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\n"},
		{
			"unusable",
			[]netip.AddrPort{{}, netip.MustParseAddrPort("0.0.0.0:5")},
			"m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\n",
		},
		{
			"mapped",
			[]netip.AddrPort{netip.MustParseAddrPort("[::ffff:192.0.2.7]:5")},
			"m=audio 5 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 192.0.2.7\r\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, Config{})
			b.engine.candidates = tt.candidates
			if _, answer := b.mustPost("/whip/room", fixture(t, obs)); !strings.Contains(answer, tt.line) {
				t.Errorf("the answer lacks %q:\n%s", tt.line, answer)
			}
		})
	}
	last := hostPriority(0)
	for i := 1; i < 70000; i++ {
		if p := hostPriority(i); p > last || p == last && i < 65535 {
			t.Fatalf("priority %d of candidate %d is not below %d", p, i, last)
		} else {
			last = p
		}
	}
}

// A publisher with a limit is asked for it, in the place that RFC 8866 section 9 gives it: after c=. Sound has none.
func TestAnswerBandwidth(t *testing.T) {
	b := newBench(t, Config{})
	b.engine.bitrate = 1_500_000
	_, answer := b.mustPost("/whip/room", fixture(t, obs))
	if want := " 96\r\nc=IN IP4 192.0.2.1\r\nb=TIAS:1500000\r\nb=AS:1500\r\na="; !strings.Contains(answer, want) {
		t.Errorf("the answer lacks %q:\n%s", want, answer)
	}
	if n := strings.Count(answer, "b="); n != 2 {
		t.Errorf("%d lines of bandwidth, want those of the video:\n%s", n, answer)
	}
}

func TestStreamIdentifier(t *testing.T) {
	long := strings.Repeat("x", 65)
	for name, want := range map[string]string{"room": "room", "-": "_", "--": "--", long: long[:64]} {
		if got := streamIdentifier(name); got != want {
			t.Errorf("streamIdentifier(%q) = %q, want %q", name, got, want)
		}
	}
}

// Parameter sets that an offer announces reach the engine of a publisher's, and no answer repeats them.
func TestAnnouncedSets(t *testing.T) {
	const (
		fmtp    = "a=fmtp:96 profile-level-id=42e01f;packetization-mode=1;level-asymmetry-allowed=1\r\n"
		h264    = "a=fmtp:96 packetization-mode=1; sprop-parameter-sets="
		sets    = "Z0LACtoQmwEQAAADABAAAAMBSPEiag==,aM4DnIA="
		decoded = "\x00\x16\x67\x42\xc0\x0a\xda\x10\x9b\x01\x10\x00\x00\x03\x00\x10\x00\x00\x03\x01\x48\xf1\x22\x6a" +
			"\x00\x05\x68\xce\x03\x9c\x80"
		vps = "\x00\x04\x40\x01\x0c\x01"
		sps = "\x00\x04\x42\x01\x01\x01"
		pps = "\x00\x03\x44\x01\xc1"
	)
	long := strings.Repeat("Z0LA", rtp.MaxSetsPayload/2)
	for _, tt := range []struct{ name, codec, parameters, want string }{
		{"none", "H264", fmtp, ""},
		{"H.264", "H264", h264 + sets + "; profile-level-id=42C00A\r\n", decoded},
		{"without padding", "H264", h264 + strings.ReplaceAll(sets, "=", "") + "\r\n", decoded},
		{"a comma too many", "H264", h264 + "," + sets + ",\r\n", decoded},
		{"one is no base64", "H264", h264 + "?," + sets + "\r\n", decoded},
		{"too many", "H264", h264 + long + "\r\n", ""},
		{"H.265", "H265", "a=fmtp:96 sprop-sps=QgEBAQ==;sprop-pps=RAHB;sprop-vps=QAEMAQ==\r\n", vps + sps + pps},
		{"H.265's of H.264", "H264", "a=fmtp:96 packetization-mode=1;sprop-vps=QAEMAQ==\r\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, Config{})
			offer := replace(t, replace(t, fixture(t, obs), fmtp, tt.parameters), "H264/90000", tt.codec+"/90000")
			_, answer := b.mustPost("/whip/room", offer)
			format := func() rtp.Format { return b.engine.lastPeer().Tracks[1].Formats[0] }
			if got := format().Sets; got != tt.want {
				t.Errorf("the engine was told %x; expected %x", got, tt.want)
			}
			checkAnswer(t, offer, answer, b.engine.lastPeer().Tracks)
			_, watching := b.mustPost("/whep/room", replace(t, offer, "a=sendonly", "a=sendrecv"))
			if got := format().Sets; got != "" {
				t.Errorf("of a viewer the engine was told %x; expected nothing", got)
			}
			for _, text := range []string{answer, watching} {
				if strings.Contains(text, "sprop-parameter-sets") || strings.Contains(text, "sprop-v") ||
					strings.Contains(text, "sprop-p") {
					t.Errorf("an answer repeats parameter sets:\n%s", text)
				}
			}
		})
	}
}
