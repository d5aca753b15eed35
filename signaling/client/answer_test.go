package client

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/rtp"
)

const fingerprint = "87:58:CE:D6:A0:39:45:DE:0A:22:B3:A7:77:33:B3:01:5F:CA:CA:CF:E7:2F:40:AE:1E:47:70:11:DC:21:33:E9"

// answer is a server's answer to a viewer.
const answer = `v=0
o=- 1 1 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1
a=ice-lite
m=audio 7000 UDP/TLS/RTP/SAVPF 111
c=IN IP4 192.0.2.1
a=ice-ufrag:abcd
a=ice-pwd:0123456789012345678901
a=fingerprint:SHA-256 ` + fingerprint + `
a=setup:passive
a=mid:0
a=sendonly
a=rtcp-mux
a=rtpmap:111 opus/48000/2
m=video 9 UDP/TLS/RTP/SAVPF 96 97 102
c=IN IP4 192.0.2.1
a=ice-ufrag:abcd
a=ice-pwd:0123456789012345678901
a=fingerprint:sha-256 ` + fingerprint + `
a=setup:passive
a=candidate:1 1 udp 2130706431 192.0.2.1 7000 typ host
a=candidate:2 1 UDP 2130706175 2001:db8::1 7000 typ host
a=candidate:3 1 tcp 2130706175 192.0.2.1 7000 typ host tcptype passive
a=candidate:4 2 udp 2130706175 192.0.2.9 7001 typ host
a=candidate:5 1 udp 2130706500 7d0a6cd2.local 7000 typ host
a=candidate:6 1 udp 2130706432 192.0.2.3 7000 typ srflx raddr 10.0.0.1 rport 9
a=mid:1
a=sendonly
a=rtcp-mux
a=extmap:3/recvonly http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01
a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid
a=rtpmap:96 vp8/90000
a=rtcp-fb:96 nack
a=rtcp-fb:96 nack pli
a=rtcp-fb:* transport-cc
a=rtpmap:97 rtx/90000
a=fmtp:97 apt=96
a=rtpmap:102 H264/90000
a=fmtp:102 packetization-mode=1
a=ssrc-group:FID 4000000001 2
a=ssrc:4000000001 cname:x
a=ssrc:2 cname:x
`

