package signaling

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"ringcast/engine/api"
)

// stranger is an offer as another peer with the same browser and page would make it.
func stranger(t testing.TB, offer string, n int) string {
	t.Helper()
	var lines []string
	for line := range strings.SplitSeq(strings.TrimSuffix(offer, "\r\n"), "\r\n") {
		name, _, _ := strings.Cut(line, ":")
		switch {
		case strings.HasPrefix(line, "o="):
			line = fmt.Sprintf("o=- %d 2 IN IP4 127.0.0.1", 1000+n)
		case strings.HasPrefix(line, "c="):
			line = fmt.Sprintf("c=IN IP6 fd00::%d", n)
		case strings.HasPrefix(line, "m="):
			fields := strings.SplitN(line, " ", 3)
			if fields[1] != "0" {
				line = fmt.Sprintf("%s %d %s", fields[0], 50000+n, fields[2])
			}
		case name == "a=ice-ufrag":
			line = fmt.Sprintf("a=ice-ufrag:user%d", n)
		case name == "a=ice-pwd":
			line = fmt.Sprintf("a=ice-pwd:%030d", n)
		case name == "a=fingerprint":
			line = "a=fingerprint:sha-256 " + strings.Repeat(fmt.Sprintf("%02X:", n), 31) + "FF"
		case name == "a=rtcp":
			line = fmt.Sprintf("a=rtcp:%d IN IP6 fd00::%d", n, n)
		case name == "a=candidate":
			line = strings.Repeat(line+"\r\n", 1+n) + line
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\r\n") + "\r\n"
}

// All that one peer's offer has of its own is read from that offer, and only once is its shape parsed.
func TestOffersOfOneShape(t *testing.T) {
	for _, name := range []string{chromiumRX, firefoxRX} {
		text := fixture(t, name)
		var known shapes
		for n := range 5 {
			o, err := parseOffer([]byte(stranger(t, text, n)), Limits{}.withDefaults(), &known)
			if err != nil {
				t.Fatal(err)
			}
			ice := api.Credentials{Ufrag: fmt.Sprintf("user%d", n), Password: fmt.Sprintf("%030d", n)}
			if o.ice != ice {
				t.Errorf("%s: credentials %+v, want %+v", name, o.ice, ice)
			}
			want := strings.Repeat(fmt.Sprintf("%02X:", n), 31) + "FF"
			if len(o.fingerprints) != 1 || o.fingerprints[0].Value != want {
				t.Errorf("%s: fingerprints %v, want %s", name, o.fingerprints, want)
			}
			if _, err := o.forSubscriber(api.Stream{}); err != nil { // narrows what is this offer's own
				t.Fatal(err)
			}
		}
		if len(known.known) != 1 {
			t.Errorf("%s: %d shapes, want 1", name, len(known.known))
		}
		checkKnown(t, text, &known)
	}
}

// checkKnown checks that an offer is read alike with and without known shapes.
func checkKnown(t *testing.T, text string, known *shapes) {
	t.Helper()
	limits := Limits{}.withDefaults()
	want, wantErr := parseOffer([]byte(text), limits, nil)
	for range 2 { // the second time it is known
		got, err := parseOffer([]byte(text), limits, known)
		if fmt.Sprint(err) != fmt.Sprint(wantErr) {
			t.Fatalf("error %v, want %v, in\n%s", err, wantErr, text)
		}
		if err == nil && !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v, want %+v, in\n%s", got, want, text)
		}
		if err == nil {
			_, _ = got.forSubscriber(api.Stream{})
			_, _ = got.forPublisher()
		}
	}
}

// An offer that differs in any other line is read as if nothing were known. So the shape has all that decides.
func TestShapesHaveAllThatDecides(t *testing.T) {
	for _, name := range fixtureNames(t) {
		text := fixture(t, name)
		var known shapes
		checkKnown(t, text, &known)
		lines := strings.SplitAfter(text, "\n")
		for i, line := range lines {
			with := func(line string) string {
				return strings.Join(lines[:i], "") + line + strings.Join(lines[i+1:], "")
			}
			checkKnown(t, with(""), &known)
			checkKnown(t, with(line+line), &known)
			checkKnown(t, with("a=inactive\r\n"+line), &known)
			checkKnown(t, with(strings.Replace(line, "9", "0", 1)), &known)
			checkKnown(t, with(strings.Replace(line, " ", "  ", 1)), &known)
			checkKnown(t, with(strings.TrimSpace(line)+" m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n"), &known)
		}
	}
}

// A media line within another line would shift credentials from one media line to the next.
func TestMediaLineWithinALine(t *testing.T) {
	const text = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n" +
		"a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:" +
		"00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n" +
		"m=audio 0 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 0.0.0.0 m=video 9 UDP/TLS/RTP/SAVPF 96\r\n" +
		"a=ice-ufrag:mine\r\na=ice-pwd:minemineminemineminemine\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\n" +
		"m=audio 0 UDP/TLS/RTP/SAVPF 0\r\na=ice-ufrag:other\r\na=ice-pwd:otherotherotherotherother\r\n"
	limits := Limits{}.withDefaults()
	if o, err := parseOffer([]byte(text), limits, nil); err == nil {
		t.Errorf("one was taken, with credentials %+v", o.ice)
	}
	apart := strings.Replace(text, " m=video", "\r\nm=video", 1)
	if o, err := parseOffer([]byte(apart), limits, nil); err != nil || o.ice.Ufrag != "mine" {
		t.Errorf("on a line of its own: %+v, error %v", o, err)
	}
}

// Shapes are forgotten for others, and huge ones are not remembered.
func TestManyShapes(t *testing.T) {
	text := fixture(t, chromiumRX)
	var known shapes
	for n := range 3 * maxShapes {
		checkKnown(t, strings.Replace(text, "a=extmap:1 ", fmt.Sprintf("a=x-shape:%d\r\na=extmap:1 ", n), 1), &known)
		if len(known.known) > maxShapes {
			t.Fatalf("%d shapes, want at most %d", len(known.known), maxShapes)
		}
	}
	var huge shapes
	checkKnown(t, text+strings.Repeat("a=x-huge:"+strings.Repeat("x", 1000)+"\r\n", maxShapeSize/1000), &huge)
	if len(huge.known) != 0 {
		t.Errorf("%d shapes, want none that is huge", len(huge.known))
	}
}

// FuzzShapes reads any text with and without known shapes, after a peer with the same shape.
func FuzzShapes(f *testing.F) {
	for _, name := range []string{chromiumRX, firefoxRX, obs} {
		f.Add(fixture(f, name))
	}
	f.Fuzz(func(t *testing.T, text string) {
		var known shapes
		checkKnown(t, text, &known)
		shape, _ := separate([]byte(text))
		again, _ := separate(shape)
		if string(again) != string(shape) {
			t.Fatalf("the shape's shape is %q, want %q", again, shape)
		}
	})
}
