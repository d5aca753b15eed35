package e2e

import (
	"fmt"
	"testing"

	"ringcast/testenv"
	"ringcast/testenv/browser"
)

// Chromium speaks HTTP/2 with the server of HTTPS. The page publishes and watches there. An EventSource of a second
// session stays open across pings of the server, and delivers an event after them.
func TestPageOverHTTP2(t *testing.T) {
	testenv.Need(t, testenv.Chromium)
	b, err := browser.Start(t.Context(), browser.Options{Flags: map[string]string{"ignore-certificate-errors": ""}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	s := testenv.StartServer(t, testenv.ServerOptions{Args: []string{"--tls", "self"}})
	secure := "https" + s.URL[len("http"):]
	pub := openPage(t, b, secure+"/?publish=fast&source=pattern&codec=VP8&resolution=360&autostart=1")
	pub.until("ringcast.publisher?.state === 'live'")
	view := openPage(t, b, secure+"/?watch=fast&autostart=1")
	view.untilPlaying()
	player := openPage(t, b, secure+"/")
	got, err := browser.Eval[string](deadline(t, 2*patience), player.tab, fmt.Sprintf(http2Player, "/whep/fast"))
	player.must(err)
	if got != "" {
		t.Error(got)
	}
	for _, p := range []*page{pub, view, player} {
		others, err := browser.Eval[[]string](deadline(t, patience), p.tab, `performance.getEntries()
			.filter((e) => ['resource', 'navigation'].includes(e.entryType) && e.name.startsWith('https:'))
			.filter((e) => e.nextHopProtocol !== 'h2').map((e) => e.name + ' by ' + e.nextHopProtocol)`)
		p.must(err)
		if len(others) > 0 {
			t.Errorf("not by HTTP/2: %q", others)
		}
		p.clean()
	}
}

// http2Player takes the endpoint's path, and gives the empty text or a fault. It reads the viewer count for 65 s, in
// which the server pings twice, and then lets another viewer come. A lost connection shows as an error of the source.
const http2Player = `(async () => {
	const until = async (f) => { while (!f()) await new Promise((done) => setTimeout(done, 50)); };
	const watch = async () => {
		const pc = new RTCPeerConnection();
		pc.addTransceiver('video', { direction: 'recvonly' });
		await pc.setLocalDescription();
		const headers = { 'Content-Type': 'application/sdp' };
		const answer = await fetch('%s', { method: 'POST', headers, body: pc.localDescription.sdp });
		await pc.setRemoteDescription({ type: 'answer', sdp: await answer.text() });
		return { pc, location: new URL(answer.headers.get('Location'), answer.url).href };
	};
	const first = await watch();
	const made = await fetch(first.location + '/events', {
		method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '["viewercount"]',
	});
	const source = new EventSource(new URL(made.headers.get('Location'), made.url));
	let errors = 0;
	let viewers = 0;
	source.onerror = () => errors++;
	source.addEventListener('viewercount', (e) => { viewers = JSON.parse(e.data).viewercount; });
	await until(() => viewers === 2);
	await new Promise((done) => setTimeout(done, 65_000));
	const second = await watch();
	await until(() => viewers === 3);
	const fault = errors > 0 ? 'the event stream broke ' + errors + ' times' : '';
	source.close();
	for (const { pc, location } of [first, second]) {
		await fetch(location, { method: 'DELETE' });
		pc.close();
	}
	return fault;
})()`
