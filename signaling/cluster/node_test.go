package cluster

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ringcast/engine/api"
	"ringcast/engine/rtp"
	"ringcast/signaling/client"
)

// viewerOffer is an offer of a browser that watches.
func viewerOffer() string {
	o := client.Offer{
		Role: api.Subscriber, Audio: true, Video: true,
		ICE:         api.Credentials{Ufrag: "view", Password: "passwordOfTheViewer12345"},
		Fingerprint: strings.Repeat("CD:", 31) + "CD",
	}
	return o.String()
}

// pair starts an origin with the stream, and an edge that pulls it.
func pair(t *testing.T) (net *network, origin, edge *server) {
	t.Helper()
	net = newNetwork()
	origin = newServer(t, net, "origin.example")
	origin.engine.publish(stream)
	edge = newServer(t, net, "edge.example", Remote{Stream: stream, URL: originURL})
	return net, origin, edge
}

func wantStatus(t *testing.T, v viewer, want int) {
	t.Helper()
	if v.status != want {
		t.Fatalf("got status %d: %s; want %d", v.status, v.body, want)
	}
}

// The first viewer's POST makes the pull, and is answered when the upstream's tracks are known. 10 s after the last
// viewer the pull is gone at both servers.
func TestPull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, origin, edge := pair(t)
		first := edge.watch()
		wantStatus(t, first, http.StatusCreated)
		second := edge.watch()
		wantStatus(t, second, http.StatusCreated)
		if live, dials := edge.engine.sessions(); live != 3 || dials != 1 {
			t.Errorf("got %d sessions and %d dials; want two viewers and one pull", live, dials)
		}
		a := edge.engine.lastAnswer(t)
		if len(a.Tracks) != 2 || a.Tracks[1].Kind != rtp.Video || a.Tracks[1].Encodings[0].SSRC != 1001 ||
			a.Tracks[1].Encodings[0].RTXSSRC != 2001 || !a.Passive || len(a.Candidates) != 1 {
			t.Errorf("got the answer %+v; want the origin's two tracks, and a DTLS server", a)
		}
		edge.leave(t, first)
		time.Sleep(idleSpan)
		edge.leave(t, second)
		time.Sleep(idleSpan - time.Millisecond)
		synctest.Wait()
		if live, _ := edge.engine.sessions(); live != 1 {
			t.Errorf("got %d sessions just before 10 s without viewers, want the pull", live)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		live, _ := edge.engine.sessions()
		if upstream, _ := origin.engine.sessions(); live != 0 || upstream != 1 {
			t.Errorf("got %d sessions at the edge and %d at the origin after 10 s; want 0, and the publisher", live,
				upstream)
		}
	})
}

// However many viewers come at once, the upstream gets one POST.
func TestManyColdJoins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, _, edge := pair(t)
		const viewers = 1000
		var joins sync.WaitGroup
		created := make(chan int, viewers)
		for range viewers {
			joins.Go(func() { created <- edge.watch().status })
		}
		joins.Wait()
		close(created)
		good := 0
		for status := range created {
			if status == http.StatusCreated {
				good++
			}
		}
		if requests := net.requests(); good != viewers || requests != 1 {
			t.Errorf("got %d viewers and %d POSTs to the upstream; want %d and 1", good, requests, viewers)
		}
	})
}

// While viewers wait, the pull is tried again: soon after its session ended, then at intervals, until it works.
func TestUpstreamGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, origin, edge := pair(t)
		wantStatus(t, edge.watch(), http.StatusCreated)
		time.Sleep(time.Minute)
		publisher, _ := origin.engine.Stream(stream)
		origin.engine.Close(publisher.Publisher)
		edge.engine.End(edge.engine.dials[0], api.ReasonBye)
		time.Sleep(time.Minute)
		synctest.Wait()
		if _, dials := edge.engine.sessions(); dials < 30 || dials > 90 {
			t.Errorf("got %d dials in a minute without a publisher, want one about each second", dials)
		}
		origin.engine.publish(stream)
		time.Sleep(2 * streamRest)
		synctest.Wait()
		if phase := edge.phase(); phase != open {
			t.Errorf("got the phase %v after the publisher's return, want %v", phase, open)
		}
	})
}

// A pull that fails ends with its rest, if nobody watches.
func TestFailedPullEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, origin, edge := pair(t)
		publisher, _ := origin.engine.Stream(stream)
		origin.engine.Close(publisher.Publisher)
		for range 3 {
			v := edge.watch()
			wantStatus(t, v, http.StatusConflict)
			if v.header.Get("Retry-After") == "" {
				t.Error("got no Retry-After with 409, want one")
			}
		}
		if requests := net.requests(); requests != 1 {
			t.Errorf("got %d POSTs to the upstream for three viewers at once, want 1", requests)
		}
		time.Sleep(2 * streamRest)
		synctest.Wait()
		if live, _ := edge.engine.sessions(); live != 0 || edge.phase() != numPhases {
			t.Errorf("got %d sessions and the phase %v; want no session and no pull", live, edge.phase())
		}
	})
}

// A publisher of this server comes before an upstream, and nothing is pulled while it is there.
func TestLocalPublisherFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, _, edge := pair(t)
		edge.engine.publish(stream)
		wantStatus(t, edge.watch(), http.StatusCreated)
		if requests := net.requests(); requests != 0 {
			t.Errorf("got %d POSTs to the upstream, want none", requests)
		}
	})
}

// Two servers that pull a stream from each other do not get it, and no request hangs. A publisher at one of them
// serves both.
func TestLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork()
		a := newServer(t, net, "a.example", Remote{Stream: stream, URL: "https://b.example/whep/" + stream})
		b := newServer(t, net, "b.example", Remote{Stream: stream, URL: "https://a.example/whep/" + stream})
		began := time.Now()
		wantStatus(t, a.watch(), http.StatusServiceUnavailable)
		if took := time.Since(began); took != 0 {
			t.Errorf("a loop took %v to be found, want no time", took)
		}
		time.Sleep(2 * longestRest)
		publisher := b.engine.publish(stream)
		wantStatus(t, a.watch(), http.StatusCreated)
		b.engine.Close(publisher)
		// a still has the stream of b, and b is in its path.
		wantStatus(t, b.watch(), http.StatusServiceUnavailable)
		if b.logs("reason=loop") == 0 {
			t.Errorf("got the log\n%s\nwant a loop named", b.log)
		}
	})
}

// A server that pulls from itself is a loop, too.
func TestOwnUpstream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork()
		s := newServer(t, net, "self.example", Remote{Stream: stream, URL: "https://self.example/whep/" + stream})
		wantStatus(t, s.watch(), http.StatusServiceUnavailable)
		if _, dials := s.engine.sessions(); dials != 1 || net.requests() != 1 {
			t.Errorf("got %d dials and %d POSTs, want one of each", dials, net.requests())
		}
	})
}

// A chain has three hops at most.
func TestDepth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork()
		newServer(t, net, "0.example").engine.publish(stream)
		var last *server
		for i := range 4 {
			from, host := string(rune('0'+i))+".example", string(rune('1'+i))+".example"
			last = newServer(t, net, host, Remote{Stream: stream, URL: "https://" + from + "/whep/" + stream})
			want := http.StatusCreated
			if i == 3 {
				want = http.StatusServiceUnavailable
			}
			wantStatus(t, last.watch(), want)
		}
	})
}
