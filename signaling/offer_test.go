package signaling

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/rtp"
)

// TestPeer checks the engine's description of the peers of the captured offers.
func TestPeer(t *testing.T) {
	const allFeedback = rtp.NACK | rtp.PLI | rtp.FIR | rtp.TransportCC
	tests := []struct {
		offer       string
		ice         api.Credentials
		fingerprint string // how it begins
		formats     []rtp.Format
		audio       rtp.Encoding
		video       []rtp.Encoding
	}{
		{
			obs,
			api.Credentials{Ufrag: "6QoC", Password: "a/xjTGpl7+EXDSOTILGgCn"},
			"E9:BF:C4",
			[]rtp.Format{
				{PayloadType: 111, Codec: rtp.Opus},
				{PayloadType: 96, Codec: rtp.H264, Profile: "42e0/1", Feedback: rtp.NACK | rtp.PLI},
			},
			rtp.Encoding{SSRC: 1001},
			[]rtp.Encoding{{SSRC: 1002}},
		},
		{
			chromiumTX + "-simulcast",
			api.Credentials{Ufrag: "AbrH", Password: "cqmvum2mn4ybnMcMD1Ix2sIR"},
			"BE:1B:E2",
			[]rtp.Format{
				{PayloadType: 111, Codec: rtp.Opus, Feedback: rtp.TransportCC},
				{PayloadType: 96, RTX: 97, Codec: rtp.VP8, Feedback: allFeedback},
				{PayloadType: 102, RTX: 103, Codec: rtp.H264, Profile: "4200/1", Feedback: allFeedback},
				{PayloadType: 104, RTX: 107, Codec: rtp.H264, Profile: "4200/0", Feedback: allFeedback},
				{PayloadType: 108, RTX: 109, Codec: rtp.H264, Profile: "42e0/1", Feedback: allFeedback},
				{PayloadType: 114, RTX: 115, Codec: rtp.H264, Profile: "42e0/0", Feedback: allFeedback},
				{PayloadType: 116, RTX: 117, Codec: rtp.H264, Profile: "4d00/1", Feedback: allFeedback},
				{PayloadType: 39, RTX: 40, Codec: rtp.H264, Profile: "4d00/0", Feedback: allFeedback},
				{PayloadType: 45, RTX: 46, Codec: rtp.AV1, Profile: "0", Feedback: allFeedback},
				{PayloadType: 98, RTX: 99, Codec: rtp.VP9, Profile: "0", Feedback: allFeedback},
				{PayloadType: 100, RTX: 101, Codec: rtp.VP9, Profile: "2", Feedback: allFeedback},
			},
			rtp.Encoding{SSRC: 1985043225},
			[]rtp.Encoding{{RID: "h"}, {RID: "m"}, {RID: "l"}},
		},
		{
			firefoxTX,
			api.Credentials{Ufrag: "572c9e28", Password: "eafce7b785c0f5d3ba39aebff8028644"},
			"F3:02:90",
			[]rtp.Format{
				{PayloadType: 109, Codec: rtp.Opus, Feedback: rtp.TransportCC},
				{PayloadType: 120, RTX: 124, Codec: rtp.VP8, Feedback: allFeedback},
				{PayloadType: 121, RTX: 125, Codec: rtp.VP9, Profile: "0", Feedback: allFeedback},
				{PayloadType: 99, RTX: 100, Codec: rtp.AV1, Profile: "0", Feedback: allFeedback},
			},
			rtp.Encoding{SSRC: 2438560833},
			[]rtp.Encoding{{SSRC: 1547406444, RTXSSRC: 3123810719}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.offer, func(t *testing.T) {
			b := newBench(t, Config{})
			b.mustPost("/whip/room", fixture(t, tt.offer))
			p := b.engine.lastPeer()
			if p.ICE != tt.ice {
				t.Errorf("credentials %+v, want %+v", p.ICE, tt.ice)
			}
			if len(p.Fingerprints) != 1 || p.Fingerprints[0].Algorithm != "sha-256" ||
				!strings.HasPrefix(p.Fingerprints[0].Value, tt.fingerprint) {
				t.Errorf("fingerprints %+v, want %s…", p.Fingerprints, tt.fingerprint)
			}
			if p.Passive {
				t.Error("the peer is said to be passive")
			}
			if len(p.Tracks) != 2 || p.Tracks[0].Kind != rtp.Audio || p.Tracks[1].Kind != rtp.Video {
				t.Fatalf("tracks %+v, want audio and video", p.Tracks)
			}
			if got := slices.Concat(p.Tracks[0].Formats, p.Tracks[1].Formats); !slices.Equal(got, tt.formats) {
				t.Errorf("formats\n     %+v\nwant %+v", got, tt.formats)
			}
			if !slices.Equal(p.Tracks[0].Encodings, []rtp.Encoding{tt.audio}) ||
				!slices.Equal(p.Tracks[1].Encodings, tt.video) {
				t.Errorf("encodings %+v and %+v, want %+v and %+v", p.Tracks[0].Encodings, p.Tracks[1].Encodings,
					tt.audio, tt.video)
			}
		})
	}
}

// peerOf returns the engine's description of a publisher whose offer is OBS's, edited.
func peerOf(t *testing.T, edit ...string) api.Offer {
	t.Helper()
	text := fixture(t, obs)
	for i := 0; i < len(edit); i += 2 {
		text = replace(t, text, edit[i], edit[i+1])
	}
	b := newBench(t, Config{})
	b.mustPost("/whip/room", text)
	return b.engine.lastPeer()
}

func TestPeerVariants(t *testing.T) {
	videoICE := "a=setup:actpass\r\na=ice-ufrag:6QoC\r\na=ice-pwd:a/xjTGpl7+EXDSOTILGgCn\r\n"
	t.Run("the tagged line's ufrag", func(t *testing.T) {
		_, video, _ := strings.Cut(fixture(t, obs), "m=video")
		other := replace(t, video, "6QoC", "Othr")
		p := peerOf(t, "m=video"+video, "m=video"+other)
		if p.ICE.Ufrag != "6QoC" {
			t.Errorf("ufrag %q, want that of the first line of the group", p.ICE.Ufrag)
		}
		p = peerOf(t, "m=video"+video, "m=video"+other, "BUNDLE 0 1", "BUNDLE 1 0")
		if p.ICE.Ufrag != "Othr" {
			t.Errorf("ufrag %q, want that of the first line of the group", p.ICE.Ufrag)
		}
	})
	t.Run("for the session", func(t *testing.T) {
		p := peerOf(t, videoICE, "", "a=end-of-candidates\r\n", "", "t=0 0\r\n",
			"t=0 0\r\na=ice-ufrag:sess\r\na=ice-pwd:0123456789012345678901\r\na=setup:passive\r\n")
		if p.ICE.Ufrag != "sess" && p.ICE.Ufrag != "6QoC" || len(p.Fingerprints) != 1 {
			t.Errorf("peer %+v", p)
		}
	})
	t.Run("compound RTCP", func(t *testing.T) {
		both := replace(t, fixture(t, obs), "a=rtcp-mux\r\n", "a=rtcp-mux\r\na=rtcp-rsize\r\n")
		one := strings.Replace(both, "a=rtcp-rsize\r\n", "", 1)
		for i, text := range []string{both, one, fixture(t, obs)} {
			b := newBench(t, Config{})
			b.mustPost("/whip/room", text)
			if got := b.engine.lastPeer().CompoundRTCP; got != (i > 0) {
				t.Errorf("a=rtcp-rsize on %d lines of 2: compound RTCP %v, want %v", 2-i, got, i > 0)
			}
		}
	})
	t.Run("setup passive", func(t *testing.T) {
		if p := peerOf(t, "actpass", "passive"); !p.Passive {
			t.Error("the peer is not said to be passive")
		}
	})
	t.Run("fingerprints", func(t *testing.T) {
		p := peerOf(t, "a=fingerprint:sha-256 E9", "a=fingerprint:md5 00:11\r\na=fingerprint:SHA-256 e9")
		want := []api.Fingerprint{{
			Algorithm: "sha-256",
			Value: "E9:BF:C4:E9:A5:D7:9B:09:DD:70:A3:DF:26:40:A4:71:" +
				"17:56:69:F8:87:37:F2:31:3C:8F:91:4B:14:AF:69:F8",
		}}
		if !reflect.DeepEqual(p.Fingerprints, want) {
			t.Errorf("fingerprints %+v, want %+v", p.Fingerprints, want)
		}
	})
}

func TestTrackVariants(t *testing.T) {
	t.Run("neither SSRC nor RID", func(t *testing.T) {
		p := peerOf(t, "a=ssrc:1001", "a=x:1001", "a=ssrc:1002", "a=x:1002")
		if !slices.Equal(p.Tracks[0].Encodings, []rtp.Encoding{{}}) ||
			!slices.Equal(p.Tracks[1].Encodings, []rtp.Encoding{{}}) {
			t.Errorf("tracks %+v, want one empty encoding each", p.Tracks)
		}
	})
	t.Run("extensions of the session", func(t *testing.T) {
		p := peerOf(
			t, "t=0 0\r\n",
			"t=0 0\r\na=extmap:4"+midURI+"\r\na=extmap:5000"+ridURI+"\r\na=extmap:15"+levelURI+
				"\r\na=extmap:7/recvonly"+rotationURI+"\r\n",
		)
		want := rtp.ExtensionMap{rtp.MID: 4}
		if p.Tracks[0].Extensions != want || p.Tracks[1].Extensions != want {
			t.Errorf("extensions %v and %v, want %v", p.Tracks[0].Extensions, p.Tracks[1].Extensions, want)
		}
	})
	t.Run("a RTX source without RTX", func(t *testing.T) {
		p := peerOf(t, "a=ssrc:1002 cname:cname", "a=ssrc:1002 cname:cname\r\na=ssrc-group:FID 1002 1003")
		if !slices.Equal(p.Tracks[1].Encodings, []rtp.Encoding{{SSRC: 1002}}) {
			t.Errorf("encodings %+v", p.Tracks[1].Encodings)
		}
	})
	t.Run("credentials are kept once", func(t *testing.T) {
		o, err := parseOffer([]byte(fixture(t, obs)), Limits{}.withDefaults(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if o.ice != o.credentials[0] || len(o.credentials) != 1 {
			t.Errorf("credentials %+v, want one pair shared by both lines", o.credentials)
		}
	})
}

func TestOfferRefused(t *testing.T) {
	const bad, no = http.StatusBadRequest, http.StatusUnprocessableEntity
	edit := func(pairs ...string) func(*testing.T) string {
		return func(t *testing.T) string {
			text := fixture(t, obs)
			for i := 0; i < len(pairs); i += 2 {
				text = replace(t, text, pairs[i], pairs[i+1])
			}
			return text
		}
	}
	text := func(s string) func(*testing.T) string { return func(*testing.T) string { return s } }
	var nineRIDs string
	for i := 1; i <= 9; i++ {
		nineRIDs += fmt.Sprintf("a=rid:%d send\r\n", i)
	}
	tests := []struct {
		name   string
		offer  func(*testing.T) string
		status int
		names  string // text that the detail must have
	}{
		{"empty", text(""), bad, "empty"},
		{"prose", text("hello"), bad, "not a session description"},
		{"no media", text("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"), bad, "no media line"},
		{"version only", text("v=0"), bad, "no media line"},
		{"not UTF-8", text("v=0\r\ns=\xff\r\n"), bad, "UTF-8"},
		{"a NUL", edit("a=mid:0", "a=mid:0\x00"), bad, "control"},
		{"a bare CR", edit("a=mid:0", "a=mid:0\ra=x"), bad, "control"},
		{
			"data channel",
			edit("m=audio 49660 UDP/TLS/RTP/SAVPF 111", "m=application 9 UDP/DTLS/SCTP webrtc-datachannel"), no,
			"m=application",
		},
		{"plain RTP", edit("UDP/TLS/RTP/SAVPF", "RTP/AVP"), no, "RTP/AVP"},
		{
			"two videos", edit("m=audio 49660 UDP/TLS/RTP/SAVPF 111", "m=video 9 UDP/TLS/RTP/SAVPF 111"), no,
			"more than one video",
		},
		{"no bundle", edit("a=group:BUNDLE 0 1\r\n", ""), no, "BUNDLE"},
		{"half a bundle", edit("BUNDLE 0 1", "BUNDLE 0"), no, "BUNDLE"},
		{"no rtcp-mux", edit("a=rtcp-mux\r\n", ""), no, "rtcp-mux"},
		{"all disabled", edit(" 49660 UDP/", " 0 UDP/", "a=group:BUNDLE 0 1\r\n", ""), no, "disabled"},
		{"recvonly", edit("a=sendonly", "a=recvonly"), no, "recvonly"},
		{"inactive", edit("a=sendonly", "a=inactive"), no, "inactive"},
		{"no ufrag", edit("a=ice-ufrag:6QoC\r\n", ""), bad, "ice-ufrag"},
		{"short ufrag", edit("6QoC", "6Qo"), bad, "ice-ufrag"},
		{"long ufrag", edit("6QoC", strings.Repeat("u", 257)), bad, "ice-ufrag"},
		{"ufrag with a space", edit("6QoC", "6Q oC"), bad, "ice-ufrag"},
		{"no password", edit("a=ice-pwd:a/xjTGpl7+EXDSOTILGgCn\r\n", ""), bad, "ice-pwd"},
		{"short password", edit("a/xjTGpl7+EXDSOTILGgCn", "a/xjTGpl7+EXDSOTILGgC"), bad, "ice-pwd"},
		{"no fingerprint", edit("a=fingerprint:", "a=x:"), bad, "fingerprint"},
		{"SHA-1", edit("fingerprint:sha-256", "fingerprint:sha-1"), no, "sha-256"},
		{"short fingerprint", edit(":AF:69:F8", ":AF:69"), bad, "fingerprint"},
		{"fingerprint without colons", edit(":AF:69:F8", ":AF:69-F8"), bad, "fingerprint"},
		{"fingerprint without a value", edit("a=fingerprint:sha-256 ", "a=fingerprint:"), bad, "fingerprint"},
		{"garbled fingerprint", edit(":AF:69:F8", ":AF:69:FG"), bad, "fingerprint"},
		{"digit-like fingerprint", edit(":AF:69:F8", ":AF:69:\x11\x18"), bad, "control"},
		{
			"many fingerprints",
			edit("a=fingerprint:", strings.Repeat("a=fingerprint:sha-1 0\r\n", 8)+"a=fingerprint:"), bad,
			"fingerprints",
		},
		{"holdconn", edit("setup:actpass", "setup:holdconn"), no, "holdconn"},
		{"setup", edit("setup:actpass", "setup:upset"), bad, "setup"},
		{"mid twice", edit("a=mid:1", "a=mid:0", "BUNDLE 0 1", "BUNDLE 0"), bad, "a=mid:0"},
		{"mid too long", edit("a=mid:1", "a=mid:"+strings.Repeat("1", 33)), bad, "a=mid"},
		{"mid is no token", edit("a=mid:1", "a=mid:1;2"), bad, "a=mid"},
		{"no codec", edit("H264/90000", "theora/90000"), no, "theora"},
		{
			"mono opus", edit("opus/48000/2", "opus/48000/1"), no,
			`m=audio offers opus; expected, for the server, one of opus. Not usable are payload type 111: ` +
				`"opus/48000/1"; expected opus/48000/2, for mono too (RFC 7587 section 7)`,
		},
		{
			"opus without channels", edit("opus/48000/2", "opus/48000"), no,
			`payload type 111: "opus/48000"; expected opus/48000/2`,
		},
		{
			"opus at 44100", edit("opus/48000/2", "opus/44100/2"), no,
			`payload type 111: "opus/44100/2"; expected opus/48000/2`,
		},
		{"H.264 at 48000", edit("H264/90000", "H264/48000"), no, `payload type 96: "H264/48000"; expected H264/90000`},
		{"H.264 without a clock", edit("H264/90000", "H264"), no, `payload type 96: "H264"; expected H264/90000`},
		{
			"interleaved H.264", edit("packetization-mode=1", "packetization-mode=2"), no,
			`H264 has packetization-mode="2"; expected 0 or 1`,
		},
		{
			"short profile", edit("profile-level-id=42e01f", "profile-level-id=42e0"), no,
			`H264 has profile-level-id="42e0"; expected 6 hexadecimal digits, such as 42e01f`,
		},
		{
			"malformed profile", edit("profile-level-id=42e01f", "profile-level-id=0x42e0"), no,
			`H264 has profile-level-id="0x42e0"; expected 6 hexadecimal digits, such as 42e01f`,
		},
		{
			"a profile of VP9", edit("H264/90000", "VP9/90000", "profile-level-id=42e01f", "profile-id=4"), no,
			`payload type 96: profile-id="4"; expected 0 to 3`,
		},
		{
			"H.265 on several transports", edit("H264/90000", "H265/90000", "profile-level-id=42e01f", "tx-mode=MRST"),
			no, `H265 has tx-mode="MRST"; expected SRST`,
		},
		{
			"RTCP's numbers", edit("RTP/SAVPF 96", "RTP/SAVPF 72", ":96 ", ":72 "), no,
			"payload type 72: the number looks like RTCP; expected one below 64 or above 95",
		},
		{
			"video codec on audio", edit("opus/48000/2", "VP8/90000"), no,
			"payload type 111: VP8 stands in m=audio; expected it in m=video",
		},
		{
			"ICE-lite", edit("a=ice-options:ice2,trickle", "a=ice-lite"), no,
			"a=ice-lite: the server is ICE-lite too, so neither would send a check; expected a full ICE agent",
		},
		{"ICE-lite on a line", edit("a=mid:0", "a=mid:0\r\na=ice-lite"), no, "a=ice-lite"},
		{"payload type 128", edit("RTP/SAVPF 96", "RTP/SAVPF 128"), bad, "128"},
		{"payload type with a leading zero", edit("RTP/SAVPF 96", "RTP/SAVPF 096"), bad, "096"},
		{"payload type twice", edit("RTP/SAVPF 96", "RTP/SAVPF 111", ":96 ", ":111 "), bad, "111"},
		{"rtpmap", edit("a=rtpmap:96 H264/90000", "a=rtpmap:x H264/90000"), bad, "rtpmap"},
		{"extmap", edit("a=mid:0", "a=mid:0\r\na=extmap:x y"), bad, "extmap"},
		{"extmap direction", edit("a=mid:0", "a=mid:0\r\na=extmap:1/up y"), bad, "extmap"},
		{"extmap without URI", edit("a=mid:0", "a=mid:0\r\na=extmap:1"), bad, "extmap"},
		{
			"extmap number twice", edit("a=mid:0", "a=mid:0\r\na=extmap:1"+midURI+"\r\na=extmap:1"+ridURI), bad,
			"extmap:1",
		},
		{"SSRC", edit("a=ssrc:1002 cname", "a=ssrc:x cname"), bad, "SSRC"},
		{"SSRC twice", edit("a=ssrc:1002", "a=ssrc:1001"), bad, "1001"},
		{"FID", edit("a=mid:1", "a=mid:1\r\na=ssrc-group:FID 1 x"), bad, "SSRC"},
		{"rid", edit("a=mid:1", "a=mid:1\r\na=rid:a/b send"), bad, "rid"},
		{"simulcast", edit("a=mid:1", "a=mid:1\r\na=simulcast:send"), bad, "simulcast"},
		{
			"layers",
			edit("a=mid:1", "a=mid:1\r\na=extmap:9"+ridURI+"\r\n"+nineRIDs+"a=simulcast:send 1;2;3;4;5;6;7;8;9"), no,
			"layers",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, Config{})
			checkProblem(t, b.post("/whip/room", tt.offer(t)), tt.status, tt.names)
			if b.engine.last != 0 {
				t.Error("a refused offer reached the engine")
			}
		})
	}
}

// TestSubscriberFormats checks which format comes first for which publication.
func TestSubscriberFormats(t *testing.T) {
	format := func(pt uint8, c rtp.Codec, profile string) rtp.Format {
		return rtp.Format{PayloadType: pt, Codec: c, Profile: profile}
	}
	video := []rtp.Format{
		format(50, rtp.VP8, ""), format(51, rtp.H264, "6400/1"), format(52, rtp.VP9, "2"), format(53, rtp.H265, "1"),
		format(54, rtp.H264, "42e0/0"),
	}
	tests := []struct {
		name, offer string
		tracks      []rtp.Track
		active      []int
		first       string // of the video line; empty for 422
		offered     string
	}{
		{"first of all", chromiumRX, []rtp.Track{{Kind: rtp.Video, Formats: video}}, []int{-1}, "96 97 98 99", ""},
		{
			"active H.264 of another profile", chromiumRX,
			[]rtp.Track{{Kind: rtp.Video, Formats: video}},
			[]int{51},
			"41 42 102 103 108 109 116 117 96", "",
		},
		{
			"active H.264 of mode 0", chromiumRX,
			[]rtp.Track{{Kind: rtp.Video, Formats: video}},
			[]int{54},
			"114 115 102 103 104 107 108 109 116 117 39 40 41 42 43 44 96", "",
		},
		{
			"active VP9", chromiumRX,
			[]rtp.Track{{Kind: rtp.Video, Formats: video}},
			[]int{52},
			"100 101 37 38 96 97",
			"",
		},
		{"active H.265", chromiumRX, []rtp.Track{{Kind: rtp.Video, Formats: video}}, []int{53}, "", "H265 1"},
		{
			"VP9 of a profile not offered", firefoxRX,
			[]rtp.Track{{Kind: rtp.Video, Formats: video}},
			[]int{52},
			"",
			"VP9 2",
		},
		{
			"first is not offered, second is", firefoxRX,
			[]rtp.Track{{Kind: rtp.Video, Formats: video[1:]}},
			[]int{-1},
			"", "H264 6400/1",
		},
		{
			"none but a later one", firefoxRX,
			[]rtp.Track{{Kind: rtp.Video, Formats: []rtp.Format{video[1], format(60, rtp.AV1, "0")}}},
			[]int{-1},
			"99 100 120 124", "",
		},
		{"active unknown", chromiumRX, []rtp.Track{{Kind: rtp.Video, Formats: video}}, []int{99}, "96 97 98 99", ""},
		{
			"audio only", chromiumRX,
			[]rtp.Track{{Kind: rtp.Audio, Formats: []rtp.Format{format(111, rtp.Opus, "")}}},
			[]int{111},
			"96 97 98 99", "",
		},
		{"no tracks known", chromiumRX, nil, nil, "96 97 98 99", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, Config{})
			b.engine.streams["room"] = api.Stream{Name: "room", Tracks: tt.tracks, Active: tt.active}
			w := b.post("/whep/room", fixture(t, tt.offer))
			if tt.first == "" {
				p := checkProblem(t, w, http.StatusUnprocessableEntity, tt.offered)
				if !slices.Contains(p.Available, tt.offered) || !slices.Contains(p.Offered, "VP8") {
					t.Errorf("problem names %q offered and %q available", p.Offered, p.Available)
				}
				return
			}
			if w.Code != http.StatusCreated {
				t.Fatalf("status %d: %s", w.Code, w.Body)
			}
			list := strings.Join(parseDescription(t, w.Body.String()).MediaDescriptions[1].MediaName.Formats, " ")
			if !strings.HasPrefix(list, tt.first) {
				t.Errorf("m=video lists %s, want it to begin with %s", list, tt.first)
			}
			checkAnswer(t, fixture(t, tt.offer), w.Body.String(), b.engine.lastPeer().Tracks)
		})
	}
}

