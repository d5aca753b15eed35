package cluster_test

import (
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
)

// offer sends a viewer's offer.
func (m *member) offer(t *testing.T, token string) *http.Response {
	t.Helper()
	text, err := os.ReadFile("../testdata/chromium-offer-recvonly.sdp")
	if err != nil {
		t.Fatal(err)
	}
	return m.ask(t, http.MethodPost, "/cast/whep/cam", string(text), "Content-Type", "application/sdp",
		"Authorization", "Bearer "+token)
}

// A node with many sessions sends offers on. The client gets the other node's answer, and the URL of a session there.
// A node that cannot be reached, or has no room, leaves the offer where it came.
func TestProxiedOffers(t *testing.T) {
	nodes := newMembers(t, "here", "there")
	here, there := nodes[0], nodes[1]
	here.watch(t) // which has room for one
	if got := here.offer(t, "nobody's"); got.StatusCode != http.StatusUnauthorized || there.seen != 0 {
		t.Errorf("another token: got %s and %d requests there, want 401 and none", got.Status, there.seen)
	}
	answer := here.offer(t, "viewer's")
	at := answer.Header.Get("Location")
	text, err := io.ReadAll(answer.Body)
	links := strings.Join(answer.Header.Values("Link"), ",")
	if answer.StatusCode != http.StatusCreated || err != nil || !strings.HasPrefix(at, "/cast/whep/cam/s/there.") ||
		!strings.Contains(links, at+"/events") || answer.Header.Get("ETag") == "" ||
		!strings.Contains(string(text), "a=ice-ufrag:") {
		t.Fatalf("got %s, %v, %q, %v, want 201 of the other node", answer.Status, answer.Header, text, err)
	}
	if id, _ := here.engine.opened(); id != 1 {
		t.Errorf("got %d sessions here, want one", id)
	}
	// There are as many sessions there now, but nobody has said so here. The node there does not send it back.
	if again := here.offer(t, "viewer's").Header.Get("Location"); !strings.Contains(again, "/s/there.") {
		t.Errorf("got a session at %s, want the other node: an offer goes to one other node at most", again)
	}
	if got := here.ask(t, http.MethodDelete, at, ""); got.StatusCode != http.StatusOK || !there.engine.ended[1] {
		t.Errorf("DELETE: got %s, want 200 and the end there", got.Status)
	}
	for name, answers := range map[string]func(http.ResponseWriter) bool{
		"no room": func(w http.ResponseWriter) bool { w.WriteHeader(http.StatusServiceUnavailable); return true },
		"gone":    nil,
	} {
		if there.answersForward = answers; answers == nil {
			there.nodes.Close()
		}
		got := here.offer(t, "viewer's")
		if at := got.Header.Get("Location"); got.StatusCode != http.StatusCreated || !strings.Contains(at, "/s/here.") {
			t.Errorf("%s: got %s, Location %q, want a session here", name, got.Status, at)
		}
	}
}
