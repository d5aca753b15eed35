package main

import (
	"bytes"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"ringcast/cmd/ringcast/internal/web"
)

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
	if most < web.LeastConnections || most >= limit-web.AdminConnections-web.SpareDescriptors ||
		e["limit"] != float64(limit) {
		t.Errorf("the warning has limit %v and %v connections, want %d and some, but with a reserve",
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
	dial(in.admin, web.AdminConnections+20)
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