// TestSubscriberModes checks which viewers of H.264 are served. A receiver of packetization mode 1 takes mode 0
// (RFC 6184 section 6.2). One that names mode 0 only, or nothing, is served as the last choice.
func TestSubscriberModes(t *testing.T) {
	const offered = "a=fmtp:96 profile-level-id=42e01f;packetization-mode=1;level-asymmetry-allowed=1\r\n"
	for _, tt := range []struct {
		name, published string
		parameters      string // of the viewer's only format
	}{
		{"the same", "42e0/1", offered},
		{"mode 0 to mode 1", "42e0/0", offered},
		{"mode 0 of another profile to mode 1", "6400/0", offered},
		{"mode 1 to mode 0", "42e0/1", replace(t, offered, "mode=1", "mode=0")},
		{"mode 1 to no parameters", "640c/1", ""},
		{"mode 1 to no mode", "42e0/1", "a=fmtp:96 profile-level-id=42e01f\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, Config{})
			b.engine.streams["room"] = api.Stream{Name: "room", Active: []int{50}, Tracks: []rtp.Track{{
				Kind: rtp.Video, Formats: []rtp.Format{{PayloadType: 50, Codec: rtp.H264, Profile: tt.published}},
			}}}
			offer := replace(t, replace(t, fixture(t, obs), "a=sendonly", "a=recvonly"), offered, tt.parameters)
			w := b.post("/whep/room", offer)
			if w.Code != http.StatusCreated {
				t.Fatalf("status %d; expected %d: %s", w.Code, http.StatusCreated, w.Body)
			}
			checkAnswer(t, offer, w.Body.String(), b.engine.lastPeer().Tracks)
		})
	}
}

