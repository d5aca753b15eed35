package dtls

import (
	"bytes"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/dtls/v3"
)

// TestOurCloseNotify: pion as the peer takes the record that was sealed in advance.
func TestOurCloseNotify(t *testing.T) {
	for _, passive := range []bool{false, true} {
		t.Run(fmt.Sprint("passive ", passive), func(t *testing.T) {
			inLab(t, DefaultConfig(), func(t *testing.T, l *lab) {
				p := l.join(scenario{passive: passive})
				p.ready()
				notify := l.endpoint.Close(1)
				if len(notify) != 39 || notify[0] != typeAlert {
					t.Errorf("%d bytes: %x", len(notify), notify)
				}
				p.wire.arrive(notify)
				if _, err := p.conn.Read(make([]byte, 10)); err != io.EOF {
					t.Errorf("the peer read %v", err)
				}
				if again := l.endpoint.Close(1); again != nil {
					t.Errorf("a second Close gave %x", again)
				}
			})
		})
	}
}

func TestPeersCloseNotify(t *testing.T) {
	for _, passive := range []bool{false, true} {
		t.Run(fmt.Sprint("passive ", passive), func(t *testing.T) {
			inLab(t, DefaultConfig(), func(t *testing.T, l *lab) {
				var last []byte
				p := l.join(scenario{passive: passive, toEndpoint: func(deliver func([]byte)) func([]byte) {
					return func(d []byte) {
						last = bytes.Clone(d)
						deliver(d)
					}
				}})
				p.ready()
				if err := p.conn.Close(); err != nil {
					t.Error(err)
				}
				synctest.Wait()
				l.wantKinds(1, Keyed, Closed)
				l.endpoint.Receive(1, last) // again
				l.wantKinds(1, Keyed, Closed)
				if notify := l.endpoint.Close(1); notify == nil {
					t.Error("no answer to it")
				}
			})
		})
	}
}

// TestForgedGoodbyes changes every byte of a genuine close_notify, and leaves its protection away.
func TestForgedGoodbyes(t *testing.T) {
	inLab(t, DefaultConfig(), func(t *testing.T, l *lab) {
		var genuine []byte
		holding := false
		p := l.join(scenario{toEndpoint: func(deliver func([]byte)) func([]byte) {
			return func(d []byte) {
				if holding {
					genuine = bytes.Clone(d)
					return
				}
				deliver(d)
			}
		}})
		p.ready()
		holding = true
		if err := p.conn.Close(); err != nil {
			t.Fatal(err)
		}
		if len(genuine) != 39 {
			t.Fatalf("%x", genuine)
		}
		for i := range genuine {
			for _, mask := range []byte{1, 0x80, 0xff} {
				forged := bytes.Clone(genuine)
				forged[i] ^= mask
				l.endpoint.Receive(1, forged)
			}
			l.endpoint.Receive(1, bytes.Clone(genuine[:i]))
		}
		l.endpoint.Receive(1, []byte{typeAlert, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, alertFatal, 0})
		l.endpoint.Receive(1, []byte{typeAlert, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 0, 2, alertWarning, 0})
		l.wantKinds(1, Keyed)
		if n := l.endpoint.Stats().Dropped[DropForged]; n < 20 {
			t.Errorf("counted %d forged alerts", n)
		}
		l.endpoint.Receive(1, append([]byte{23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1, 0}, genuine...))
		l.wantKinds(1, Keyed, Closed)
	})
}

// TestLastFlight: a peer that misses it repeats its own, and gets the same bytes.
func TestLastFlight(t *testing.T) {
	inLab(t, DefaultConfig(), func(t *testing.T, l *lab) {
		var flight []byte // the peer's
		p := l.join(scenario{toEndpoint: func(deliver func([]byte)) func([]byte) {
			return func(d []byte) {
				flight = bytes.Clone(d)
				deliver(d)
			}
		}})
		p.ready()
		repeat := func() int {
			before := l.sends(1)
			l.endpoint.Receive(1, bytes.Clone(flight))
			return l.sends(1) - before
		}
		if repeat() != 1 {
			t.Error("no answer to a repeated flight")
		}
		if n := len(l.sent[1]); !bytes.Equal(l.sent[1][n-1], l.sent[1][n-2]) {
			t.Error("the answer is not our last flight")
		}
		if repeat() != 0 {
			t.Error("answered without a pause")
		}
		time.Sleep(resendInterval)
		if repeat() != 1 {
			t.Error("no answer after a pause")
		}
		if n := l.endpoint.Stats().Resent; n != 2 {
			t.Errorf("counted %d", n)
		}
		l.endpoint.Confirm(1)
		time.Sleep(time.Minute)
		if repeat() != 0 {
			t.Error("answered after media was seen")
		}
		p.leave()
	})
}

// TestLostLastFlight loses it many times; the peer gets through by repeating its own.
func TestLostLastFlight(t *testing.T) {
	inLab(t, DefaultConfig(), func(t *testing.T, l *lab) {
		p := l.join(scenario{toPeer: losing(0b111110)})
		p.arrived()
		if n := l.endpoint.Stats().Resent; n < 3 {
			t.Errorf("resent %d times", n)
		}
	})
}

// TestSilenceAfterHandshake: dropping pion's connection sends nothing, and nothing is sent later.
func TestSilenceAfterHandshake(t *testing.T) {
	for _, passive := range []bool{false, true} {
		t.Run(fmt.Sprint("passive ", passive), func(t *testing.T) {
			inLab(t, DefaultConfig(), func(t *testing.T, l *lab) {
				p := l.join(scenario{passive: passive})
				p.ready()
				time.Sleep(time.Hour)
				l.wantKinds(1, Keyed)
				want := 2 // two flights each
				if got := l.sends(1); got != want {
					t.Errorf("%d datagrams sent, want %d", got, want)
				}
				for _, d := range l.sent[1] {
					for rest := d; len(rest) > 0; {
						r, next, ok := nextRecord(rest)
						if !ok || r.contentType() == typeAlert {
							t.Errorf("sent %x", d)
						}
						rest = next
					}
				}
				p.leave()
			})
		})
	}
}

// TestGoodbyeAtOnce: a server may end the session right after its last flight, when pion still reads.
func TestGoodbyeAtOnce(t *testing.T) {
	for range 50 {
		inLab(t, DefaultConfig(), func(t *testing.T, l *lab) {
			p := l.join(scenario{passive: true, options: []dtls.Option{}})
			if err := <-p.done; err != nil {
				t.Fatal(err)
			}
			_ = p.conn.Close()
			synctest.Wait()
			switch kinds := fmt.Sprint(l.kinds(1)); kinds {
			case "[keyed closed]", "[failed]":
			default:
				t.Fatal(kinds)
			}
		})
	}
}
