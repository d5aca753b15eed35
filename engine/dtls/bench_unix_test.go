//go:build unix

package dtls

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/pion/dtls/v3"

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

// BenchmarkHandshake is one whole handshake, our side and a pion peer in the same process: about half of it is the
// peer's. cpu-µs/op is the CPU time of both together.
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
			start := cpuTime(b)
			for b.Loop() {
				id++
				w := newWire()
				arrive = w.arrive
				this := id
				w.out = func(d []byte) { e.Receive(this, d) }
				conn, err := dial(w)
				if err != nil {
					b.Fatal(err)
				}
				if err := e.Start(Params{ID: id, Client: c.passive, Fingerprints: fingerprints}); err != nil {
					b.Fatal(err)
				}
				if err := conn.HandshakeContext(context.Background()); err != nil {
					b.Fatal(err)
				}
				if err := <-keyed; err != nil {
					b.Fatal(err)
				}
				w.mute()
				_ = conn.Close()
				e.Close(id)
			}
			b.ReportMetric(float64(cpuTime(b)-start)/float64(time.Microsecond)/float64(b.N), "cpu-µs/op")
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
