package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"ringcast/testenv/pebble"
)

// freePort returns a port of loopback that nothing uses now.
func freePort(t *testing.T) (string, int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String(), l.Addr().(*net.TCPAddr).Port
}

// The whole server gets a certificate from a CA by each of the two challenges. It then serves HTTP/2, reports the
// certificate's end, and tells a client that comes by its address to use a name.
func TestCertificateOfAuthority(t *testing.T) {
	for _, challenge := range []string{"tls-alpn-01", "http-01"} {
		t.Run(challenge, func(t *testing.T) {
			address, public := freePort(t)
			challenges, plain := freePort(t)
			cfg := pebble.Config{TLS: public}
			if challenge == "http-01" {
				_, nobody := freePort(t)
				cfg = pebble.Config{TLS: nobody, HTTP: plain}
			}
			ca := pebble.Start(t, cfg)
			in := startProcess(t, "--tls", "acme", "--host", "media.example.org", "--http", address,
				"--acme-http", challenges, "--acme-directory", ca.Directory, "--acme-ca", ca.Roots,
				"--acme-cache", t.TempDir(), "--acme-email", "ops@example.org")
			in.stderr.entry(t, "serving a new certificate", "host", "media.example.org")
			transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{
				ServerName: "media.example.org", InsecureSkipVerify: true, // the test looks at the certificate
			}}
			defer transport.CloseIdleConnections()
			r, err := (&http.Client{Transport: transport, Timeout: patience}).Get("https://" + in.http + "/")
			if err != nil {
				t.Fatal(err)
			}
			r.Body.Close()
			leaf := r.TLS.PeerCertificates[0]
			if err := leaf.VerifyHostname("media.example.org"); err != nil || r.ProtoMajor != 2 {
				t.Errorf("%s, %v", r.Proto, err)
			}
			if _, err := tls.Dial("tcp", in.http, &tls.Config{InsecureSkipVerify: true}); err == nil {
				t.Error("a client without a name gets a certificate")
			}
			in.stderr.entry(t, "TLS handshake refused", "level", "WARN")
			_, metrics := get(t, "http://"+in.admin+"/metrics")
			for _, want := range []string{
				fmt.Sprintf(`ringcast_certificate_expiry_timestamp_seconds{host="media.example.org"} %g`,
					float64(leaf.NotAfter.Unix())),
				`ringcast_tls_refused_total{reason="no_name"} 1`,
			} {
				if !strings.Contains(metrics, want+"\n") {
					t.Errorf("metrics lack %s", want)
				}
			}
			in.stop(t)
		})
	}
}

// activate starts the command with sockets as systemd does.
func activate(t *testing.T, names string, sockets []net.Listener, args ...string) *exec.Cmd {
	t.Helper()
	shell := append([]string{"-c", `LISTEN_PID=$$ exec "$@"`, "sh", os.Args[0]}, withLocal(args)...)
	process := exec.Command("/bin/sh", shell...)
	for _, l := range sockets {
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		process.ExtraFiles = append(process.ExtraFiles, f)
	}
	process.Env = append(os.Environ(), fmt.Sprint("LISTEN_FDS=", len(sockets)), "LISTEN_FDNAMES="+names)
	return process
}

// Sockets of systemd take the place of the settings' addresses, which may be in use.
func TestSocketsOfSystemd(t *testing.T) {
	var sockets []net.Listener
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		sockets = append(sockets, l)
	}
	taken := sockets[0].Addr().String()
	in := startCommand(t, activate(t, "http:admin", sockets, "--http", taken, "--admin", taken))
	if in.http != taken || in.admin != sockets[1].Addr().String() {
		t.Errorf("listens on %s and %s", in.http, in.admin)
	}
	for _, l := range sockets {
		l.Close() // the server's are others
	}
	for _, url := range []string{"http://" + in.http + "/", "http://" + in.admin + "/readyz"} {
		if status, _ := get(t, url); status != http.StatusOK {
			t.Errorf("%s: %d", url, status)
		}
	}
	in.stop(t)
}

func TestUnknownSocketsOfSystemd(t *testing.T) {
	for names, want := range map[string]string{
		"https":     `systemd passed a socket named "https"; FileDescriptorName expected to be one of http, admin`,
		"http:http": "systemd passed two sockets named http; one expected: [::] takes IPv4 too",
		"acme-http": `systemd passed a socket named "acme-http"; FileDescriptorName expected to be one of http, admin`,
	} {
		var sockets []net.Listener
		for range strings.Split(names, ":") {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			sockets = append(sockets, l)
		}
		process := activate(t, names, sockets)
		process.Env = append(process.Env, asRingcast+"=1")
		process.WaitDelay = time.Second
		out, err := process.CombinedOutput()
		if err == nil || process.ProcessState.ExitCode() != exitFailed || string(out) != "ringcast: "+want+"\n" {
			t.Errorf("%s: %v: got %s, want %s", names, err, out, want)
		}
	}
}
