package cluster

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ringcast/engine/api"
	"ringcast/engine/rtp"
)

const targetURL = "https://target.example/whip/" + stream

// pushing starts a target, and a server that pushes the stream to it.
func pushing(t *testing.T) (net *network, source, target *server) {
	t.Helper()
	net = newNetwork()
	target = newServer(t, net, "target.example")
	source = newServerWith(t, net, "source.example", Config{Pushes: []Remote{{Stream: stream, URL: targetURL}}})
	return net, source, target
}

// look gives a push the time to see a change of its stream, and to act.
func look() {
	time.Sleep(2 * liveInterval)
	synctest.Wait()
}

// pushed returns whether the server has a push of a live stream, and its phase.
func (s *server) pushed() (phase, bool) {
	s.node.mu.Lock()
	defer s.node.mu.Unlock()
	p := s.node.pushes[0]
	return p.phase, p.live
}

// A push begins with the media of its stream, and ends with it, at both servers. It begins again with the next.
func TestPush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, source, target := pushing(t)
		look()
		if net.requests() != 0 {
			t.Errorf("got %d POSTs without a stream, want none", net.requests())
		}
		for round := range 2 {
			publisher := source.engine.publish(stream)
			look()
			if phase, live := source.pushed(); phase != open || !live || net.requests() != round+1 {
				t.Fatalf("round %d: got the phase %v and %d POSTs; want an open push, and a POST for each", round,
					phase, net.requests())
			}
			a := source.engine.lastAnswer(t)
			if len(a.Tracks) != 2 || a.Tracks[1].Formats[0].Codec != rtp.VP8 || len(a.Tracks[1].Encodings) != 0 {
				t.Errorf("got the answer %+v; want sound and VP8, as a subscriber's", a)
			}
			st, ok := target.engine.Stream(stream)
			if !ok || len(st.Tracks) != 2 || st.Tracks[1].Encodings[0] != (rtp.Encoding{SSRC: 3001, RTXSSRC: 4001}) ||
				st.Tracks[1].Extensions[rtp.VideoOrientation] == 0 {
				t.Errorf("got the target's stream %+v; want both tracks, with the engine's SSRCs", st)
			}
			source.engine.Close(publisher)
			look()
			if phase, _ := source.pushed(); phase != open {
				t.Errorf("got the phase %v within the publisher's grace, want %v", phase, open)
			}
			source.engine.End(source.engine.dials[round], api.ReasonNoPublisher)
			look()
			sessions, _ := source.engine.sessions()
			theirs, _ := target.engine.sessions()
			if _, live := source.pushed(); live || sessions != 0 || theirs != 0 {
				t.Errorf("got %d and %d sessions after the stream; want none and no push", sessions, theirs)
			}
		}
		if source.logs(`"pushing a stream"`) != 2 || source.logs(`"push ended"`) != 2 {
			t.Errorf("got the log\n%s\nwant two pushes and their ends", source.log)
		}
	})
}

// A push of a pulled stream begins with its media. It keeps no pull open, as it is no viewer.
func TestPushOfPull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, _, _ := pair(t)
		newServer(t, net, "target.example")
		edge := newServerWith(t, net, "edge.example", Config{
			Pulls: []Remote{{Stream: stream, URL: originURL}}, Pushes: []Remote{{Stream: stream, URL: targetURL}},
		})
		v := edge.watch()
		wantStatus(t, v, http.StatusCreated)
		look()
		if _, live := edge.pushed(); live {
			t.Error("got a push before the first packet of the pull, want none")
		}
		edge.engine.begin(stream)
		look()
		if phase, live := edge.pushed(); phase != open || !live {
			t.Errorf("got the phase %v, want an open push", phase)
		}
		edge.leave(t, v)
		time.Sleep(idleSpan)
		synctest.Wait()
		if phase := edge.phase(); phase != numPhases {
			t.Errorf("got a pull in the phase %v after the last viewer, want none", phase)
		}
	})
}

// A push whose session ends is tried again at intervals, while the stream is live and no longer.
func TestTargetGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, source, _ := pushing(t)
		publisher := source.engine.publish(stream)
		look()
		net.setHandler("target.example", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "away", http.StatusBadGateway)
		}))
		before := net.requests()
		source.engine.End(source.engine.dials[0], api.ReasonUpstreamSilent)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if attempts := net.requests() - before; attempts < 15 || attempts > 50 {
			t.Errorf("got %d attempts in 10 minutes, want about one each 30 s", attempts)
		}
		source.engine.Close(publisher)
		time.Sleep(2 * longestRest)
		before = net.requests()
		time.Sleep(time.Hour)
		synctest.Wait()
		if live, _ := source.engine.sessions(); live != 0 || net.requests() != before {
			t.Errorf("got %d sessions and %d attempts without a stream, want none", live, net.requests()-before)
		}
	})
}

