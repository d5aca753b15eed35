package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"ringcast/testenv"
	"ringcast/testenv/browser"
)

// A stream is published again with another codec, by sessions that the kernel gives to any worker. Chromium, which
// negotiated all codecs, plays on in the same session. A viewer that negotiated the first codec only gets a
// close_notify.
func TestRepublishWithOtherCodec(t *testing.T) {
	b := startBrowser(t)
	s := testenv.StartServer(t, testenv.ServerOptions{Workers: 2})
	publish := func(codec string) *page {
		pub := openPage(t, b, s.URL+"/?publish=recodec&source=pattern&resolution=360&autostart=1&codec="+codec)
		pub.until("ringcast.publisher?.state === 'live'")
		return pub
	}
	pub := publish("VP8")
	var views []*page
	for range 3 {
		view := openPage(t, b, s.URL+"/?watch=recodec&autostart=1")
		view.untilPlaying()
		view.record()
		views = append(views, view)
	}
	peers := newLightPeers(t, s)
	narrow, _ := peers.connect("/whep/recodec", onlyVP8(t, peers.watch))
	for ctx := deadline(t, patience); ; let(t, 5*time.Millisecond) {
		must(t, ctx.Err())
		if received, _ := narrow.Counts(); received > 50 {
			break
		}
	}
	goodbye := make(chan error, 1)
	go func() { goodbye <- narrow.AwaitClose(deadline(t, patience)) }()

	for _, codec := range []string{"H264", "VP9"} {
		select {
		case err := <-goodbye:
			if codec == "H264" {
				t.Fatalf("the narrow viewer's session ended before another codec came: %v", err)
			}
		default:
		}
		pub.click("#stop")
		pub = publish(codec)
		if codec == "H264" {
			began := time.Now()
			if err := <-goodbye; err != nil {
				t.Errorf("the viewer with VP8 only got no close_notify: %v", err)
			}
			t.Logf("the viewer with VP8 only got its close_notify %v after H264 was live",
				time.Since(began).Round(time.Millisecond))
		}
		goOn(t, views, codec)
	}
	if n := s.Metrics(t)["ringcast_faults_total"]; n != 0 {
		t.Errorf("%v panics", n)
	}
}

// goOn checks that the viewers play another codec, in the sessions that they have.
func goOn(t *testing.T, views []*page, codec string) {
	t.Helper()
	for i, view := range views {
		view.until(fmt.Sprintf("window.codecs?.at(-1) === 'video/%s'", codec))
		view.untilPlaying()
		r := view.recorded()
		played, err := browser.Eval[[]string](deadline(t, patience), view.tab, "window.codecs")
		view.must(err)
		t.Logf("viewer %d plays %s after %v; the longest pause was %v; attempts %d",
			i, codec, played, r.gap(), r.Attempts)
		if r.Attempts != 1 {
			t.Errorf("viewer %d: %d attempts, want the first session to go on", i, r.Attempts)
		}
	}
}

// onlyVP8 takes every other video codec out of Chromium's offer.
func onlyVP8(t *testing.T, offer string) string {
	t.Helper()
	media := regexp.MustCompile(`(?m)^m=video .*?\r?$`)
	at := media.FindStringIndex(offer)
	if at == nil || !strings.Contains(offer, "a=rtpmap:96 VP8/90000") {
		t.Fatal("the offer has no VP8")
	}
	video := media.ReplaceAllString(offer[at[0]:], "m=video 9 UDP/TLS/RTP/SAVPF 96 97\r")
	video = regexp.MustCompile(`(?m)^a=(?:rtpmap|fmtp|rtcp-fb):(\d+) .*\r?\n`).ReplaceAllStringFunc(video,
		func(line string) string {
			if strings.Contains(line, ":96 ") || strings.Contains(line, ":97 ") {
				return line
			}
			return ""
		})
	return offer[:at[0]] + video
}
