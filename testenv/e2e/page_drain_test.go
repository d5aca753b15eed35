package e2e

import (
	"net"
	"strings"
	"testing"

	"ringcast/testenv"
)

// startPair runs a cluster of two nodes that send viewers to each other's URLs. The first has further flags. It
// returns when the first knows the other.
func startPair(t *testing.T, flags ...string) (first, other *testenv.Server) {
	t.Helper()
	var free []string
	var held []net.Listener // until all addresses are known, so that they differ
	for range 4 {
		l, err := net.Listen("tcp", "127.0.0.2:0") // no other test's servers listen here
		must(t, err)
		free, held = append(free, l.Addr().String()), append(held, l)
	}
	for _, l := range held {
		must(t, l.Close())
	}
	node := func(http, own, peer string, flags ...string) *testenv.Server {
		return testenv.StartServer(t, testenv.ServerOptions{HTTP: http, Args: append(flags, "--cluster-http", own,
			"--node-url", "http://"+own, "--peers", "http://"+peer, "--public-url", "http://"+http)})
	}
	first, other = node(free[0], free[1], free[3], flags...), node(free[2], free[3], free[1])
	for first.Metrics(t)["ringcast_cluster_nodes"] != 1 {
		let(t, patience/1000)
	}
	return first, other
}

// A page of one node may play from another, to which the first redirects it.
func TestPageRedirected(t *testing.T) {
	b := startBrowser(t)
	first, other := startPair(t, "--redirect-at", "1")
	pub := openPage(t, b, first.URL+"/?publish=away&source=pattern&codec=VP8&resolution=360&autostart=1")
	pub.until("ringcast.publisher?.state === 'live'")
	view := openPage(t, b, first.URL+"/?watch=away&autostart=1")
	view.untilPlaying()
	view.until("ringcast.watcher.location.startsWith('" + other.URL + "/')")
	view.clean()
}

// A node that ends asks its viewers to go to another. The page plays on there before it ends its session here.
func TestPageOfDrainingNode(t *testing.T) {
	b := startBrowser(t)
	first, other := startPair(t, "--drain", "40s")
	pub := openPage(t, b, other.URL+"/?publish=move&source=pattern&codec=VP8&resolution=360&autostart=1")
	pub.until("ringcast.publisher?.state === 'live'")
	view := openPage(t, b, first.URL+"/?watch=move&autostart=1")
	view.untilPlaying()
	view.until("document.querySelector('#badge').textContent === 'Watching'")
	view.until(`(() => {
		window.shown = [];
		const badge = document.querySelector('#badge');
		new MutationObserver(() => shown.push(badge.textContent)).observe(badge, { childList: true });
		return true;
	})()`)
	must(t, first.Stop())
	view.until("ringcast.watcher.location.startsWith('" + other.URL + "/') && ringcast.watcher.state === 'live'")
	view.untilPlaying()
	view.until("shown.every((text) => text === 'Watching') && video.srcObject === ringcast.watcher.media")
	if log := first.Log(); !strings.Contains(log, "viewers that stayed\" viewers=0 asked=1") ||
		!strings.Contains(log, "role=subscriber worker=") || strings.Contains(log, "reason=shutdown") {
		t.Errorf("the viewer has not left by itself; log:\n%s", log)
	}
	view.clean()
}
