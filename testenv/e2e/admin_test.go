package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"ringcast/testenv"
	"ringcast/testenv/browser"
)

const operatorsToken = "the-token-of-operators"

// operator makes a request of the admin API with the token, and returns the answer's body.
func operator(t *testing.T, s *testenv.Server, method, path, body string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.Admin+path, bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+operatorsToken)
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s, %v: %s", method, path, answer.Status, err, text)
	}
	return string(text)
}

// A page of another origin, which an operator's browser shows, can neither read anything of the admin listener nor
// change anything. The listener is on loopback, and reads are open there.
func TestAdminFromOtherOrigins(t *testing.T) {
	b := startBrowser(t)
	s := testenv.StartServer(t, testenv.ServerOptions{Args: []string{"--admin-token", operatorsToken}})
	limits := operator(t, s, http.MethodPatch, "/api/limits", `{"streamViewers":7}`)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<!doctype html><title>elsewhere</title>")
	}))
	defer elsewhere.Close()
	for name, origin := range map[string]string{
		"another site":         strings.Replace(elsewhere.URL, "127.0.0.1", browser.InsecureHost, 1),
		"the same, other port": elsewhere.URL,
	} {
		t.Run(name, func(t *testing.T) {
			page := openPage(t, b, origin)
			before := s.Metrics(t)
			attack := fmt.Sprintf(forgeries, s.Admin)
			got, err := browser.Eval[map[string]string](deadline(t, patience), page.tab, attack)
			page.must(err)
			for forgery, outcome := range got {
				if outcome != "nothing" {
					t.Errorf("%s: got %s, want nothing", forgery, outcome)
				}
			}
			if len(got) < 12 {
				t.Errorf("%d forgeries were tried, want 12: %v", len(got), got)
			}
			if now := operator(t, s, http.MethodGet, "/api/limits", ""); now != limits {
				t.Errorf("the limits are %s, want %s", now, limits)
			}
			after := s.Metrics(t)
			const done = `ringcast_admin_writes_total{action="set_limits",result="done"}`
			const refused = `ringcast_admin_refused_total{check="origin"}`
			if after[done] != 1 || after[refused] < before[refused]+8 {
				t.Errorf("%v writes were done and %v refused, want 1 and at least 8", after[done],
					after[refused]-before[refused])
			}
		})
	}
}

// forgeries takes the root of the admin listener. It tries all that a page can send there, and gives the outcome of
// each: nothing, or the gain.
const forgeries = `(async () => {
	const admin = '%s', limits = admin + '/api/limits', streams = admin + '/api/streams';
	const body = '{"streamViewers":1}';
	const got = {};
	const attempt = async (name, f) => {
		try { got[name] = await f() || 'nothing'; } catch { got[name] = 'nothing'; }
	};
	const gain = async (answer) => answer.type == 'opaque' ? '' : answer.status + ' ' + await answer.text();
	const element = (tag, set) => new Promise((done) => {
		const e = document.createElement(tag);
		e.onload = () => done('loaded');
		e.onerror = () => done('');
		set(e);
		document.body.append(e);
	});
	await attempt('fetch', async () => gain(await fetch(streams)));
	await attempt('fetch with credentials', async () => gain(await fetch(streams, { credentials: 'include' })));
	await attempt('fetch without CORS', async () => gain(await fetch(streams, { mode: 'no-cors' })));
	await attempt('metrics', async () => gain(await fetch(admin + '/metrics')));
	await attempt('profile', async () => gain(await fetch(admin + '/debug/pprof/heap?debug=1')));
	await attempt('PATCH', async () => gain(await fetch(limits, {
		method: 'PATCH', body, headers: { 'Content-Type': 'application/json' },
	})));
	await attempt('PATCH with a bearer', async () => gain(await fetch(limits, {
		method: 'PATCH', body, headers: { 'Content-Type': 'application/json', Authorization: 'Bearer x' },
	})));
	await attempt('DELETE', async () => gain(await fetch(streams + '/x', { method: 'DELETE' })));
	await attempt('simple POST', async () => gain(await fetch(limits, { method: 'POST', mode: 'no-cors', body })));
	await attempt('beacon', async () => { navigator.sendBeacon(limits, body); });
	await attempt('image', () => element('img', (e) => { e.src = admin + '/metrics'; }));
	await attempt('script', () => element('script', (e) => { e.src = streams; }));
	await attempt('style', () => element('link', (e) => { e.rel = 'stylesheet'; e.href = streams; }));
	await attempt('EventSource', () => new Promise((done) => {
		const e = new EventSource(streams);
		e.onopen = () => done('open');
		e.onerror = () => { e.close(); done(''); };
	}));
	await attempt('form', () => new Promise((done) => {
		const frame = document.createElement('iframe');
		frame.name = 'target';
		document.body.append(frame);
		const form = document.createElement('form');
		Object.assign(form, { method: 'POST', action: limits, enctype: 'text/plain', target: 'target' });
		const field = document.createElement('input');
		Object.assign(field, { name: '{"streamViewers":1,"x":"', value: '"}' });
		form.append(field);
		document.body.append(form);
		frame.onload = () => {
			try { done(frame.contentDocument && frame.contentDocument.URL == 'about:blank' ? '' :
				frame.contentDocument && frame.contentDocument.body.textContent); } catch { done(''); }
		};
		form.submit();
	}));
	await attempt('frame', () => new Promise((done) => {
		const frame = document.createElement('iframe');
		frame.src = streams;
		frame.onload = () => {
			try { done(frame.contentDocument && frame.contentDocument.body.textContent); } catch { done(''); }
		};
		document.body.append(frame);
	}));
	return got;
})()`

// A name of a stranger that leads to loopback makes its page one of the listener's own origin (DNS rebinding). The
// browser lets it read all then. Only the Host header shows the name, and the listener refuses it.
func TestAdminByRebinding(t *testing.T) {
	b := startBrowser(t)
	for _, row := range []struct {
		name   string
		args   []string
		status string
	}{
		{"a stranger's name", nil, "421"},
		{"a configured name", []string{"--admin-host", browser.InsecureHost}, "200"}, // the test can see a success
	} {
		t.Run(row.name, func(t *testing.T) {
			s := testenv.StartServer(t, testenv.ServerOptions{Args: append(row.args, "--admin-token", operatorsToken)})
			rebound := strings.Replace(s.Admin, "127.0.0.1", browser.InsecureHost, 1)
			page := openPage(t, b, rebound+"/livez")
			got, err := browser.Eval[map[string]string](deadline(t, patience), page.tab, `(async () => {
				const got = { origin: location.origin };
				for (const path of ['/metrics', '/api/streams', '/api/limits']) {
					got[path] = String((await fetch(path)).status);
				}
				got.write = String((await fetch('/api/limits', {
					method: 'PATCH', body: '{"streamViewers":1}', headers: { 'Content-Type': 'application/json' },
				})).status);
				return got;
			})()`)
			page.must(err)
			write := "421"
			if row.status == "200" {
				write = "401" // it has no token
			}
			for path, status := range got {
				want := row.status
				switch path {
				case "origin":
					want = rebound
				case "write":
					want = write
				}
				if status != want {
					t.Errorf("%s: got %s, want %s", path, status, want)
				}
			}
		})
	}
}
