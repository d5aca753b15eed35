package cluster

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ringcast/engine/api"
)

// A hostile upstream answers as it likes. edit changes the answer of a real server.
func hostile(net *network, edit func(answer string) string, headers ...string) http.HandlerFunc {
	honest := net.hosts["origin.example"]
	return func(w http.ResponseWriter, r *http.Request) {
		recorded := httptest.NewRecorder()
		honest.ServeHTTP(recorded, r)
		w.Header().Set("Content-Type", "application/sdp")
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(recorded.Code)
		_, _ = io.WriteString(w, edit(recorded.Body.String()))
	}
}

func replacing(part, by string) func(string) string {
	return func(answer string) string { return strings.ReplaceAll(answer, part, by) }
}

// candidateLine is a candidate of the answers here.
const candidateLine = "a=candidate:1 1 udp 2130706431 203.0.113.1 7000 typ host\r\n"

// An upstream's answer that cannot be used fails the pull, and names the reason.
func TestHostileAnswers(t *testing.T) {
	for _, test := range []struct {
		name   string
		edit   func(string) string
		reason string
	}{
		{"garbage", func(string) string { return "hello" }, "unusable answer"},
		{"nothing", func(string) string { return "" }, "unusable answer"},
		{"too long", func(a string) string { return a + strings.Repeat("a=x\r\n", maxAnswer/4) }, "unusable answer"},
		{"a codec that was not offered", replacing("96 VP8/90000", "96 H264/90000"), "unusable answer"},
		{"a payload type that was not offered", func(a string) string {
			return strings.NewReplacer("rtpmap:96 ", "rtpmap:127 ", "SAVPF 96 ", "SAVPF 127 ").Replace(a)
		}, "unusable answer"},
		{"an extension's number", replacing("a=extmap:4 ", "a=extmap:9 "), "unusable answer"},
		{"two lines of a kind", replacing("m=audio", "m=video"), "unusable answer"},
		{"one line less", func(a string) string { return a[:strings.Index(a, "m=video")] }, "unusable answer"},
		{"nothing to send", replacing("a=sendonly", "a=recvonly"), "unusable answer"},
		{"no candidates", replacing(candidateLine, ""), "unusable answer"},
		{"long credentials", replacing("a=ice-ufrag:", "a=ice-ufrag:"+strings.Repeat("x", 257)), "unusable answer"},
		{"loopback", replacing("203.0.113.1", "127.0.0.1"), "addresses"},
		{"a private address", replacing("203.0.113.1", "192.168.1.1"), "addresses"},
		{"a link-local address", replacing("203.0.113.1", "169.254.169.254"), "addresses"},
		{"a mapped address", replacing("203.0.113.1", "::ffff:10.0.0.1"), "addresses"},
		{"a mapped address of this machine", replacing("203.0.113.1", "::ffff:0.0.0.0"), "unusable answer"},
		{"multicast", replacing("203.0.113.1", "224.0.0.1"), "addresses"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net, _, edge := pair(t)
				net.hosts["origin.example"] = hostile(net, test.edit)
				wantStatus(t, edge.watch(), http.StatusServiceUnavailable)
				time.Sleep(2 * longestRest)
				synctest.Wait()
				if live, _ := edge.engine.sessions(); live != 0 {
					t.Errorf("got %d sessions, want none left", live)
				}
				if edge.logs(fmt.Sprintf("reason=%q", test.reason))+edge.logs("reason="+test.reason) != 1 {
					t.Errorf("got the log\n%s\nwant one line with the reason %q", edge.log, test.reason)
				}
			})
		})
	}
}

// Eight candidates are dialled at most, and only public ones.
func TestCandidates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, _, edge := pair(t)
		many := candidateLine
		for i := range 20 {
			many += fmt.Sprintf("a=candidate:1 1 udp 2130706430 203.0.113.%d 7000 typ host\r\n", 2+i)
			many += fmt.Sprintf("a=candidate:1 1 udp 2130706431 10.0.0.%d 7000 typ host\r\n", 1+i)
		}
		net.hosts["origin.example"] = hostile(net, replacing(candidateLine, many))
		wantStatus(t, edge.watch(), http.StatusCreated)
		got := edge.engine.lastAnswer(t).Candidates
		if len(got) > api.MaxCandidates || got[0] != netip.MustParseAddrPort("203.0.113.1:7000") {
			t.Errorf("got the candidates %v; want %d at most, the public ones", got, api.MaxCandidates)
		}
		for _, c := range got {
			if c.Addr().IsPrivate() {
				t.Errorf("got the candidate %v; want none that is private", c)
			}
		}
	})
}

// A viewer who claims to be a server of a loop is refused alone: the next viewer gets the stream.
func TestForgedPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, origin, edge := pair(t)
		for _, path := range []string{"a b c", string(origin.node.id)} {
			if v := edge.watch(pathHeader, path); v.status == http.StatusCreated {
				t.Fatalf("got status %d for the path %q, want a refusal", v.status, path)
			}
		}
		synctest.Wait()
		wantStatus(t, edge.watch(), http.StatusCreated)
	})
}

