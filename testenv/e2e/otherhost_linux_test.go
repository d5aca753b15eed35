package e2e

import (
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"ringcast/testenv"
	"ringcast/testenv/browser"
	"ringcast/testenv/lab"
)

// The server and the browser are on two hosts, and the server runs with the ports and addresses that
// are the default. Browsers trust plain HTTP on their own host only. Over it the page still
// publishes its pattern and watches; with --tls self it publishes the camera too.
func TestOtherHost(t *testing.T) {
	testenv.Need(t, testenv.Chromium, testenv.NetworkNamespaces)
	for _, c := range []struct {
		name, source string
		args         []string
	}{
		{"http", "pattern", nil},
		{"tls self", "camera", []string{"--tls", "self"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			here, there := testenv.Pair(t, lab.Link{})
			s, err := testenv.StartOn(t.Context(), here, nil, c.args...)
			must(t, err)
			s.EndWith(t)
			self, err := os.Executable()
			must(t, err)
			out, err := there.Run(deadline(t, patience), []string{
				insideURL + "=" + s.URL, insideSource + "=" + c.source,
				insideMedia + "=" + here.IPv4().String() + " " + here.IPv6().String(),
				insideIP + "=" + there.IPv4().String() + " " + there.IPv6().String(),
				"TMPDIR=" + t.TempDir(),
			}, self, "-test.run=^TestOtherHostInside$", "-test.v", "-test.count=1", "-test.timeout=110s")
			if report := strings.TrimSpace(string(out)); err != nil ||
				!strings.Contains(report, "--- PASS: TestOtherHostInside") {
				t.Errorf("the browser's side: %v\n%s", err, report)
			} else {
				t.Log(report)
			}
		})
	}
}

// Variables that tell the inner test where the server is. They do not begin as the server's do.
const (
	insideURL    = "E2E_INSIDE_URL"
	insideSource = "E2E_INSIDE_SOURCE"
	insideMedia  = "E2E_INSIDE_MEDIA" // the server's addresses, separated by spaces
	insideIP     = "E2E_INSIDE_IP"    // ours, likewise
)

// The browser's side of TestOtherHost, on a host of its own.
func TestOtherHostInside(t *testing.T) {
	server := os.Getenv(insideURL)
	if server == "" {
		return // run by TestOtherHost
	}
	b, err := browser.Start(t.Context(), browser.Options{Flags: map[string]string{"ignore-certificate-errors": ""}})
	must(t, err)
	defer func() { must(t, b.Close()) }()

	source := os.Getenv(insideSource)
	pub := openPage(t, b, server+"/?publish=other&codec=VP8&resolution=360&autostart=1&source="+source)
	pub.until("ringcast.publisher?.state === 'live'")
	secure, err := browser.Eval[bool](deadline(t, patience), pub.tab, "isSecureContext")
	must(t, err)
	if u, err := url.Parse(server); err != nil || secure != (u.Scheme == "https") {
		t.Errorf("%s is a secure context: %v", server, secure)
	}
	chosen, err := browser.Eval[string](deadline(t, patience), pub.tab, "document.querySelector('#source').value")
	must(t, err)
	if chosen != source {
		t.Errorf("the page publishes %q, want %q", chosen, source)
	}

	view := openPage(t, b, server+"/?watch=other&autostart=1")
	view.until("ringcast.watcher?.state === 'live'")
	view.untilPlaying()
	view.until("document.querySelector('#video').videoHeight === 360") // the lower layer comes first
	type watched struct {
		Decoded, Width, Height, Keys, Milliseconds int
		Local, Remote                              string
	}
	w, err := browser.Eval[watched](deadline(t, patience), view.tab, `(async () => {
		const all = await ringcast.watcher.pc.getStats();
		const of = (type, more) => [...all.values()].find((s) => s.type === type && more(s));
		const video = of('inbound-rtp', (s) => s.kind === 'video');
		const pair = all.get(of('transport', () => true).selectedCandidatePairId);
		const [local, remote] = [all.get(pair.localCandidateId), all.get(pair.remoteCandidateId)];
		return {
			Decoded: video.framesDecoded, Width: video.frameWidth, Height: video.frameHeight, Keys: video.keyFramesDecoded,
			Milliseconds: Math.round(ringcast.watcher.firstFrameAt - ringcast.watcher.postedAt),
			Local: local.address ?? '', Remote: remote.address + ':' + remote.port,
		};
	})()`)
	view.must(err)
	t.Logf("%s: %d frames decoded of %dx%d, %d keyframes; the first %d ms after the POST; media from %s to %q",
		source, w.Decoded, w.Width, w.Height, w.Keys, w.Milliseconds, w.Remote, w.Local)
	if w.Decoded < 10 || w.Height != 360 {
		t.Errorf("%d frames were decoded, of height %d", w.Decoded, w.Height)
	}
	// A page that never asked for the camera is not told its own address.
	remotes, locals := strings.Fields(os.Getenv(insideMedia)), strings.Fields(os.Getenv(insideIP))
	if !slices.Contains(remotes, strings.TrimSuffix(w.Remote, ":7000")) ||
		!slices.Contains(locals, w.Local) && w.Local != "" {
		t.Errorf("media goes from %s to %q, want from port 7000 of %q to one of %q", w.Remote, w.Local, remotes, locals)
	}
	pub.clean()
	view.clean()
}
