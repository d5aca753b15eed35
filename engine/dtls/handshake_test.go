package dtls

import (
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/elliptic"

	"ringcast/engine/api"
	"ringcast/engine/srtp"
)

func TestHandshakeInBothRoles(t *testing.T) {
	for _, passive := range []bool{false, true} {
		t.Run(fmt.Sprintf("peer passive %v", passive), func(t *testing.T) {
			inLab(t, DefaultConfig(), func(t *testing.T, l *lab) {
				p := l.join(scenario{passive: passive})
				keys := p.ready()
				if !passive && keys.Profile != srtp.AEADAES128GCM {
					t.Errorf("profile %v", keys.Profile)
				}
				if stats := l.endpoint.Stats(); stats.Completed != 1 || stats.Sessions != 1 {
					t.Errorf("%+v", stats)
				}
				// The peer sees the certificate that we announce.
				state, _ := p.conn.ConnectionState()
				algorithm, value := l.endpoint.Fingerprint()
				if err := checkFingerprint(usable([]api.Fingerprint{{Algorithm: algorithm, Value: value}}),
					state.PeerCertificates); err != nil {
					t.Error(err)
				}
				p.leave()
			})
		})
	}
}

// TestOurProfileOrderWins: Chromium lists AES-GCM last.
func TestOurProfileOrderWins(t *testing.T) {
	const gcm, sha, other = dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AES128_CM_HMAC_SHA1_80, dtls.SRTP_AEAD_AES_256_GCM
	for _, c := range []struct {
		offered []dtls.SRTPProtectionProfile
		want    srtp.Profile // 0: fails
	}{
		{[]dtls.SRTPProtectionProfile{sha, gcm}, srtp.AEADAES128GCM},
		{[]dtls.SRTPProtectionProfile{gcm, sha}, srtp.AEADAES128GCM},
		{[]dtls.SRTPProtectionProfile{other, sha, gcm}, srtp.AEADAES128GCM},
		{[]dtls.SRTPProtectionProfile{sha}, srtp.AES128CMSHA180},
		{[]dtls.SRTPProtectionProfile{other}, 0},
	} {
		t.Run(fmt.Sprint(c.offered), func(t *testing.T) {
			inLab(t, DefaultConfig(), func(t *testing.T, l *lab) {
				p := l.join(scenario{options: []dtls.Option{dtls.WithSRTPProtectionProfiles(c.offered...)}})
				defer p.leave()
				if c.want == 0 {
					if err := l.failure(1); isTimeout(err) {
						t.Error(err)
					}
					return
				}
				if got := p.ready().Profile; got != c.want {
					t.Errorf("%v, want %v", got, c.want)
				}
			})
		})
	}
}

// TestNoSRTP: a peer that does DTLS but not DTLS-SRTP completes pion's handshake.
func TestNoSRTP(t *testing.T) {
	inLab(t, DefaultConfig(), func(t *testing.T, l *lab) {
		p := l.join(scenario{noSRTP: true})
		defer p.leave()
		if err := l.failure(1); !errors.Is(err, ErrNoProfile) {
			t.Error(err)
		}
		if n := l.endpoint.Stats().Failed[FailProfile]; n != 1 {
			t.Errorf("counted %d", n)
		}
	})
}

func TestPeersOfOtherKinds(t *testing.T) {
	for name, option := range map[string]dtls.Option{
		"P-256 only":                dtls.WithEllipticCurves(elliptic.P256),
		"X25519 only":               dtls.WithEllipticCurves(elliptic.X25519),
		"no extended master secret": dtls.WithExtendedMasterSecret(dtls.DisableExtendedMasterSecret),
		"extended master secret":    dtls.WithExtendedMasterSecret(dtls.RequireExtendedMasterSecret),
		"fragments of 100 bytes":    dtls.WithMTU(100),
	} {
		for _, passive := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, passive %v", name, passive), func(t *testing.T) {
				inLab(t, DefaultConfig(), func(t *testing.T, l *lab) {
					p := l.join(scenario{passive: passive, options: []dtls.Option{option}})
					p.ready()
					// The keys that were derived for later fit, too.
					notify := l.endpoint.Close(1)
					p.wire.arrive(notify)
					if _, err := p.conn.Read(make([]byte, 10)); err == nil {
						t.Error("the peer read something")
					}
				})
			})
		}
	}
}