// A viewer's sound has no transport-wide numbers, even with RTX.
func TestSoundHasNoTransportNumbers(t *testing.T) {
	b := newBench(t, Config{})
	b.mustPost("/whip/room", fixture(t, chromiumTX))
	rtx := "a=rtpmap:111 opus/48000/2\r\na=rtpmap:112 rtx/48000/2\r\na=fmtp:112 apt=111\r\n"
	offer := replace(t, fixture(t, chromiumRX), "a=rtpmap:111 opus/48000/2\r\n", rtx)
	offer = replace(t, offer, "UDP/TLS/RTP/SAVPF 111", "UDP/TLS/RTP/SAVPF 112 111")
	_, answer := b.mustPost("/whep/room", offer)
	sound, picture, _ := strings.Cut(answer, "m=video")
	if strings.Contains(sound, "transport-cc") || strings.Contains(sound, "transport-wide-cc") {
		t.Errorf("transport-wide numbers on sound:\n%s", sound)
	}
	if !strings.Contains(picture, "transport-cc") || !strings.Contains(picture, "transport-wide-cc") {
		t.Errorf("no transport-wide numbers on the picture:\n%s", picture)
	}
	for _, track := range b.engine.lastPeer().Tracks {
		if video := track.Kind == rtp.Video; track.Formats[0].RTX == 0 ||
			(track.Extensions[rtp.TransportSequence] != 0) != video ||
			(track.Formats[0].Feedback&rtp.TransportCC != 0) != video {
			t.Errorf("track %+v; expected RTX, and transport-wide numbers only of video", track)
		}
	}
}

