package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"ringcast/signaling/sign"
	"ringcast/testenv/peer"
)

// A receiver learns of a stream and of the end of the server, by signed requests.
func TestHook(t *testing.T) {
	const secret = "s3cret-of-the-webhook"
	types := make(chan string, 100)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = sign.Verify(secret, r.Header.Get(sign.Header), time.Now(), body, time.Hour)
		}
		var got struct {
			Events []struct{ Type, Stream string }
		}
		if err == nil {
			err = json.Unmarshal(body, &got)
		}
		if err != nil {
			t.Errorf("%v: %s", err, body)
		}
		for _, e := range got.Events {
			types <- strings.TrimSpace(e.Type + " " + e.Stream)
		}
	}))
	defer receiver.Close()
	offer, err := os.ReadFile("../../signaling/testdata/chromium-offer-sendonly.sdp")
	if err != nil {
		t.Fatal(err)
	}
	in := start(t, "--hook-url", receiver.URL+"/?key=s3cret", "--hook-secret", secret)
	p, err := peer.New(peer.Config{}, netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	local, _, err := p.Post(ctx, trusting(t), "http://"+in.http+"/whip/x", string(offer))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Connect(ctx, local); err != nil {
		t.Fatal(err)
	}
	next := func(want string) {
		t.Helper()
		select {
		case got := <-types:
			equal(t, "event", got, want)
		case <-ctx.Done():
			t.Fatalf("no event, want %s", want)
		}
	}
	next("stream.started x")
	in.stop(t)
	next("node.draining")
	next("stream.ended x")
	if strings.Contains(in.stderr.String(), "s3cret") {
		t.Errorf("a secret is in the log:\n%s", in.stderr)
	}
}
