package signaling

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/rtp"
)

// gstreamer is an offer as webrtcbin writes it: sendrecv, mids and encodings of its own, a long ufrag.
const gstreamer = `v=0
o=- 8054271136843317441 0 IN IP4 0.0.0.0
s=-
t=0 0
a=ice-options:trickle
a=group:BUNDLE video0 audio1
m=video 9 UDP/TLS/RTP/SAVPF 96
c=IN IP4 0.0.0.0
a=setup:actpass
a=ice-ufrag:Yd2hpPnMpvXrPPkAjF0sZ1kkGjDqqhbV
a=ice-pwd:k0zrbSOcpfDGJHYKV7iQRvKYrtDuFGO3
a=rtcp-mux
a=rtcp-rsize
a=sendrecv
a=rtpmap:96 VP8/90000
a=rtcp-fb:96 nack
a=rtcp-fb:96 nack pli
a=framerate:30
a=ssrc:1763105218 msid:user3344942761@host-17c5a5b7 webrtctransceiver0
a=ssrc:1763105218 cname:user3344942761@host-17c5a5b7
a=mid:video0
a=fingerprint:sha-256 0B:1E:3A:0B:6A:14:7A:0C:61:5E:6C:7B:0C:5A:9B:5F:2B:7E:86:6D:0C:8A:56:5F:6F:BD:8C:EE:C4:9C:24:A2
m=audio 0 UDP/TLS/RTP/SAVPF 97
c=IN IP4 0.0.0.0
a=setup:actpass
a=ice-ufrag:Yd2hpPnMpvXrPPkAjF0sZ1kkGjDqqhbV
a=ice-pwd:k0zrbSOcpfDGJHYKV7iQRvKYrtDuFGO3
a=bundle-only
a=rtcp-mux
a=rtcp-rsize
a=sendrecv
a=rtpmap:97 OPUS/48000/2
a=ssrc:3027316291 msid:user3344942761@host-17c5a5b7 webrtctransceiver1
a=ssrc:3027316291 cname:user3344942761@host-17c5a5b7
a=mid:audio1
a=fingerprint:sha-256 0B:1E:3A:0B:6A:14:7A:0C:61:5E:6C:7B:0C:5A:9B:5F:2B:7E:86:6D:0C:8A:56:5F:6F:BD:8C:EE:C4:9C:24:A2
`

// ffmpeg is an offer as the WHIP muxer writes it: it waits for our ClientHello.
const ffmpeg = `v=0
o=FFmpeg 4489045141692799359 2 IN IP4 127.0.0.1
s=FFmpegPublishSession
t=0 0
a=group:BUNDLE 0 1
a=extmap-allow-mixed
a=msid-semantic: WMS
m=audio 9 UDP/TLS/RTP/SAVPF 111
c=IN IP4 0.0.0.0
a=ice-ufrag:8a2bf6f3
a=ice-pwd:d1b3a1b2c9c14a4a5f23b0ef4c9ba5cd
a=fingerprint:sha-256 79:2A:60:A5:04:5B:6A:37:7D:61:00:3A:9C:8A:4E:BB:3E:FB:3F:5A:93:8D:7C:57:70:45:9F:58:01:0A:33:C1
a=setup:passive
a=mid:0
a=sendonly
a=msid:FFmpeg audio
a=rtcp-mux
a=rtpmap:111 opus/48000/2
a=ssrc:2123968519 cname:FFmpeg
a=ssrc:2123968519 msid:FFmpeg audio
m=video 9 UDP/TLS/RTP/SAVPF 106
c=IN IP4 0.0.0.0
a=ice-ufrag:8a2bf6f3
a=ice-pwd:d1b3a1b2c9c14a4a5f23b0ef4c9ba5cd
a=fingerprint:sha-256 79:2A:60:A5:04:5B:6A:37:7D:61:00:3A:9C:8A:4E:BB:3E:FB:3F:5A:93:8D:7C:57:70:45:9F:58:01:0A:33:C1
a=setup:passive
a=mid:1
a=sendonly
a=msid:FFmpeg video
a=rtcp-mux
a=rtcp-rsize
a=rtpmap:106 H264/90000
a=fmtp:106 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f
a=ssrc:3421098765 cname:FFmpeg
a=ssrc:3421098765 msid:FFmpeg video
`