// Each answer of a target that cannot be used is named in one line, and leaves no session.
func TestHostileTargets(t *testing.T) {
	const token = "tokenOfTheTarget"
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "no to "+r.Header.Get("Authorization"), code)
		}
	}
	editing := func(edit func(string) string) func(*network) http.HandlerFunc {
		return func(net *network) http.HandlerFunc {
			net.hosts["origin.example"] = net.hosts["target.example"]
			return hostile(net, edit)
		}
	}
	always := func(h http.HandlerFunc) func(*network) http.HandlerFunc {
		return func(*network) http.HandlerFunc { return h }
	}
	for _, test := range []struct {
		name, reason string
		target       func(*network) http.HandlerFunc
	}{
		{"token", "unauthorized", always(status(http.StatusUnauthorized))},
		{"codec", "codec", always(status(http.StatusUnprocessableEntity))},
		{"no video", "codec", editing(without("video"))},
		{"taken", "stream taken", always(status(http.StatusConflict))},
		{"no such stream", "refused", always(status(http.StatusNotFound))},
		{
			"redirect", "redirect",
			always(http.RedirectHandler("https://victim.example/", http.StatusTemporaryRedirect).ServeHTTP),
		},
		{"garbage", "unusable answer", editing(func(string) string { return "hello" })},
		{
			"too long", "unusable answer",
			editing(func(a string) string { return a + strings.Repeat("a=x\r\n", maxAnswer/4) }),
		},
		{"a codec that was not offered", "unusable answer", editing(replacing("VP8/90000", "H264/90000"))},
		{"it sends", "unusable answer", editing(replacing("a=recvonly", "a=sendonly"))},
		{"a private address", "addresses", editing(replacing("203.0.113.1", "192.168.1.1"))},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := newNetwork()
				newServer(t, net, "target.example")
				net.hosts["target.example"] = test.target(net)
				source := newServerWith(t, net, "source.example",
					Config{Pushes: []Remote{{Stream: stream, URL: targetURL, Token: token}}})
				publisher := source.engine.publish(stream)
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				if source.logs(fmt.Sprintf("reason=%q", test.reason))+source.logs("reason="+test.reason) != 1 ||
					source.logs(token) != 0 {
					t.Errorf("got the log\n%s\nwant one line with the reason %q, and no token", source.log, test.reason)
				}
				if attempts := net.requests(); attempts < 10 {
					t.Errorf("got %d requests in 10 minutes, want an attempt each 30 s", attempts)
				}
				source.engine.Close(publisher)
				time.Sleep(2 * longestRest)
				synctest.Wait()
				if live, _ := source.engine.sessions(); live != 0 {
					t.Errorf("got %d sessions, want none left", live)
				}
			})
		})
	}
}

// without refuses a media line of an answer.
func without(kind string) func(string) string {
	line := regexp.MustCompile("m=" + kind + " [0-9]+ ")
	return func(answer string) string { return line.ReplaceAllString(answer, "m="+kind+" 0 ") }
}

// A target that refuses sound alone gets the video, and one line says so.
func TestPushWithoutSound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, source, _ := pushing(t)
		net.hosts["origin.example"] = net.hosts["target.example"]
		net.hosts["target.example"] = hostile(net, func(a string) string {
			a = without("audio")(strings.Replace(a, "BUNDLE 0 1", "BUNDLE 1", 1))
			return a + candidateLine // which was in the line of sound alone
		})
		source.engine.publish(stream)
		look()
		if a := source.engine.lastAnswer(t); len(a.Tracks) != 1 || source.logs("push without sound") != 1 {
			t.Errorf("got the answer %+v and the log\n%s\nwant video, and a line about sound", a, source.log)
		}
	})
}

// A target that does not answer has 5 s.
func TestSlowTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork()
		began, took := time.Now(), time.Duration(0)
		net.hosts["target.example"] = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			began = time.Now()
			<-r.Context().Done()
			took = time.Since(began)
		})
		source := newServerWith(t, net, "source.example", Config{Pushes: []Remote{{Stream: stream, URL: targetURL}}})
		source.engine.publish(stream)
		time.Sleep(answerSpan + liveInterval)
		synctest.Wait()
		if phase, _ := source.pushed(); took != answerSpan || phase != resting {
			t.Errorf("got the phase %v after %v, want a rest after %v", phase, took, answerSpan)
		}
	})
}