func TestParseAnswer(t *testing.T) {
	a, err := ParseAnswer([]byte(strings.ReplaceAll(answer, "\n", "\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	if a.ICE.Ufrag != "abcd" || a.ICE.Password != "0123456789012345678901" || a.Server {
		t.Errorf("%+v", a)
	}
	if want := []api.Fingerprint{{Algorithm: "sha-256", Value: fingerprint}}; !slices.Equal(a.Fingerprints, want) {
		t.Errorf("fingerprints %v", a.Fingerprints)
	}
	var want []netip.AddrPort
	for _, c := range []string{"192.0.2.3:7000", "192.0.2.1:7000", "[2001:db8::1]:7000"} {
		want = append(want, netip.MustParseAddrPort(c))
	}
	if !slices.Equal(a.Candidates, want) {
		t.Errorf("candidates %v, want %v", a.Candidates, want)
	}
	v := a.Track(rtp.Video)
	formats := []rtp.Format{
		{PayloadType: 96, RTX: 97, Codec: rtp.VP8, Feedback: rtp.NACK | rtp.PLI | rtp.TransportCC},
		{PayloadType: 102, Codec: rtp.H264, Feedback: rtp.TransportCC},
	}
	if v == nil || v.MID != "1" || !slices.Equal(v.Formats, formats) ||
		v.SSRC != 4000000001 || v.RTXSSRC != 2 || v.Extensions[rtp.TransportSequence] != 3 ||
		v.Extensions[rtp.MID] != 4 {
		t.Errorf("video %+v", v)
	}
	if x := a.Track(rtp.Audio); x == nil || len(x.Formats) != 1 || x.Formats[0].Codec != rtp.Opus {
		t.Errorf("audio %+v", x)
	}
}

// TestAnswerHabits changes the answer as servers do.
func TestAnswerHabits(t *testing.T) {
	for _, c := range []struct {
		name     string
		old, new string
		want     error
		check    func(a *Answer) bool
	}{
		{"as it is", "", "", nil, func(a *Answer) bool { return len(a.Tracks) == 2 }},
		{
			"we are to be DTLS server", "a=setup:passive", "a=setup:active", nil,
			func(a *Answer) bool { return a.Server },
		},
		{
			"no audio", "m=audio 7000", "m=audio 0", nil,
			func(a *Answer) bool { return a.Track(rtp.Audio) == nil && a.Track(rtp.Video) != nil },
		},
		{"no video", "m=video 9", "m=video 0", ErrCodec, nil},
		{"inactive video", "a=mid:1\na=sendonly", "a=mid:1\na=inactive", ErrCodec, nil},
		{
			"bundle-only", "m=video 9 UDP/TLS/RTP/SAVPF 96 97 102\n",
			"m=video 0 UDP/TLS/RTP/SAVPF 96 97 102\na=bundle-only\n", nil, func(a *Answer) bool {
				return a.Track(rtp.Video) != nil
			},
		},
		{"other codecs", "9 UDP/TLS/RTP/SAVPF 96 97 102", "9 UDP/TLS/RTP/SAVPF 97", ErrCodec, nil},
		{"no credentials", "a=ice-pwd", "a=x-pwd", ErrAnswer, nil},
		{"no fingerprint", "a=fingerprint", "a=x-fingerprint", ErrAnswer, nil},
		{"no candidates", "a=candidate", "a=x-candidate", ErrAnswer, nil},
		{"not SDP", "v=0", "<html>", ErrAnswer, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := answer
			if c.old != "" {
				text = strings.ReplaceAll(text, c.old, c.new)
			}
			if c.old != "" && text == answer {
				t.Fatal("nothing to replace")
			}
			a, err := ParseAnswer([]byte(text))
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if c.check != nil && !c.check(a) {
				t.Errorf("%+v", a)
			}
		})
	}
}

func TestSessionLevel(t *testing.T) {
	lines := strings.Split(answer, "\n")
	var head, rest []string
	for _, l := range lines {
		if strings.HasPrefix(l, "a=ice-ufrag") || strings.HasPrefix(l, "a=ice-pwd") ||
			strings.HasPrefix(l, "a=fingerprint") || strings.HasPrefix(l, "a=setup") {
			head = append(head, l)
		} else {
			rest = append(rest, l)
		}
	}
	at := slices.Index(rest, "a=ice-lite")
	text := strings.Join(slices.Concat(rest[:at], head[:4], rest[at:]), "\n")
	if a, err := ParseAnswer([]byte(text)); err != nil || a.ICE.Ufrag != "abcd" || len(a.Fingerprints) != 1 {
		t.Errorf("%+v, %v", a, err)
	}
}

// A fixture is a real server's answer.
type fixture struct {
	name         string
	candidate    string
	fingerprint  string // its beginning
	video, audio int    // formats
	first        rtp.Format
}

const allFeedback = rtp.NACK | rtp.PLI | rtp.FIR | rtp.TransportCC

var fixtures = []fixture{
	{
		"ringcast-whip", "127.0.0.1:17000", "48:F5", 10, 1,
		rtp.Format{PayloadType: 96, RTX: 97, Codec: rtp.VP8, Feedback: allFeedback},
	},
	{
		"ringcast-whep", "127.0.0.1:17000", "06:12", 3, 1,
		rtp.Format{PayloadType: 120, RTX: 124, Codec: rtp.VP8, Feedback: allFeedback},
	},
	{
		"pion-whip", "127.0.0.1:17001", "7D:DF", 1, 1,
		rtp.Format{PayloadType: 96, Codec: rtp.H264, Feedback: rtp.NACK | rtp.PLI},
	},
	{
		"pion-whep", "127.0.0.1:17001", "1D:5E", 10, 1,
		rtp.Format{PayloadType: 96, RTX: 97, Codec: rtp.VP8, Feedback: allFeedback},
	},
}

func (f *fixture) read(t testing.TB) []byte {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("testdata", f.name+".sdp"))
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestFixtures(t *testing.T) {
	for _, c := range fixtures {
		a, err := ParseAnswer(c.read(t))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if len(a.Candidates) != 1 || a.Candidates[0].String() != c.candidate || len(a.Fingerprints) != 1 ||
			!strings.HasPrefix(a.Fingerprints[0].Value, c.fingerprint) || a.Server {
			t.Errorf("%s: got %+v; want %s, fingerprint %s…", c.name, a, c.candidate, c.fingerprint)
		}
		video, audio := a.Track(rtp.Video).Formats, a.Track(rtp.Audio).Formats
		if len(video) != c.video || len(audio) != c.audio || video[0] != c.first {
			t.Errorf("%s: got %+v and %+v; want %d formats, the first %+v, and %d",
				c.name, video, audio, c.video, c.first, c.audio)
		}
	}
}

// TestCandidateLimit keeps the candidates with the highest priorities.
func TestCandidateLimit(t *testing.T) {
	var many strings.Builder
	for i := range 100 {
		fmt.Fprintf(&many, "a=candidate:%d 1 udp %d 198.51.100.%d 7000 typ host\na=candidate:", i, 3000000000+i, i)
	}
	a, err := ParseAnswer([]byte(strings.Replace(answer, "a=candidate:", many.String(), 1)))
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Candidates) != maxCandidates || a.Candidates[0].String() != "198.51.100.99:7000" {
		t.Errorf("got %d, the first %v; want %d, the first 198.51.100.99:7000",
			len(a.Candidates), a.Candidates[0], maxCandidates)
	}
}

func FuzzParseAnswer(f *testing.F) {
	f.Add([]byte(answer))
	for _, c := range fixtures {
		f.Add(c.read(f))
	}
	f.Add([]byte(strings.ReplaceAll(answer, "a=setup:passive", "a=setup:active")))
	f.Fuzz(func(t *testing.T, body []byte) {
		a, err := ParseAnswer(body)
		if err != nil {
			if !errors.Is(err, ErrAnswer) && !errors.Is(err, ErrCodec) {
				t.Errorf("%v wraps neither error", err)
			}
			return
		}
		if len(a.Candidates) == 0 || len(a.Candidates) > maxCandidates || len(a.Tracks) == 0 || a.ICE.Ufrag == "" {
			t.Errorf("accepted %+v", a)
		}
		for _, x := range a.Tracks {
			if len(x.Formats) == 0 {
				t.Error("a track without formats")
			}
		}
	})
}

func TestDetail(t *testing.T) {
	for body, want := range map[string]string{
		"":                                    "",
		"plain  text\n of lines":              "plain text of lines",
		`{"title":"T","detail":"the reason"}`: "the reason",
		`{"title":"T"}`:                       "T",
		`{"other":1}`:                         `{"other":1}`,
		strings.Repeat("é", 400):              strings.Repeat("é", 150) + "…",
	} {
		if got := detail([]byte(body)); got != want {
			t.Errorf("%.40q: %.400q", body, got)
		}
	}
}

func ExampleRefusal() {
	fmt.Println(&Refusal{Role: api.Subscriber, URL: "http://h/whep/x", Status: 409, Detail: "no publisher"})
	// Output: http://h/whep/x: 409 Conflict: no publisher (nobody publishes this stream yet)
}