func TestSubscriberVariants(t *testing.T) {
	t.Run("audio only viewer", func(t *testing.T) {
		b := newBench(t, Config{})
		b.mustPost("/whip/room", fixture(t, chromiumTX))
		audio, _, _ := strings.Cut(fixture(t, chromiumRX), "m=video")
		_, answer := b.mustPost("/whep/room", replace(t, audio, "BUNDLE 0 1", "BUNDLE 0"))
		if !strings.Contains(answer, "a=group:BUNDLE 0\r\n") {
			t.Errorf("no group of one:\n%s", answer)
		}
		if tracks := b.engine.lastPeer().Tracks; len(tracks) != 1 || tracks[0].Extensions[rtp.TransportSequence] != 0 {
			t.Errorf("tracks %+v", tracks)
		}
	})
	t.Run("one format without RTX", func(t *testing.T) {
		b := newBench(t, Config{})
		b.mustPost("/whip/room", fixture(t, chromiumTX))
		_, answer := b.mustPost("/whep/room", replace(t, fixture(t, chromiumRX), "a=fmtp:46 apt=45", "a=fmtp:46 x=1"))
		if strings.Contains(answer, "transport-cc") || strings.Contains(answer, "transport-wide-cc") {
			t.Error("transport-wide numbers although a format has no RTX")
		}
		video := b.engine.lastPeer().Tracks[1]
		if video.Extensions[rtp.TransportSequence] != 0 || video.Formats[0].Feedback&rtp.TransportCC != 0 ||
			video.Formats[0].RTX == 0 {
			t.Errorf("track %+v", video)
		}
	})
	t.Run("sendrecv", func(t *testing.T) {
		b := newBench(t, Config{})
		b.mustPost("/whip/room", replace(t, fixture(t, obs), "a=sendonly", "a=sendrecv"))
		_, answer := b.mustPost("/whep/room", replace(t, fixture(t, chromiumRX), "a=recvonly\r\n", ""))
		if strings.Count(answer, "a=sendonly\r\n") != 2 {
			t.Errorf("not sendonly twice:\n%s", answer)
		}
	})
	t.Run("no codec", func(t *testing.T) {
		b := newBench(t, Config{})
		b.mustPost("/whip/room", fixture(t, obs))
		p := checkProblem(t, b.post("/whep/room", replace(t, fixture(t, firefoxRX), "opus/48000/2", "speex/8000")),
			http.StatusUnprocessableEntity, `stream "room"`)
		if !slices.Contains(p.Offered, "speex") || !slices.Equal(p.Available, []string{"opus"}) {
			t.Errorf("problem names %q offered and %q available", p.Offered, p.Available)
		}
	})
	t.Run("no rtpmap", func(t *testing.T) {
		b := newBench(t, Config{})
		b.engine.streams["room"] = api.Stream{Name: "room"}
		p := checkProblem(t, b.post("/whep/room", replace(t, fixture(t, firefoxRX), "a=rtpmap:", "a=x:")),
			http.StatusUnprocessableEntity, "offers none")
		if len(p.Offered) != 0 || !slices.Equal(p.Available, []string{"opus"}) {
			t.Errorf("problem names %q offered and %q available", p.Offered, p.Available)
		}
	})
	t.Run("sendonly", func(t *testing.T) {
		b := newBench(t, Config{})
		b.mustPost("/whip/room", fixture(t, chromiumTX))
		checkProblem(t, b.post("/whep/room", fixture(t, chromiumTX)), http.StatusUnprocessableEntity, "sendonly")
	})
}

