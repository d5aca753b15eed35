//go:build unix

package dtls

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/pprof"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/elliptic"

	"ringcast/engine/api"
	"ringcast/testenv/forge"
)

// cpuTime is the processor time that this process has taken.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// The sides of a benchmark's handshakes. Their goroutines carry them as a label.
const (
	sideLabel = "side"
	ourSide   = "ours"
	peerSide  = "peer"
)

// as runs f, and the goroutines that it starts, with the label of a side.
func as(side string, f func()) {
	pprof.Do(context.Background(), pprof.Labels(sideLabel, side), func(context.Context) { f() })
}

// handshakeCost measures the handshakes of a benchmark.
type handshakeCost struct {
	began   time.Duration
	profile *os.File
}

func measureHandshakes(b *testing.B) *handshakeCost {
	file, err := os.Create(filepath.Join(b.TempDir(), "profile"))
	if err == nil {
		err = pprof.StartCPUProfile(file)
	}
	if err != nil {
		b.Fatal(err)
	}
	return &handshakeCost{cpuTime(b), file}
}

var tagShare = regexp.MustCompile(`\((\S+)%\): (\w+)`)

// report divides the CPU time of both sides as the profile's samples. Garbage collection has no label, so each side
// bears its part.
func (c *handshakeCost) report(b *testing.B) {
	b.StopTimer()
	each := float64(cpuTime(b)-c.began) / float64(time.Microsecond) / float64(b.N)
	pprof.StopCPUProfile()
	_ = c.profile.Close()
	b.ReportMetric(each, "cpu-µs/op")
	text, err := exec.Command("go", "tool", "pprof", "-tags", c.profile.Name()).Output()
	if err != nil {
		b.Fatal(err)
	}
	shares := map[string]float64{}
	for _, m := range tagShare.FindAllStringSubmatch(string(text), -1) {
		if shares[m[2]], err = strconv.ParseFloat(m[1], 64); err != nil {
			b.Fatal(err)
		}
	}
	if both := shares[ourSide] + shares[peerSide]; both > 0 {
		b.ReportMetric(each*shares[ourSide]/both, "ours-µs/op")
	}
}

// BenchmarkPion is the handshake of pion alone, with our options: the least that a join's DTLS costs with it.
// ours-µs/op is the CPU time of the server, in a long enough run.
func BenchmarkPion(b *testing.B) {
	server := []dtls.ServerOption{
		dtls.WithCertificates(peerCertificate()),
		dtls.WithSRTPProtectionProfiles(profiles...),
		dtls.WithEllipticCurves(elliptic.X25519, elliptic.P256),
		dtls.WithMTU(pionMTU),
		dtls.WithLoggerFactory(silence{}),
		dtls.WithInsecureSkipVerify(true),
		dtls.WithCipherSuites(dtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
		dtls.WithClientAuth(dtls.RequireAnyClientCert),
		dtls.WithInsecureSkipVerifyHello(true),
	}
	dial := peerDialer(false)
	b.ReportAllocs()
	cost := measureHandshakes(b)
	for b.Loop() {
		here, there := newWire(), newWire()
		here.out, there.out = there.arrive, here.arrive
		done := make(chan error, 1)
		as(ourSide, func() {
			go func() {
				conn, err := dtls.ServerWithOptions(here, peerAddr{}, server...)
				if err == nil {
					err = conn.HandshakeContext(context.Background())
					_ = conn.Close()
				}
				done <- err
			}()
		})
		as(peerSide, func() {
			conn, err := dial(there)
			if err == nil {
				err = conn.HandshakeContext(context.Background())
				there.mute()
				_ = conn.Close()
			}
			if err != nil {
				b.Fatal(err)
			}
		})
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	cost.report(b)
}

// BenchmarkHandshake is one whole handshake, our side and a pion peer in the same process. cpu-µs/op is the CPU time of
// both together, ours-µs/op our part in a long enough run.
func BenchmarkHandshake(b *testing.B) {
	for _, c := range []struct {
		name    string
		passive bool
	}{{"server", false}, {"client", true}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			var e *Endpoint
			keyed := make(chan error, 1)
			arrive := func([]byte) {}
			e, err := New(DefaultConfig(), func(ev Event) {
				switch ev.Kind {
				case Send:
					arrive(ev.Datagram)
				case Keyed, Failed:
					keyed <- ev.Err
				}
			})
			if err != nil {
				b.Fatal(err)
			}
			dial := peerDialer(c.passive)
			fingerprints := peerFingerprint()
			id := api.SessionID(0)
			cost := measureHandshakes(b)
			for b.Loop() {
				id++
				w := newWire()
				arrive = w.arrive
				this := id
				w.out = func(d []byte) { e.Receive(this, d) }
				as(ourSide, func() { err = e.Start(Params{ID: id, Client: c.passive, Fingerprints: fingerprints}) })
				if err != nil {
					b.Fatal(err)
				}
				as(peerSide, func() {
					var conn *dtls.Conn
					if conn, err = dial(w); err == nil {
						err = conn.HandshakeContext(context.Background())
						w.mute()
						_ = conn.Close()
					}
				})
				if err != nil {
					b.Fatal(err)
				}
				if err := <-keyed; err != nil {
					b.Fatal(err)
				}
				e.Close(id)
			}
			cost.report(b)
			if err := e.Shutdown(context.Background()); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// peerDialer returns a function that makes the peer's connection over a wire.
func peerDialer(passive bool) func(*wire) (*dtls.Conn, error) {
	options := []dtls.Option{
		dtls.WithCertificates(peerCertificate()),
		dtls.WithSRTPProtectionProfiles(profiles...),
		dtls.WithInsecureSkipVerify(true),
		dtls.WithLoggerFactory(silence{}),
	}
	client, server := []dtls.ClientOption{}, []dtls.ServerOption{
		dtls.WithInsecureSkipVerifyHello(true), dtls.WithClientAuth(dtls.RequireAnyClientCert),
	}
	for _, o := range options {
		client, server = append(client, o), append(server, o)
	}
	return func(w *wire) (*dtls.Conn, error) {
		if passive {
			return dtls.ServerWithOptions(w, peerAddr{}, server...)
		}
		return dtls.ClientWithOptions(w, peerAddr{}, client...)
	}
}

// BenchmarkSieve measures the work for a handshake's datagram before pion sees it.
func BenchmarkSieve(b *testing.B) {
	content := make([]byte, 1100)
	raw := forge.Record(typeHandshake, 0, 0, forge.Fragment(messageClientHello, 1500, 0, 0, content)...)
	datagram := make([]byte, len(raw))
	s := newSieve(true)
	b.ReportAllocs()
	for b.Loop() {
		copy(datagram, raw)
		if len(s.sift(datagram, func(DropReason) {})) == 0 {
			b.Fatal("dropped")
		}
	}
}
