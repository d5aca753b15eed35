package main

import (
	"bytes"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"ringcast/signaling"
)

func TestPublicConnections(t *testing.T) {
	for _, row := range []struct {
		limit, open, want int
		warned            bool
	}{
		{1 << 20, 20, signaling.MaxConnections, false},
		{signaling.MaxConnections + 168, 20, signaling.MaxConnections, false},
		{signaling.MaxConnections + 167, 20, signaling.MaxConnections - 1, true},
		{1024, 20, 856, true},
		{1024, 400, 96, true},
		{64, 20, leastConnections, true},
	} {
		var text bytes.Buffer
		got := publicConnections(row.limit, row.open, slog.New(slog.NewTextHandler(&text, nil)))
		if warned := strings.Contains(text.String(), "level=WARN"); got != row.want || warned != row.warned {
			t.Errorf("limit %d with %d open: got %d connections and a warning: %t, want %d and %t",
				row.limit, row.open, got, warned, row.want, row.warned)
		}
	}
}

// Connections that are hoarded take no descriptor that the server needs: the next offer is answered and so is
// the admin listener.
func TestFewDescriptors(t *testing.T) {
	const limit = 300
	offer, err := os.ReadFile("../../signaling/testdata/chromium-offer-sendonly.sdp")
	if err != nil {
		t.Fatal(err)
	}
	in := startCommand(t, exec.Command("/bin/sh", append([]string{
		"-c", "ulimit -n " + strconv.Itoa(limit) + ` && exec "$0" "$@"`, os.Args[0],
	}, withLocal(nil)...)...))
	e := in.stderr.entry(t, "the limit of open files leaves room for few HTTP connections")
	most, _ := e["connections"].(float64)
	if most < leastConnections || most >= limit-adminConnections-spareDescriptors || e["limit"] != float64(limit) {
		t.Errorf("the warning tells of limit %v and %v connections, want %d and some, but with a reserve",
			e["limit"], most, limit)
	}
	var hoard []net.Conn
	defer func() {
		for _, c := range hoard {
			c.Close()
		}
	}()
	dial := func(address string, n int) {
		for range n {
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			hoard = append(hoard, c)
		}
	}
	dial(in.http, limit+100)
	dial(in.admin, adminConnections+20)
	r, err := http.NewRequest(http.MethodPost, "http://"+in.http+"/whip/x", bytes.NewReader(offer))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/sdp")
	r.Close = true
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	equal(t, "offer beside a hoard", answer.StatusCode, http.StatusCreated)
	if status, text := get(t, "http://"+in.admin+"/readyz"); status != http.StatusOK {
		t.Errorf("readyz beside a hoard: %d %s", status, text)
	}
	in.stop(t)
	if log := in.stderr.String(); strings.Contains(log, "cannot be accepted") {
		t.Errorf("a descriptor was lacking:\n%s", log)
	}
}