func TestSimulcastLayers(t *testing.T) {
	rids := []string{"h", "m", "l"}
	for _, tt := range []struct {
		value string
		want  []string
	}{
		{"", nil},
		{"send h;m;l", rids},
		{"recv x send l;h", []string{"l", "h"}},
		{"send l;h recv x", []string{"l", "h"}},
		{"send ~h,m;~l", []string{"h", "l"}},
		{"send x,m;l;l", []string{"m", "l"}},
		{"send h,h;h,m", []string{"h", "m"}},
		{"send ;;", nil},
		{"recv h;m", nil},
	} {
		got, err := simulcastLayers(tt.value, rids)
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("simulcastLayers(%q) = %q, %v, want %q", tt.value, got, err, tt.want)
		}
	}
}

func TestCodecProfiles(t *testing.T) {
	for _, tt := range []struct {
		rtpmap, fmtp string
		codec        rtp.Codec
		profile      string
		ok           bool
	}{
		{"OPUS/48000/2", "", rtp.Opus, "", true},
		{"opus/48000/1", "", rtp.Opus, "", false},
		{"vp8/90000", "max-fs=1", rtp.VP8, "", true},
		{"VP8/48000", "", rtp.VP8, "", false},
		{"VP9/90000", "", rtp.VP9, "0", true},
		{"VP9/90000", "profile-id=02", rtp.VP9, "2", true},
		{"VP9/90000", "profile-id=4", rtp.VP9, "4", false},
		{"VP9/90000", "profile-id=x", rtp.VP9, "", false},
		{"AV1/90000", "level-idx=5; profile=1;tier=0", rtp.AV1, "1", true},
		{"H265/90000", "", rtp.H265, "1", true},
		{"H265/90000", "profile-id=2;tx-mode=SRST", rtp.H265, "2", true},
		{"H265/90000", "tx-mode=MRST", rtp.H265, "", false},
		{"H264/90000", "", rtp.H264, "4200/0", true},
		{"H264/90000", "PROFILE-LEVEL-ID=42E01F;packetization-mode=1", rtp.H264, "42e0/1", true},
		{"H264/90000", "profile-level-id=42e01f; packetization-mode=1", rtp.H264, "42e0/1", true},
		{"H264/90000", "profile-level-id=+2e01f", rtp.H264, "", false},
		{"H264/90000", "profile-level-id=42e01", rtp.H264, "", false},
		{"VP8", "", rtp.VP8, "", false},
		{"red/90000", "", rtp.UnknownCodec, "", false},
		{"unknown/90000", "", rtp.UnknownCodec, "", false},
	} {
		codec, profile, err := parseEncoding(tt.rtpmap).codec(tt.fmtp)
		ok := err == nil && codec != rtp.UnknownCodec
		if ok != tt.ok || codec != tt.codec || ok && profile != tt.profile {
			t.Errorf("%s %s is %v %q, %v; want %v %q, usable %v", tt.rtpmap, tt.fmtp, codec, profile, err, tt.codec,
				tt.profile, tt.ok)
		}
	}
}

func TestQuote(t *testing.T) {
	for _, s := range []string{"", "x", strings.Repeat("x", 64), strings.Repeat("ä", 33), strings.Repeat("€", 400)} {
		if got := quote(s); len(got) > 100 || strings.Contains(got, `\x`) {
			t.Errorf("quote(%q) = %s", s, got)
		}
	}
}

func TestAsProblem(t *testing.T) {
	p := asProblem(errors.New("secret"))
	if p.status != http.StatusInternalServerError || strings.Contains(p.detail, "secret") {
		t.Errorf("problem %+v tells too much", p)
	}
}