func TestFingerprints(t *testing.T) {
	der := peerCertificate().Certificate[0]
	value := func(hash crypto.Hash) string {
		h := hash.New()
		h.Write(der)
		return strings.TrimSuffix(strings.ToUpper(colons(hex.EncodeToString(h.Sum(nil)))), ":")
	}
	wrong := api.Fingerprint{Algorithm: "sha-256", Value: strings.Repeat("00:", 31) + "00"}
	for _, c := range []struct {
		name         string
		fingerprints []api.Fingerprint
		start        error
		mismatch     bool
	}{
		{name: "sha-256", fingerprints: []api.Fingerprint{{Algorithm: "sha-256", Value: value(crypto.SHA256)}}},
		{name: "sha-384", fingerprints: []api.Fingerprint{{Algorithm: "sha-384", Value: value(crypto.SHA384)}}},
		{name: "sha-512", fingerprints: []api.Fingerprint{{Algorithm: "sha-512", Value: value(crypto.SHA512)}}},
		{
			name:         "case",
			fingerprints: []api.Fingerprint{{Algorithm: "SHA-256", Value: strings.ToLower(value(crypto.SHA256))}},
		},
		{
			name:         "one of two",
			fingerprints: []api.Fingerprint{wrong, {Algorithm: "sha-256", Value: value(crypto.SHA256)}},
		},
		{
			name: "beside one that is unknown",
			fingerprints: []api.Fingerprint{
				{Algorithm: "md5", Value: "00"}, {Algorithm: "sha-256", Value: value(crypto.SHA256)},
			},
		},
		{name: "mismatch", fingerprints: []api.Fingerprint{wrong}, mismatch: true},
		{
			name:         "sha-1",
			fingerprints: []api.Fingerprint{{Algorithm: "sha-1", Value: strings.Repeat("00:", 19) + "00"}},
			start:        ErrNoFingerprint,
		},
		{name: "none", fingerprints: []api.Fingerprint{}, start: ErrNoFingerprint},
		{
			name: "too short", fingerprints: []api.Fingerprint{{Algorithm: "sha-256", Value: "00:11"}},
			start: ErrNoFingerprint,
		},
		{
			name:         "not hexadecimal",
			fingerprints: []api.Fingerprint{{Algorithm: "sha-256", Value: strings.Repeat("xy:", 31) + "xy"}},
			start:        ErrNoFingerprint,
		},
	} {
		for _, passive := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, passive %v", c.name, passive), func(t *testing.T) {
				inLab(t, DefaultConfig(), func(t *testing.T, l *lab) {
					p, err := l.tryJoin(scenario{passive: passive, fingerprints: c.fingerprints})
					if !errors.Is(err, c.start) {
						t.Fatalf("Start: %v, want %v", err, c.start)
					}
					if err != nil {
						return
					}
					defer p.leave()
					if !c.mismatch {
						p.ready()
						return
					}
					err = l.failure(1)
					var mismatch *FingerprintError
					if !errors.As(err, &mismatch) || mismatch.Got != value(crypto.SHA256) {
						t.Error(err)
					}
					if n := l.endpoint.Stats().Failed[FailFingerprint]; n != 1 {
						t.Errorf("counted %d", n)
					}
					if err := <-p.done; err == nil {
						t.Error("the peer thinks that all is well")
					}
				})
			})
		}
	}
}

func colons(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i += 2 {
		b.WriteString(s[i:i+2] + ":")
	}
	return b.String()
}

func TestTimeout(t *testing.T) {
	for _, passive := range []bool{false, true} {
		t.Run(fmt.Sprint("passive ", passive), func(t *testing.T) {
			inLab(t, DefaultConfig(), func(t *testing.T, l *lab) {
				drop := func(func([]byte)) func([]byte) { return func([]byte) {} }
				p := l.join(scenario{passive: passive, toPeer: drop, toEndpoint: drop})
				defer p.leave()
				time.Sleep(10*time.Second - time.Nanosecond)
				synctest.Wait()
				l.wantKinds(1)
				time.Sleep(time.Nanosecond)
				synctest.Wait()
				l.wantKinds(1, Failed)
				if err := l.happened(1)[0].Err; !isTimeout(err) {
					t.Error(err)
				}
				if stats := l.endpoint.Stats(); stats.Sessions != 0 || stats.Failed[FailTimeout] != 1 {
					t.Errorf("%+v", stats)
				}
				sent := l.sends(1)
				time.Sleep(time.Minute)
				if l.sends(1) != sent {
					t.Error("it still sends")
				}
			})
		})
	}
}

