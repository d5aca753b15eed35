package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ringcast/testenv"
	"ringcast/testenv/browser"
)

// The embedded page, by clicks: publish in one tab, watch in another, and what it says when
// something is not as the user wants it.
func TestPage(t *testing.T) {
	b := startBrowser(t)
	s := testenv.StartServer(t, testenv.ServerOptions{})
	dir := testenv.Artifacts(t)

	pub := openPage(t, b, s.URL+"/")
	pub.fill("#stream", "page")
	pub.shoot(dir, "idle")
	pub.click("#start")
	pub.until("ringcast.publisher?.state === 'live'")

	pageByAddress(t, b, s, dir)

	view := openPage(t, b, s.URL+"/")
	view.click("#mode-watch")
	view.fill("#stream", "page")
	view.click("#start")
	view.until("ringcast.watcher?.state === 'live'")
	view.untilPlaying()
	view.until("ringcast.watcher.firstFrameAt > ringcast.watcher.postedAt")
	// The statistics need two samples to show a rate.
	let(t, 4*time.Second)
	view.until("[...document.querySelectorAll('#stats dd')].some((e) => /bit.s/.test(e.textContent))")
	pub.shoot(dir, "publish")
	view.shoot(dir, "watch")
	pageOnPhone(t, b, s, dir)

	view.click("#unmute")
	view.until("!document.querySelector('#video').muted && document.querySelector('#unmute').hidden")

	// Stop frees the stream: the viewer says so, the name can be published again, and the picture
	// comes back by itself.
	pub.click("#stop")
	pub.until("ringcast.publisher === null")
	view.until("!document.querySelector('#idle').hidden &&" +
		"document.querySelector('#idle-title').textContent === 'Waiting for the publisher'")
	pub.click("#start")
	pub.until("ringcast.publisher?.state === 'live'")
	view.until("ringcast.watcher?.state === 'live' && document.querySelector('#idle').hidden")
	view.untilPlaying()

	view.click("#stop")
	view.until("ringcast.watcher === null")
	pub.click("#stop")
	pub.until("ringcast.publisher === null")

	pub.clean()
	view.clean()
	t.Logf("screenshots in %s", dir)
}

// pageByAddress opens pages whose address says what to do, while another page publishes the stream "page".
func pageByAddress(t *testing.T, b *browser.Browser, s *testenv.Server, dir string) {
	t.Helper()
	// By the address: a viewer's link.
	early := openPage(t, b, s.URL+"/?watch=nobody&autostart=1")
	early.until("document.querySelector('#idle-title').textContent === 'Waiting for the publisher'")
	early.shoot(dir, "waiting")

	// Two publishers of one stream: the second reads the server's own words.
	second := openPage(t, b, s.URL+"/?publish=page&source=pattern&autostart=1")
	second.until("!document.querySelector('#error').hidden")
	second.shoot(dir, "taken")
	second.tab.Close()
	backup := openPage(t, b, s.URL+"/?publish=page&source=pattern&backup=1&autostart=1")
	backup.until("ringcast.publisher?.state === 'live'")
	backup.until("document.querySelector('#command-obs').textContent.endsWith('/whip/page?backup=1')")
	backup.click("#stop")
	backup.until("ringcast.publisher === null")
	backup.tab.Close()

	// A retry finds the stream that has come up in the meantime: published by the test pattern, with
	// everything set in the address.
	pattern := openPage(t, b,
		s.URL+"/?publish=nobody&source=pattern&codec=VP9&resolution=360&bitrate=700&simulcast=1&autostart=1")
	pattern.until("ringcast.publisher?.state === 'live'")
	early.until("ringcast.watcher?.state === 'live'")
	early.untilPlaying()
	early.shoot(dir, "retried")
	early.tab.Close()

	// Leaving the page frees the stream at once, and a page without camera can take it over.
	pattern.must(pattern.tab.Navigate(deadline(t, patience), "about:blank"))
	pattern.tab.Close()
	insecure := openPage(t, b, strings.Replace(s.URL, "127.0.0.1", browser.InsecureHost, 1)+"/?publish=nobody")
	insecure.until("!document.querySelector('#insecure').hidden &&" +
		"document.querySelector('#source').value === 'pattern'")
	insecure.shoot(dir, "insecure")
	insecure.click("#start")
	insecure.until("ringcast.publisher?.state === 'live'")
	insecure.tab.Close()
}

// pageOnPhone watches on a phone, upright and on its side.
func pageOnPhone(t *testing.T, b *browser.Browser, s *testenv.Server, dir string) {
	t.Helper()
	phone := &page{t: t, tab: mustOpen(t, b)}
	phone.must(phone.tab.Viewport(deadline(t, patience), upright))
	phone.must(phone.tab.Navigate(deadline(t, patience), s.URL+"/?watch=page&autostart=1"))
	phone.until("ringcast.watcher?.state === 'live'")
	phone.untilPlaying()
	phone.fits("phone", true)
	phone.must(phone.tab.Screenshot(deadline(t, patience), filepath.Join(dir, "page-phone.png")))
	phone.must(phone.tab.Viewport(deadline(t, patience), lying))
	phone.fits("phone on its side", true)
	phone.must(phone.tab.Screenshot(deadline(t, patience), filepath.Join(dir, "page-phone-landscape.png")))
	phone.tab.Close()
}

// stepSpan is the patience with one step in a page.
const stepSpan = 10 * time.Second

// A page is a tab of the demo page whose steps fail the test.
type page struct {
	t   *testing.T
	tab *browser.Tab
}

var (
	desktop = browser.Screen{Width: 1440, Height: 900}
	upright = browser.Screen{Width: 390, Height: 844, Mobile: true} // a phone
	lying   = browser.Screen{Width: 844, Height: 390, Mobile: true} // the phone on its side
	small   = browser.Screen{Width: 320, Height: 568, Mobile: true}
)

