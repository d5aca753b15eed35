package main

import (
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
)

// manage makes a request of the admin API with a token, or without one.
func manage(t *testing.T, method, url, token string) (status int, text string) {
	t.Helper()
	r, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Close = true
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

// A server without a token draws one. It opens the admin listener's writes, and nothing of the public listener. Its
// file goes with the server, and no token is shown.
func TestDrawnAdminToken(t *testing.T) {
	t.Setenv("RUNTIME_DIRECTORY", t.TempDir())
	in := start(t)
	path, _ := in.stderr.entry(t, "drew an admin token")["file"].(string)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	token := strings.TrimSpace(string(content))
	for _, row := range []struct {
		url, token string
		status     int
	}{
		{in.admin + "/api/streams/x", token, http.StatusNotFound},
		{in.admin + "/api/streams/x", "", http.StatusUnauthorized},
		{in.admin + "/api/streams/x", token + "x", http.StatusUnauthorized},
		{in.http + "/api/streams/x", token, http.StatusNotFound},
		{in.http + "/api/limits", token, http.StatusNotFound},
	} {
		status, text := manage(t, http.MethodDelete, "http://"+row.url, row.token)
		if status != row.status {
			t.Errorf("DELETE %s: got status %d, want %d: %s", row.url, status, row.status, text)
		}
	}
	for _, public := range []string{"/api/streams", "/api/limits", "/api/openapi.json", "/metrics", "/debug/pprof/"} {
		status, text := manage(t, http.MethodGet, "http://"+in.http+public, token)
		if status != http.StatusNotFound {
			t.Errorf("GET %s of the public listener: status %d: %s", public, status, text)
		}
	}
	in.stop(t)
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the file of the token stays: %v", err)
	}
	if strings.Contains(in.stderr.String(), token) {
		t.Errorf("the token is in the log:\n%s", in.stderr)
	}
}

// Reads need a token where a proxy may pass strangers on, and where the listener is not on loopback. Probes need none.
func TestGuardedReads(t *testing.T) {
	const admin, metrics = "the-token-of-operators", "the-token-of-prometheus"
	for name, args := range map[string][]string{
		"a proxy":     {"--trusted-proxies", "127.0.0.1"},
		"any address": {"--admin", ":0"},
	} {
		t.Run(name, func(t *testing.T) {
			in := start(t, append(args, "--admin-token", admin, "--metrics-token", metrics)...)
			_, port, err := net.SplitHostPort(in.admin)
			if err != nil {
				t.Fatal(err)
			}
			for _, row := range []struct {
				path, token string
				status      int
			}{
				{"/metrics", "", http.StatusUnauthorized},
				{"/metrics", metrics, http.StatusOK},
				{"/metrics", admin, http.StatusOK},
				{"/api/streams", "", http.StatusUnauthorized},
				{"/api/streams", metrics, http.StatusForbidden},
				{"/api/streams", admin, http.StatusOK},
				{"/livez", "", http.StatusOK},
				{"/readyz", "", http.StatusOK},
			} {
				status, text := manage(t, http.MethodGet, "http://127.0.0.1:"+port+row.path, row.token)
				if status != row.status {
					t.Errorf("GET %s by %q: got status %d, want %d: %s", row.path, row.token, status, row.status, text)
				}
			}
			in.stop(t)
		})
	}
}
