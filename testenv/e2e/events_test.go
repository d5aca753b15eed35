package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"ringcast/testenv"
	"ringcast/testenv/browser"
)

// A player of another origin reads events by EventSource, which sends no token, and chooses a layer. The events end
// with the session.
func TestEventSource(t *testing.T) {
	b := startBrowser(t)
	s := testenv.StartServer(t, testenv.ServerOptions{Args: []string{"--view-token", "see"}})
	p := publish(t, b, browser.PublishOptions{
		Server: s.URL, Stream: "events", Codec: "VP8", Simulcast: true,
		Width: 960, Height: 540, FrameRate: 15, MaxBitrate: 900_000, KeepResolution: true,
	})
	defer p.Close()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
	}))
	defer elsewhere.Close()
	player := openPage(t, b, elsewhere.URL)
	play := fmt.Sprintf(eventPlayer, s.URL+"/whep/events")
	got, err := browser.Eval[eventsSeen](deadline(t, patience), player.tab, play)
	player.must(err)
	if got.Active != "{}" || got.ViewerCount != `{"viewercount":1}` {
		t.Errorf("got active %s and viewercount %s, want {} and 1", got.Active, got.ViewerCount)
	}
	if got.Chosen != 200 || got.Unknown != 409 || got.Ended != 200 {
		t.Errorf("a choice of %s: status %d, an unknown layer %d, the DELETE %d; want 200, 409 and 200",
			got.RID, got.Chosen, got.Unknown, got.Ended)
	}
}

// eventsSeen is the data of events by type, and the statuses of requests.
type eventsSeen struct {
	Active, ViewerCount, RID string
	Chosen, Unknown, Ended   int
}

// eventPlayer takes the endpoint's URL, and gives an eventsSeen.
const eventPlayer = `(async () => {
	const authorization = { Authorization: 'Bearer see' };
	const json = { ...authorization, 'Content-Type': 'application/json' };
	const until = async (f) => { while (!f()) await new Promise((done) => setTimeout(done, 50)); };
	const pc = new RTCPeerConnection();
	pc.addTransceiver('video', { direction: 'recvonly' });
	await pc.setLocalDescription();
	const answer = await fetch('%s', {
		method: 'POST', headers: { ...authorization, 'Content-Type': 'application/sdp' }, body: pc.localDescription.sdp,
	});
	const session = new URL(answer.headers.get('Location'), answer.url).href;
	const links = answer.headers.get('Link');
	const link = (name) => new URL(links.match('<([^>]*)>; rel="[^"]*:' + name + '"')[1], answer.url);
	await pc.setRemoteDescription({ type: 'answer', sdp: await answer.text() });

	const made = await fetch(link('server-sent-events'), {
		method: 'POST', headers: json, body: '["active","viewercount","layers"]',
	});
	const source = new EventSource(new URL(made.headers.get('Location'), made.url));
	const data = {};
	for (const type of ['active', 'viewercount', 'layers']) {
		source.addEventListener(type, (e) => { data[type] = e.data; });
	}
	const layers = () => JSON.parse(data.layers || '{}')['0'] || [];
	await until(() => data.active && data.viewercount && layers().length === 3);
	const { rid } = layers().at(-1);
	const choose = (rid) => fetch(link('layer'), {
		method: 'POST', headers: json, body: JSON.stringify({ mediaId: '0', rid }),
	});
	const chosen = (await choose(rid)).status;
	const unknown = (await choose('unknown')).status;
	const ended = (await fetch(session, { method: 'DELETE', headers: authorization })).status;
	await until(() => source.readyState === EventSource.CLOSED);
	pc.close();
	const statuses = { Chosen: chosen, Unknown: unknown, Ended: ended };
	return { Active: data.active, ViewerCount: data.viewercount, RID: rid, ...statuses };
})()`
