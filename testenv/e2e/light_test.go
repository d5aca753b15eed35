package e2e

import (
	"net/http"
	"net/netip"
	"os"
	"testing"
	"time"

	"ringcast/testenv"
	"ringcast/testenv/peer"
)

// lightPeers connects light peers to a server with the offers that Chromium makes. Their HTTP connections end
// with each request.
type lightPeers struct {
	t              *testing.T
	server         *testenv.Server
	client         *http.Client
	publish, watch string // offers
}

func newLightPeers(t *testing.T, s *testenv.Server) *lightPeers {
	t.Helper()
	publish, err := os.ReadFile("../../signaling/testdata/chromium-offer-sendonly.sdp")
	must(t, err)
	watch, err := os.ReadFile("../../signaling/testdata/chromium-offer-recvonly.sdp")
	must(t, err)
	return &lightPeers{
		t: t, server: s, client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
		publish: withVideoSSRC(t, string(publish)), watch: string(watch),
	}
}

// connect posts an offer and connects; location is the session's URL.
func (x *lightPeers) connect(path, offer string) (p *peer.Peer, location string) {
	x.t.Helper()
	p, err := peer.New(peer.Config{}, netip.MustParseAddr("127.0.0.1"))
	must(x.t, err)
	x.t.Cleanup(p.Close)
	ctx := deadline(x.t, patience)
	local, location, err := p.Post(ctx, x.client, x.server.URL+path, offer)
	must(x.t, err)
	must(x.t, p.Connect(ctx, local))
	return p, location
}

// connectPublisher publishes a stream and waits until it is there: a peer's handshake ends before the
// server's does.
func (x *lightPeers) connectPublisher(stream string) (p *peer.Peer, location string) {
	x.t.Helper()
	p, location = x.connect("/whip/"+stream, x.publish)
	x.awaitMetric("ringcast_streams", 1)
	return p, location
}

// delete ends a session by its URL.
func (x *lightPeers) delete(location string) {
	x.t.Helper()
	request, err := http.NewRequestWithContext(x.t.Context(), http.MethodDelete, x.server.URL+location, nil)
	must(x.t, err)
	answer, err := x.client.Do(request)
	must(x.t, err)
	must(x.t, answer.Body.Close())
}

// awaitMetric waits until a metric has a value.
func (x *lightPeers) awaitMetric(name string, value float64) {
	x.t.Helper()
	for ctx := deadline(x.t, patience); x.server.Metrics(x.t)[name] != value; let(x.t, 5*time.Millisecond) {
		must(x.t, ctx.Err())
	}
}
