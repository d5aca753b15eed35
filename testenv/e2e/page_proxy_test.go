package e2e

import (
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"ringcast/testenv"
	"ringcast/testenv/browser"
)

// The page publishes, watches, lists and ends sessions below a path of a reverse proxy, which keeps the path or removes
// it.
func TestPageBehindProxy(t *testing.T) {
	b := startBrowser(t)
	for _, tt := range []struct {
		name    string
		args    []string
		rewrite func(*httputil.ProxyRequest)
	}{
		{"leaves the base", []string{"--base", "/cast"}, func(*httputil.ProxyRequest) {}},
		{"takes it off and tells", []string{"--trusted-proxies", "127.0.0.1"}, func(r *httputil.ProxyRequest) {
			r.Out.URL.Path = strings.TrimPrefix(r.In.URL.Path, "/cast")
			r.Out.Header.Set("X-Forwarded-Prefix", "/cast")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := testenv.StartServer(t, testenv.ServerOptions{Args: tt.args})
			to, err := url.Parse(s.URL)
			if err != nil {
				t.Fatal(err)
			}
			proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
				r.SetURL(to)
				tt.rewrite(r)
				r.SetXForwarded()
			}})
			defer proxy.Close()

			pub := openPage(t, b, proxy.URL+"/cast?publish=below&source=pattern&codec=VP8&resolution=360&autostart=1")
			pub.until("ringcast.publisher?.state === 'live'")
			view := openPage(t, b, proxy.URL+"/cast/?watch=")
			view.click("[data-stream=below]")
			view.untilPlaying()
			for _, side := range []struct {
				page          *page
				session, root string
			}{{pub, "publisher", "/cast/whip/below/"}, {view, "watcher", "/cast/whep/below/"}} {
				got, err := browser.Eval[string](deadline(t, stepSpan), side.page.tab,
					"ringcast."+side.session+".location")
				side.page.must(err)
				if !strings.HasPrefix(got, proxy.URL+side.root) {
					t.Errorf("the %s's session is %s, want it below %s%s", side.session, got, proxy.URL, side.root)
				}
			}
			share, err := browser.Eval[string](deadline(t, stepSpan), pub.tab,
				"document.querySelector('#share-link').href")
			pub.must(err)
			if want := proxy.URL + "/cast/?watch=below&autostart=1"; share != want {
				t.Errorf("the viewer's link is %s, want %s", share, want)
			}
			pub.click("#stop")
			view.click("#stop")
			view.until("document.querySelectorAll('#stream-list button').length === 0")
			view.clean()
			pub.clean()
		})
	}
}
