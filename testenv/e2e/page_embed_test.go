package e2e

import (
	"fmt"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"ringcast/testenv"
	"ringcast/testenv/browser"
)

// site serves one page, at an origin of its own.
func site(t *testing.T, body string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if r.URL.Path == "/" {
			fmt.Fprint(w, "<!doctype html><title>site</title><link rel=icon href=data:,>"+body)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// Another site's page shows a stream in a frame where its origin is allowed, and nothing where it is not.
func TestPageEmbedded(t *testing.T) {
	b := startBrowser(t)
	place := ""
	frame := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, `<!doctype html><title>site</title><link rel=icon href=data:,><iframe id=f width=640 height=360 `+
			`allow="autoplay; fullscreen" src="`+place+`/?watch=demo&embed"></iframe>`)
	}))
	defer frame.Close()
	for _, tt := range []struct {
		name    string
		args    []string
		allowed bool
	}{
		{"by default", nil, false},
		{"none", []string{"--frame-ancestors", "none"}, false},
		{"another site", []string{"--frame-ancestors", "https://example.org"}, false},
		{"this site", []string{"--frame-ancestors", "self", "--frame-ancestors", frame.URL}, true},
		{"any site", []string{"--frame-ancestors", "*"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := testenv.StartServer(t, testenv.ServerOptions{Args: tt.args})
			place = s.URL
			pub := openPage(t, b, s.URL+"/?publish=demo&source=pattern&codec=VP8&resolution=360&autostart=1")
			pub.until("ringcast.publisher?.state === 'live'")
			outer := openPage(t, b, frame.URL)
			dir := t.TempDir()
			if !tt.allowed {
				for !strings.Contains(outer.tab.Console(), "frame-ancestors") { // until the page's deadline
					outer.until("document.readyState === 'complete'")
				}
				if n := colours(t, outer, dir); n > 0.05 {
					t.Errorf("%.0f %% of the frame have the colours of the pattern", n*100)
				}
				return
			}
			for n := 0.0; n < 0.5; n = colours(t, outer, dir) {
				outer.until("document.readyState === 'complete'")
			}
			pub.clean()
		})
	}
}

// colours returns the part of the frame on a page that has colours, as most of the test pattern has.
func colours(t *testing.T, p *page, dir string) float64 {
	t.Helper()
	name := filepath.Join(dir, "shot.png")
	p.must(p.tab.Screenshot(deadline(t, patience), name))
	file, err := os.Open(name)
	p.must(err)
	defer file.Close()
	picture, err := png.Decode(file)
	p.must(err)
	found := 0
	for y := range 360 {
		for x := range 640 {
			r, g, b, _ := picture.At(x, y).RGBA()
			if max(r, g, b)-min(r, g, b) > 50<<8 {
				found++
			}
		}
	}
	return float64(found) / (640 * 360)
}

// The player alone starts by itself and shows only its few controls.
func TestPageAsPlayer(t *testing.T) {
	b := startBrowser(t)
	s := testenv.StartServer(t, testenv.ServerOptions{})
	pub := openPage(t, b, s.URL+"/?publish=demo&source=pattern&codec=VP8&resolution=360&autostart=1")
	pub.until("ringcast.publisher?.state === 'live'")
	view := openPage(t, b, s.URL+"/?watch=demo&embed")
	view.untilPlaying()
	view.until("document.querySelector('#tools').checkVisibility()")
	got, err := browser.Eval[string](deadline(t, patience), view.tab, `['header', '.panel', '.commands', '#frame',
		'#video', '#fullscreen', '#toggle-stats', '#stats', '#plots'].
		filter((e) => document.querySelector(e).checkVisibility()).join(' ') +
		(document.querySelector('#video').muted ? ' muted' : '')`)
	view.must(err)
	if want := "#frame #video #fullscreen muted"; got != want {
		t.Errorf("visible are %s, want %s", got, want)
	}
	view.fits("player", false)
	view.clean()
	pub.clean()
}

// TestPlayerSnippet runs the minimal player of docs/embed.md at another origin.
func TestPlayerSnippet(t *testing.T) {
	text, err := os.ReadFile("../../docs/embed.md")
	if err != nil {
		t.Fatal(err)
	}
	snippet := regexp.MustCompile(`(?s)\n    (<video id="video".*?</script>)\n`).FindSubmatch(text)
	if snippet == nil {
		t.Fatal("docs/embed.md has no snippet")
	}
	b := startBrowser(t)
	s := testenv.StartServer(t, testenv.ServerOptions{})
	pub := openPage(t, b, s.URL+"/?publish=demo&source=pattern&codec=VP8&resolution=360&autostart=1")
	pub.until("ringcast.publisher?.state === 'live'")
	view := openPage(t, b, site(t, strings.ReplaceAll(string(snippet[1]), "https://media.example.org", s.URL)))
	view.until("document.getElementById('video').getVideoPlaybackQuality().totalVideoFrames > 10")
	pub.clean()
}