func TestCaps(t *testing.T) {
	inLab(t, with(func(c *Config) { c.MaxHandshakes = 5; c.MaxPerSource = 2 }), func(t *testing.T, l *lab) {
		for i, c := range []struct {
			source string
			want   error
		}{
			{"192.0.2.1", nil},
			{"192.0.2.1", nil},
			{"192.0.2.1", ErrTooManyFromSource},
			{"::ffff:192.0.2.1", ErrTooManyFromSource},
			{"192.0.2.2", nil},
			{"2001:db8::1", nil},
			{"2001:db8::2:0:0:1", nil}, // the same /64
			{"2001:db8::3", ErrTooMany},
		} {
			drop := func(func([]byte)) func([]byte) { return func([]byte) {} }
			p, err := l.tryJoin(scenario{id: api.SessionID(i + 1), source: c.source, toEndpoint: drop})
			if !errors.Is(err, c.want) {
				t.Errorf("%d %s: %v, want %v", i, c.source, err, c.want)
			}
			if err == nil {
				defer p.leave()
			}
		}
		if !errors.Is(ErrTooManyFromSource, ErrTooMany) {
			t.Error("a source's cap is no ErrTooMany")
		}
		stats := l.endpoint.Stats()
		if stats.InFlight != 5 || stats.Refused != 1 || stats.RefusedSource != 2 {
			t.Errorf("%+v", stats)
		}
		// A handshake that is over makes room.
		l.endpoint.Close(1)
		synctest.Wait()
		if err := l.endpoint.Start(Params{ID: 100, Fingerprints: peerFingerprint()}); err != nil {
			t.Error(err)
		}
		if err := l.endpoint.Start(Params{ID: 100, Fingerprints: peerFingerprint()}); !errors.Is(err, ErrExists) {
			t.Error(err)
		}
	})
}

// TestManyAtOnce has more handshakes than compute slots, and shows that they are handed back. Each session has keys of
// its own for its peer's goodbye.
func TestManyAtOnce(t *testing.T) {
	for _, passive := range []bool{false, true} {
		t.Run(fmt.Sprint("passive ", passive), func(t *testing.T) {
			inLab(t, with(func(c *Config) { c.Concurrency = 1 }), func(t *testing.T, l *lab) {
				var peers []*peer
				for i := range 60 {
					peers = append(peers, l.join(scenario{id: api.SessionID(i + 1), passive: passive}))
				}
				for _, p := range peers {
					p.ready()
				}
				for _, p := range peers {
					p.goodbye()
				}
				if stats := l.endpoint.Stats(); stats.Completed != 60 || stats.Computing != 0 {
					t.Errorf("%+v", stats)
				}
			})
		})
	}
}

// TestCloseWhileHandshaking closes after every number of datagrams that a handshake takes.
func TestCloseWhileHandshaking(t *testing.T) {
	for _, passive := range []bool{false, true} {
		for after := range 4 {
			t.Run(fmt.Sprintf("passive %v after %d", passive, after), func(t *testing.T) {
				inLab(t, DefaultConfig(), func(t *testing.T, l *lab) {
					n := 0
					p := l.join(scenario{passive: passive, toEndpoint: func(deliver func([]byte)) func([]byte) {
						return func(d []byte) {
							if n++; n <= after {
								deliver(d)
							}
						}
					}})
					defer p.leave()
					synctest.Wait()
					keyed := len(l.happened(1)) > 0
					notify := l.endpoint.Close(1)
					if keyed != (notify != nil) {
						t.Errorf("keyed %v, but close_notify %x", keyed, notify)
					}
					synctest.Wait()
					sent, events := l.sends(1), len(l.happened(1))
					time.Sleep(time.Minute)
					if l.sends(1) != sent || len(l.happened(1)) != events {
						t.Error("something happened after Close")
					}
				})
			})
		}
	}
}

// TestCloseWithinEvents calls back into the Endpoint from emit.
func TestCloseWithinEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lab{t: t, sent: map[api.SessionID][][]byte{}, links: map[api.SessionID]func([]byte){}}
		notify := make(chan []byte, 1)
		e, err := New(DefaultConfig(), func(ev Event) {
			l.take(ev)
			if ev.Kind == Keyed {
				notify <- l.endpoint.Close(ev.ID)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		l.endpoint = e
		p := l.join(scenario{})
		p.ready()
		p.wire.arrive(<-notify)
		if _, err := p.conn.Read(make([]byte, 10)); err == nil {
			t.Error("no end")
		}
		synctest.Wait()
		if stats := e.Stats(); stats.Sessions != 0 || stats.InFlight != 0 {
			t.Errorf("%+v", stats)
		}
	})
}

func TestShutdown(t *testing.T) {
	inLab(t, DefaultConfig(), func(t *testing.T, l *lab) {
		keyed := l.join(scenario{id: 1})
		keyed.ready()
		defer keyed.leave()
		drop := func(func([]byte)) func([]byte) { return func([]byte) {} }
		pending := l.join(scenario{id: 2, toEndpoint: drop})
		defer pending.leave()
		if err := l.endpoint.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		l.wantKinds(2)
		if err := l.endpoint.Start(Params{ID: 3, Fingerprints: peerFingerprint()}); !errors.Is(err, ErrShutdown) {
			t.Error(err)
		}
		if notify := l.endpoint.Close(1); notify == nil {
			t.Error("no good-bye for the session that was keyed")
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	if _, err := New(with(func(c *Config) { c.Timeout = -1 }), nil); err == nil {
		t.Error("a negative timeout passed")
	}
}
