package e2e

import (
	"net/http"
	"net/netip"
	"os"
	"testing"
	"time"

	"ringcast/signaling/client"
	"ringcast/testenv"
	"ringcast/testenv/peer"
)

// lightPeers connects light peers to a server with the offers that Chromium makes. Their HTTP connections end
// with each request.
type lightPeers struct {
	t              *testing.T
	server         *testenv.Server
	web            *http.Client
	publish, watch string // offers
}

func newLightPeers(t *testing.T, s *testenv.Server) *lightPeers {
	t.Helper()
	publish, err := os.ReadFile("../../signaling/testdata/chromium-offer-sendonly.sdp")
	must(t, err)
	watch, err := os.ReadFile("../../signaling/testdata/chromium-offer-recvonly.sdp")
	must(t, err)
	return &lightPeers{
		t: t, server: s, web: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
		publish: withVideoSSRC(t, string(publish)), watch: string(watch),
	}
}

// connect posts an offer and connects.
func (x *lightPeers) connect(path, offer string) (*peer.Peer, *client.Session) {
	x.t.Helper()
	p, err := peer.New(peer.Config{}, netip.MustParseAddr("127.0.0.1"))
	must(x.t, err)
	x.t.Cleanup(p.Close)
	ctx := deadline(x.t, patience)
	local, session, err := p.Post(ctx, x.web, x.server.URL+path, offer)
	must(x.t, err)
	must(x.t, p.Connect(ctx, local))
	return p, session
}

// connectPublisher publishes a stream and waits until it is there: a peer's handshake ends before the
// server's does.
func (x *lightPeers) connectPublisher(stream string) (p *peer.Peer, session *client.Session) {
	x.t.Helper()
	p, session = x.connect("/whip/"+stream, x.publish)
	x.awaitMetric("ringcast_streams", 1)
	return p, session
}

// awaitMetric waits until a metric has a value.
func (x *lightPeers) awaitMetric(name string, value float64) {
	x.t.Helper()
	for ctx := deadline(x.t, patience); x.server.Metrics(x.t)[name] != value; let(x.t, 5*time.Millisecond) {
		must(x.t, ctx.Err())
	}
}
