package main

import (
	"net/http"
	"testing"
)

// A node of a cluster ends after POST /api/drain as after SIGTERM. A server without a cluster has no such path.
func TestDrainByAdmin(t *testing.T) {
	ports := freePorts(t, 2)
	const token = "the-admin-token-of-a-test"
	in := start(t, "--cluster-http", ports[0], "--node-url", "http://"+ports[0], "--cluster-insecure",
		"--peers", "http://"+ports[1], "--admin-token", token)
	alone := start(t, "--admin-token", token)
	for _, row := range []struct {
		at     *instance
		bearer string
		want   int
	}{
		{alone, token, http.StatusNotFound},
		{in, "another-token-of-a-test", http.StatusUnauthorized},
		{in, token, http.StatusAccepted},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+row.at.admin+"/api/drain",
			http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+row.bearer)
		r.Header.Set("Content-Type", "application/json")
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != row.want {
			t.Errorf("bearer %s: got %s, want %d", row.bearer, answer.Status, row.want)
		}
	}
	if status := in.end(t); status != exitDone {
		t.Errorf("got status %d, want %d; log:\n%s", status, exitDone, in.stderr)
	}
	in.stderr.entry(t, "draining")
	in.stderr.entry(t, "shutting down", "reason", "POST /api/drain")
	alone.stop(t)
}
