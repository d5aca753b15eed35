package cluster

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"ringcast/engine/api"
	"ringcast/signaling/cluster/directory"
)

// shown returns the status of a node as JSON. It must have the form of the admin API's document.
func shown(t *testing.T, s Status) string {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromFile("../openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	if err := doc.Components.Schemas["Cluster"].Value.VisitJSON(v); err != nil {
		t.Errorf("%v: %s", err, text)
	}
	return string(text)
}

// The status has pulls with their upstreams, paths and failures, and no secret.
func TestStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork()
		origin := newServer(t, net, "origin.example")
		origin.engine.publish(stream)
		const secret = "s3cret-of-the-upstream"
		edge := newServerWith(t, net, "edge.example", Config{
			Pulls:  []Remote{{Stream: stream, URL: originURL + "?token=" + secret, Token: secret}},
			Pushes: []Remote{{Stream: "other", URL: "https://origin.example/whip/x?token=" + secret, Token: secret}},
		})
		wantStatus(t, edge.watch(), http.StatusCreated)
		s := edge.node.Status()
		want := LineStatus{
			Stream: stream, Upstream: originURL, Phase: "open", Path: directory.Path{origin.node.id, edge.node.id},
		}
		if got := s.Pulls; len(got) != 1 || got[0].Stream != want.Stream || got[0].Upstream != want.Upstream ||
			got[0].Phase != want.Phase || !slices.Equal(got[0].Path, want.Path) {
			t.Errorf("got the pulls %+v, want %+v", got, want)
		}
		if got := s.Pushes; len(got) != 1 || got[0].Phase != "idle" {
			t.Errorf("got the pushes %+v, want one without a publisher", got)
		}
		origin.engine.End(origin.engine.streams[stream].Publisher, api.ReasonClosed)
		edge.lose(api.ReasonUpstreamSilent)
		time.Sleep(time.Millisecond)
		if got := edge.node.Status().Pulls; len(got) != 1 || got[0].Phase != "resting" || got[0].Failures != 1 ||
			got[0].Reason != "session ended" || got[0].Path != nil {
			t.Errorf("got the pulls %+v, want one that rests after a failure", got)
		}
		s = edge.node.Status()
		s.Join(directory.Node{ID: "self", URL: "https://self.example"}, directory.State{
			Nodes: []directory.Known{{Node: directory.Node{ID: "o", URL: "https://o.example"}, Age: time.Second}},
			Reach: directory.Reach{Named: 1, Peers: []directory.Peer{{Name: "o", State: directory.PeerUp}}},
		})
		for _, s := range []Status{s, edge.node.Status()} {
			if text := shown(t, s); strings.Contains(text, secret) {
				t.Errorf("a secret is shown: %s", text)
			}
		}
	})
}