// An upstream that says nothing, or one byte at a time, has 5 s.
func TestSlowUpstreams(t *testing.T) {
	silent := func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	dripping := func(r *http.Request) (*http.Response, error) {
		return &http.Response{
			StatusCode: http.StatusCreated, Request: r, Header: http.Header{}, Body: io.NopCloser(drip{r}),
		}, nil
	}
	for name, trip := range map[string]func(*http.Request) (*http.Response, error){
		"silent": silent, "dripping": dripping,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				edge := newServer(t, newNetwork(), "edge.example")
				edge.node.upstreams[stream] = &upstream{
					Remote: Remote{Stream: stream, URL: originURL}, transport: roundTrip(trip),
				}
				began := time.Now()
				wantStatus(t, edge.watch(), http.StatusServiceUnavailable)
				if took := time.Since(began); took != answerSpan {
					t.Errorf("got a failure after %v, want %v", took, answerSpan)
				}
			})
		})
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A drip is an endless body that is slow.
type drip struct{ request *http.Request }

func (d drip) Read(b []byte) (int, error) {
	select {
	case <-time.After(100 * time.Millisecond):
		b[0] = 'v'
		return 1, nil
	case <-d.request.Context().Done():
		return 0, d.request.Context().Err()
	}
}

// A redirect is not followed, and nothing is deleted at another server.
func TestElsewhere(t *testing.T) {
	t.Run("redirect", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			net, _, edge := pair(t)
			net.hosts["victim.example"] = net.hosts["origin.example"]
			net.hosts["origin.example"] = http.RedirectHandler("https://victim.example/whep/"+stream,
				http.StatusTemporaryRedirect)
			wantStatus(t, edge.watch(), http.StatusServiceUnavailable)
			if requests := net.requests(); requests != 1 || edge.logs("reason=redirect") != 1 {
				t.Errorf("got %d POSTs and the log\n%s\nwant one POST and the redirect named", requests, edge.log)
			}
		})
	})
	for _, location := range []string{
		"https://victim.example/secret", "http://origin.example/secret", "https://origin.example:8443/secret",
	} {
		t.Run(location, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net, _, edge := pair(t)
				honest := hostile(net, func(a string) string { return a }, "Location", location)
				deletes := 0
				count := func(w http.ResponseWriter, r *http.Request) {
					if r.Method == http.MethodDelete {
						deletes++
						return
					}
					honest(w, r)
				}
				for _, host := range []string{"origin.example", "victim.example", "origin.example:8443"} {
					net.hosts[host] = http.HandlerFunc(count)
				}
				wantStatus(t, edge.watch(), http.StatusCreated)
				edge.engine.End(edge.engine.dials[0], api.ReasonBye)
				time.Sleep(leastRest / 4)
				synctest.Wait()
				if deletes != 0 {
					t.Errorf("got %d DELETEs at %s, want none", deletes, location)
				}
			})
		})
	}
}

// An upstream that refuses our token is named once, asked seldom, and no log has the token, though it repeats it.
func TestRefusedToken(t *testing.T) {
	const token = "tokenOfTheUpstream"
	for _, up := range []Remote{
		{Stream: stream, URL: originURL, Token: token}, {Stream: stream, URL: originURL + "?jwt=" + token},
	} {
		synctest.Test(t, func(t *testing.T) {
			net, _, _ := pair(t)
			edge := newServer(t, net, "edge2.example", up)
			refusing := false
			honest := net.hosts["origin.example"]
			net.hosts["origin.example"] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				shown := r.Header.Get("Authorization") + " " + r.URL.RawQuery
				if r.Method == http.MethodPost && !strings.Contains(shown, token) {
					t.Errorf("got %q at the upstream, want the token", shown)
				}
				if refusing {
					http.Error(w, "no to "+shown, http.StatusUnauthorized)
					return
				}
				honest.ServeHTTP(w, r)
			})
			wantStatus(t, edge.watch(), http.StatusCreated)
			refusing = true
			before := net.requests()
			edge.engine.End(edge.engine.dials[0], api.ReasonBye)
			time.Sleep(10 * time.Minute)
			synctest.Wait()
			if attempts := net.requests() - before; attempts < 10 || attempts > 40 {
				t.Errorf("got %d attempts in 10 minutes, want about one each 30 s", attempts)
			}
			log := edge.log.String()
			if edge.logs("reason=unauthorized") != 1 || strings.Contains(log, token) {
				t.Errorf("got the log\n%s\nwant the refusal once, and no secret", log)
			}
		})
	}
}

// Each kind of failure has a rest within its bounds, and what the upstream asked for counts.
func TestRests(t *testing.T) {
	for reason := range numReasons {
		for failures := range 100 {
			for _, chance := range []float64{0, .5, .999} {
				f := failure{reason: reason}
				if got := f.rest(failures, chance); got < leastRest/2 || got >= longestRest*3/2 {
					t.Errorf("%v, failure %d, chance %v: got a rest of %v; want %v to %v",
						reason, failures, chance, got, leastRest/2, longestRest*3/2)
				}
			}
		}
	}
	f := failure{reason: noStream, after: 20 * time.Second}
	if got := f.rest(0, 0); got != f.after {
		t.Errorf("got a rest of %v, want the %v of Retry-After", got, f.after)
	}
	if f := classify(errors.New("other")); f.reason != local {
		t.Errorf("got the reason %v for an unknown error, want %v", f.reason, local)
	}
}