// TestHabits publishes in the ways of clients that have broken servers, and checks the engine's tracks and the client's
// answer.
func TestHabits(t *testing.T) {
	crlf := func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }
	for _, tt := range []struct {
		name  string
		offer func(t *testing.T) string
		has   []string
		not   []string
		check func(t *testing.T, p api.Offer)
	}{
		{
			"everything at session level",
			func(t *testing.T) string {
				text := fixture(t, obs)
				for _, line := range []string{
					"a=sendonly", "a=setup:actpass", "a=ice-ufrag:6QoC", "a=ice-pwd:a/xjTGpl7+EXDSOTILGgCn",
					"a=rtcp-mux",
				} {
					text = replace(t, text, line+"\r\n", "")
					text = replace(t, text, "t=0 0\r\n", "t=0 0\r\n"+line+"\r\n")
				}
				return text
			},
			[]string{"a=recvonly\r\na=ice-ufrag:LocalUfrag\r\n", "a=setup:passive\r\n"},
			[]string{"a=sendonly"},
			func(t *testing.T, p api.Offer) {
				if p.ICE != (api.Credentials{Ufrag: "6QoC", Password: "a/xjTGpl7+EXDSOTILGgCn"}) ||
					len(p.Fingerprints) != 1 || p.Passive {
					t.Errorf("peer %+v", p)
				}
			},
		},
		{
			"Firefox: sendrecv for the session, sendonly for the lines",
			func(t *testing.T) string { return fixture(t, firefoxTX) },
			[]string{"a=mid:0\r\na=recvonly\r\n", "a=mid:1\r\na=recvonly\r\n"},
			[]string{"a=sendrecv", "a=sendonly", "a=ice-options:trickle"},
			func(t *testing.T, p api.Offer) {
				if len(p.Fingerprints) != 1 || !strings.HasPrefix(p.Fingerprints[0].Value, "F3:02:90") {
					t.Errorf("fingerprints %+v", p.Fingerprints)
				}
			},
		},
		{
			"bundle-only on port 0",
			func(t *testing.T) string {
				return replace(t, fixture(t, obs), "m=video 49660 UDP/TLS/RTP/SAVPF 96\r\n",
					"m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=bundle-only\r\n")
			},
			[]string{"a=group:BUNDLE 0 1\r\n", "m=video 8189 UDP/TLS/RTP/SAVPF 96\r\n"},
			[]string{"m=video 0", "a=inactive", "bundle-only"},
			func(t *testing.T, p api.Offer) {
				if len(p.Tracks) != 2 {
					t.Errorf("tracks %+v", p.Tracks)
				}
			},
		},
		{
			"bundle-only on port 0, with the transport only on the first line",
			func(t *testing.T) string {
				audio, video, _ := strings.Cut(fixture(t, obs), "m=video 49660 UDP/TLS/RTP/SAVPF 96\r\n")
				video = replace(t, video, "a=setup:actpass\r\na=ice-ufrag:6QoC\r\na=ice-pwd:a/xjTGpl7+EXDSOTILGgCn\r\n",
					"")
				return audio + "m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=bundle-only\r\n" + video
			},
			[]string{"m=video 8189 UDP/TLS/RTP/SAVPF 96\r\n"},
			nil,
			func(t *testing.T, p api.Offer) {
				if p.ICE.Ufrag != "6QoC" {
					t.Errorf("credentials %+v", p.ICE)
				}
			},
		},
		{
			"another ufrag on each line",
			func(t *testing.T) string {
				audio, video, _ := strings.Cut(fixture(t, obs), "m=video")
				return audio + "m=video" + replace(t, video, "6QoC", "Othr")
			},
			[]string{"a=ice-ufrag:LocalUfrag\r\n"},
			[]string{"6QoC", "Othr"},
			func(t *testing.T, p api.Offer) {
				if p.ICE.Ufrag != "6QoC" {
					t.Errorf("credentials %+v, want those of the tagged line", p.ICE)
				}
			},
		},
		{
			"no candidates yet",
			func(t *testing.T) string {
				text := fixture(t, chromiumTX+"-nogather")
				if strings.Contains(text, "a=candidate") {
					t.Fatal("the fixture has candidates")
				}
				return text
			},
			[]string{"a=candidate:1 1 udp 2130706431 192.0.2.1 8189 typ host\r\n", "a=end-of-candidates\r\n"},
			nil, nil,
		},
		{
			"FFmpeg: setup:passive",
			func(*testing.T) string { return crlf(ffmpeg) },
			[]string{"a=setup:active\r\n", "m=audio 8189 UDP/TLS/RTP/SAVPF 111\r\n", "a=extmap-allow-mixed\r\n"},
			[]string{"a=setup:passive", "a=extmap:", "\r\na=crypto"},
			func(t *testing.T, p api.Offer) {
				if !p.Passive || p.Tracks[1].Encodings[0] != (rtp.Encoding{SSRC: 3421098765}) {
					t.Errorf("peer %+v", p)
				}
			},
		},
		{
			"OBS: tracks told apart by SSRC only",
			func(t *testing.T) string { return fixture(t, obs) },
			nil,
			[]string{"a=extmap", "rtx", "transport-cc", "a=ssrc"},
			func(t *testing.T, p api.Offer) {
				for i, want := range []uint32{1001, 1002} {
					tr := p.Tracks[i]
					if !slices.Equal(tr.Encodings, []rtp.Encoding{{SSRC: want}}) ||
						tr.Extensions != (rtp.ExtensionMap{}) {
						t.Errorf("track %+v, want SSRC %d and no extensions", tr, want)
					}
				}
			},
		},
		{
			"GStreamer: sendrecv, mids of its own, OPUS, a ufrag of 32 characters",
			func(*testing.T) string { return crlf(gstreamer) },
			[]string{
				"a=group:BUNDLE video0 audio1\r\n", "a=mid:video0\r\na=recvonly\r\n", "a=mid:audio1\r\na=recvonly\r\n",
				"a=rtpmap:97 OPUS/48000/2\r\n", "m=audio 8189 ",
			},
			[]string{"m=audio 0"},
			func(t *testing.T, p api.Offer) {
				if p.ICE.Ufrag != "Yd2hpPnMpvXrPPkAjF0sZ1kkGjDqqhbV" || p.Tracks[0].MID != "video0" ||
					p.Tracks[1].Formats[0] != (rtp.Format{PayloadType: 97, Codec: rtp.Opus}) {
					t.Errorf("peer %+v", p)
				}
			},
		},
		{
			"codecs in other letter case",
			func(t *testing.T) string {
				return replace(t, replace(t, fixture(t, obs), "opus/48000/2", "OPUS/48000/2"), "H264/90000",
					"h264/90000")
			},
			[]string{"a=rtpmap:111 OPUS/48000/2\r\n", "a=rtpmap:96 h264/90000\r\n"},
			nil,
			func(t *testing.T, p api.Offer) {
				if p.Tracks[0].Formats[0].Codec != rtp.Opus || p.Tracks[1].Formats[0].Codec != rtp.H264 {
					t.Errorf("tracks %+v", p.Tracks)
				}
			},
		},
		{
			// Their SRTP profile shows in DTLS only, so there is nothing that could be refused here.
			"clients of AES128_CM_SHA1_80 only",
			func(t *testing.T) string {
				return replace(t, fixture(t, obs), "a=setup:actpass\r\n", "a=setup:active\r\n")
			},
			[]string{"a=setup:passive\r\n"},
			[]string{"a=crypto", "AES"},
			nil,
		},
		{
			"bare newlines",
			func(t *testing.T) string { return strings.ReplaceAll(fixture(t, obs), "\r\n", "\n") },
			[]string{"a=mid:1\r\na=recvonly\r\n"},
			nil, nil,
		},
		{
			"no MediaStream",
			func(t *testing.T) string {
				return replace(t, replace(t, fixture(t, obs), "a=msid:obs obs-audio", "a=msid:- obs-audio"),
					"a=msid:obs obs-video\r\n", "")
			},
			[]string{"m=video 8189"},
			nil, nil,
		},
		{
			"a track in two MediaStreams is watched without either",
			func(t *testing.T) string {
				// On the way out the peer's streams matter to nobody.
				return replace(t, fixture(t, chromiumRX), "a=recvonly\r\n",
					"a=sendrecv\r\na=msid:a x\r\na=msid:b x\r\n")
			},
			[]string{"a=sendonly\r\na=ice-ufrag"},
			nil, nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, Config{})
			url := "/whip/room"
			offer := tt.offer(t)
			if strings.Contains(offer, "a=msid:b x") {
				b.mustPost(url, fixture(t, chromiumTX))
				url = "/whep/room"
			}
			location, answer := b.mustPost(url, offer)
			if !regexp.MustCompile(`^/[a-z]+/room/[A-Za-z0-9_-]+$`).MatchString(location) {
				t.Errorf("Location %q", location)
			}
			peer := b.engine.lastPeer()
			checkAnswer(t, offer, answer, peer.Tracks)
			if len(answer) > 8192 { // FFmpeg reads no more
				t.Errorf("the answer has %d bytes", len(answer))
			}
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
			if tt.check != nil {
				tt.check(t, peer)
			}
		})
	}
}