func openPage(t *testing.T, b *browser.Browser, url string) *page {
	t.Helper()
	tab := mustOpen(t, b)
	p := &page{t: t, tab: tab}
	p.must(tab.Viewport(deadline(t, patience), desktop))
	p.must(tab.Navigate(deadline(t, patience), url))
	return p
}

func mustOpen(t *testing.T, b *browser.Browser) *browser.Tab {
	t.Helper()
	tab, err := b.Open(deadline(t, patience), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tab.Close)
	return tab
}

func (p *page) must(err error) {
	p.t.Helper()
	if err == nil {
		return
	}
	state, _ := browser.Eval[string](deadline(p.t, patience), p.tab, `[location.href,
		...['#badge', '#idle-title', '#idle-detail', '#error'].map((s) => s + ': ' + document.querySelector(s)?.textContent)].join('\n')`)
	p.t.Fatalf("%v\n%s\nconsole:\n%s", err, state, p.tab.Console())
}

func (p *page) click(selector string) {
	p.t.Helper()
	p.must(p.tab.Click(deadline(p.t, patience), selector))
}

func (p *page) fill(selector, text string) {
	p.t.Helper()
	p.must(p.tab.Fill(deadline(p.t, patience), selector, text))
}

func (p *page) until(expression string) {
	p.t.Helper()
	p.must(p.tab.Until(deadline(p.t, patience), expression))
}

// untilPlaying waits until ten more frames have been decoded.
func (p *page) untilPlaying() {
	p.t.Helper()
	const decoded = `[...(await ringcast.watcher.pc.getStats()).values()]
		.filter((s) => s.type === 'inbound-rtp' && s.kind === 'video').reduce((n, s) => n + s.framesDecoded, 0)`
	p.until("ringcast.watcher?.pc")
	_, err := browser.Eval[bool](deadline(p.t, patience), p.tab, `(async () => {
		const start = `+decoded+`;
		while (`+decoded+` < start + 10) await new Promise((done) => setTimeout(done, 50));
		return true;
	})()`)
	p.must(err)
}

// shoot writes the page as it looks on a desktop and on a phone in both colour schemes, and demands
// that it fits.
func (p *page) shoot(dir, name string) {
	p.t.Helper()
	ctx := deadline(p.t, patience)
	for _, look := range []struct {
		suffix, scheme string
		screen         browser.Screen
	}{
		{"desktop-light", "light", desktop},
		{"desktop-dark", "dark", desktop},
		{"phone-light", "light", upright},
		{"phone-dark", "dark", upright},
		{"small-light", "light", small},
		{"small-dark", "dark", small},
		// Just beside the widths where the layout changes: measured only.
		{"", "light", browser.Screen{Width: 901, Height: 700}},
		{"", "light", browser.Screen{Width: 621, Height: 900, Mobile: true}},
	} {
		p.must(p.tab.ColorScheme(ctx, look.scheme))
		p.must(p.tab.Viewport(ctx, look.screen))
		p.fits(fmt.Sprintf("%s %d by %d", name, look.screen.Width, look.screen.Height), look.screen.Mobile)
		if look.suffix != "" {
			p.must(p.tab.Screenshot(ctx, filepath.Join(dir, "page-"+name+"-"+look.suffix+".png")))
		}
	}
	p.must(p.tab.Viewport(ctx, desktop))
}

// fits requires that the page does not scroll sideways, and that nothing lies over the notice on the picture or the
// controls there. On a phone a finger must hit every control, and that one only.
func (p *page) fits(what string, mobile bool) {
	p.t.Helper()
	const least = 44 // CSS pixels, as WCAG 2.5.5 has it
	bad, err := browser.Eval[[]string](deadline(p.t, patience), p.tab, fmt.Sprintf(`(() => {
		const bad = [];
		const seen = [];
		const root = document.documentElement;
		const mobile = %t;
		const least = %d;
		if (root.scrollWidth > root.clientWidth) bad.push('the page scrolls sideways: ' + root.scrollWidth + ' > ' + root.clientWidth);
		const place = (e, within) => {
			const name = e.id || e.className || e.tagName;
			const r = (e.type === 'checkbox' ? e.closest('label') : e).getBoundingClientRect();
			if (!e.checkVisibility() || r.width === 0) return;
			if (r.left < 0 || r.right > root.clientWidth) bad.push(name + ' is outside of the page: ' + r.left + ' to ' + r.right);
			if (mobile && e.matches('button, input, select, summary, a') && Math.min(r.width, r.height) < least) bad.push(name + ' is ' + r.width + ' by ' + r.height);
			for (const [other, o] of within) {
				if (r.left < o.right && o.left < r.right && r.top < o.bottom && o.top < r.bottom) bad.push(name + ' lies over ' + other);
			}
			within.push([name, r]);
		};
		const controls = [];
		for (const e of document.querySelectorAll('button, input, select, summary, a')) place(e, controls);
		const onPicture = [];
		for (const id of ['idle-title', 'idle-detail', 'spinner', 'badge', 'stats', 'unmute', 'tools']) place(document.getElementById(id), onPicture);
		return bad;
	})()`, mobile, least))
	p.must(err)
	for _, b := range bad {
		p.t.Errorf("%s: %s", what, b)
	}
}

// clean demands that the page has thrown nothing and loaded nothing from elsewhere.
func (p *page) clean() {
	p.t.Helper()
	if log := p.tab.Console(); strings.Contains(log, "Content Security Policy") || strings.Contains(log, "Uncaught") {
		p.t.Errorf("console:\n%s", log)
	}
}
