package e2e

import (
	"bytes"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"ringcast/testenv"
	"ringcast/testenv/browser"
)

// locked is a buffer that a process writes and a test reads.
type locked struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// startTURN runs coturn on loopback, with a secret, and returns its port and its log.
func startTURN(t *testing.T, secret string) (int, *locked) {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := c.LocalAddr().(*net.UDPAddr).Port
	_ = c.Close()
	log := &locked{}
	dir := t.TempDir()
	turn := exec.Command("turnserver", "-n", "--use-auth-secret", "--static-auth-secret="+secret, "--realm=example.org",
		"--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1", fmt.Sprint("--listening-port=", port), "--no-tls",
		"--no-dtls", "--no-cli", "--allow-loopback-peers", "--log-file=stdout", "--verbose", "--pidfile="+dir+"/pid",
		"--userdb="+dir+"/db")
	turn.Stdout, turn.Stderr = log, log
	if err := turn.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = turn.Process.Kill()
		_ = turn.Wait()
	})
	// It is ready when it answers a Binding request (RFC 8489 section 5).
	probe, err := net.Dial("udp", fmt.Sprint("127.0.0.1:", port))
	if err != nil {
		t.Fatal(err)
	}
	defer probe.Close()
	request := append([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, make([]byte, 12)...)
	answer := make([]byte, 512)
	for range 600 {
		_, _ = probe.Write(request)
		_ = probe.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if n, err := probe.Read(answer); err == nil && n > 20 {
			return port, log
		}
		time.Sleep(10 * time.Millisecond) // a refusal comes at once
	}
	t.Fatalf("coturn does not answer:\n%s", log)
	return 0, nil
}

// The page learns a TURN server from the answers' Link headers. Through it alone it publishes and watches: coturn takes
// the credentials, and each side's path begins at a relayed address.
func TestPageByTURN(t *testing.T) {
	testenv.Need(t, testenv.Program("turnserver"))
	port, log := startTURN(t, "a-secret=1")
	b := startBrowser(t)
	s := testenv.StartServer(t, testenv.ServerOptions{Args: []string{
		"--ice-server", "stun:127.0.0.1:9", "--ice-server", fmt.Sprintf("turn:127.0.0.1:%d?transport=udp", port),
		"--turn-secret", "a-secret=1", "--turn-lifetime", "1h",
	}})
	pub := openPage(t, b, s.URL+"/?publish=far&source=pattern&codec=VP8&resolution=360&autostart=1&relay=1")
	pub.until("ringcast.publisher?.state === 'live'")
	view := openPage(t, b, s.URL+"/?watch=far&autostart=1&relay=1")
	view.untilPlaying()
	for _, side := range []struct {
		page    *page
		session string
	}{{pub, "publisher"}, {view, "watcher"}} {
		got, err := browser.Eval[string](deadline(t, patience), side.page.tab, `(async () => {
			const stats = await ringcast.`+side.session+`.pc.getStats();
			const transport = [...stats.values()].find((s) => s.type === 'transport');
			return stats.get(stats.get(transport.selectedCandidatePairId).localCandidateId).candidateType;
		})()`)
		side.page.must(err)
		if got != "relay" {
			t.Errorf("the %s's path begins at a candidate of type %s, want relay", side.session, got)
		}
	}
	view.clean()
	pub.clean()
	if text := log.String(); strings.Count(text, "ALLOCATE processed, success") < 2 {
		t.Errorf("coturn's log:\n%s", text)
	}
}
