package testenv

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"
)

// Front gives several servers one name, as a load balancer does, until the test ends. Each request goes to the first
// server that answers it.
func Front(t testing.TB, servers ...*Server) (base string) {
	t.Helper()
	var all []*url.URL
	for _, s := range servers {
		u, err := url.Parse(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, u)
	}
	front := httptest.NewServer(&httputil.ReverseProxy{
		ErrorLog: log.New(io.Discard, "", 0), // servers end
		Rewrite:  func(r *httputil.ProxyRequest) { r.Out.Host = r.In.Host },
		Transport: roundTripper(func(r *http.Request) (resp *http.Response, err error) {
			var body []byte
			if r.Body != nil {
				if body, err = io.ReadAll(r.Body); err != nil {
					return nil, err
				}
			}
			for _, u := range all {
				to := r.Clone(r.Context())
				to.URL.Scheme, to.URL.Host = u.Scheme, u.Host
				to.Body = io.NopCloser(bytes.NewReader(body))
				if resp, err = http.DefaultTransport.RoundTrip(to); err == nil {
					return resp, nil
				}
			}
			return nil, err
		}),
	})
	t.Cleanup(front.Close)
	return front.URL
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
