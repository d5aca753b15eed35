package dtls

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ringcast/engine/api"
	"ringcast/testenv/forge"
)

// forgeries are records that anybody could send, and that must not end a handshake.
func forgeries() [][]byte {
	junk := bytes.Repeat([]byte{0x5a}, 40)
	return [][]byte{
		forge.Record(typeAlert, 0, 900, alertFatal, 40),
		forge.Record(typeAlert, 0, 901, alertFatal, alertCloseNotify),
		forge.Record(typeAlert, 0, 902, alertWarning, alertCloseNotify),
		forge.Record(typeAlert, 0, 903, 1),
		forge.Record(23, 0, 904, junk...),
		forge.Record(23, 1, 905, junk...),
		forge.Record(typeChangeCipherSpec, 0, 906, 2),
		forge.Record(typeChangeCipherSpec, 0, 907, 1, 1),
		forge.Record(typeChangeCipherSpec, 1, 908, 1),
		forge.Record(typeAlert, 1, 909, junk[:26]...),
		forge.Record(typeHandshake, 1, 910, junk...),
		forge.Record(typeHandshake, 0, 911, junk...),
		forge.Record(typeHandshake, 0, 912, forge.Fragment(20, 12, 3, 0, junk[:12])...),
		forge.Record(typeHandshake, 0, 913, forge.Fragment(0, 0, 0, 0, nil)...),
		forge.Record(typeHandshake, 0, 914, forge.Fragment(11, 1<<24-1, 1, 0, junk)...),
		forge.Record(typeHandshake, 0, 915, forge.Fragment(11, 10, 1, 5, junk)...),
		forge.Record(typeHandshake, 0, 916, forge.Fragment(11, 50, 60000, 0, junk)...),
		forge.Record(typeHandshake, 5, 917, junk...),
		forge.Record(25, 0, 918, junk...),
		forge.Record(26, 0, 919, junk...),
		forge.Record(99, 0, 920, junk...),
		forge.Record(typeHandshake, 0, 921),
		{typeHandshake, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0},
		{0x2f, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
		{typeHandshake},
		bytes.Repeat([]byte{typeHandshake, 0xfe, 0xfd}, 5000),
		{},
	}
}

// TestForgedRecords puts every forgery before and after every datagram, alone and in the same one.
func TestForgedRecords(t *testing.T) {
	for _, passive := range []bool{false, true} {
		t.Run(fmt.Sprint("passive ", passive), func(t *testing.T) {
			inLab(t, DefaultConfig(), func(t *testing.T, l *lab) {
				p := l.join(scenario{passive: passive, toEndpoint: func(deliver func([]byte)) func([]byte) {
					all := func() {
						for _, f := range forgeries() {
							deliver(f)
						}
					}
					return func(d []byte) {
						all()
						deliver(append(forge.Record(typeAlert, 0, 930, alertFatal, 40), d...))
						deliver(append(bytes.Clone(d), 1, 2, 3))
						all()
					}
				}})
				p.ready()
				for _, f := range forgeries() {
					l.endpoint.Receive(1, f)
				}
				l.wantKinds(1, Keyed)
				t.Logf("dropped: %v", l.endpoint.Stats().Dropped)
			})
		})
	}
}

// TestAlertInTheClearIsReported: it does not end the handshake, but helps to understand its end.
func TestAlertInTheClearIsReported(t *testing.T) {
	inLab(t, DefaultConfig(), func(t *testing.T, l *lab) {
		l.join(scenario{toEndpoint: func(deliver func([]byte)) func([]byte) {
			return func([]byte) { deliver(forge.Record(typeAlert, 0, 1, alertFatal, 70)) }
		}})
		err := l.failure(1)
		if !isTimeout(err) || !bytes.Contains([]byte(err.Error()), []byte("alert was 70")) {
			t.Error(err)
		}
	})
}

// TestUnknownSessions checks that datagrams of unknown and of forgotten sessions are ignored.
func TestUnknownSessions(t *testing.T) {
	inLab(t, DefaultConfig(), func(t *testing.T, l *lab) {
		for _, f := range forgeries() {
			l.endpoint.Receive(7, f)
		}
		l.endpoint.Confirm(7)
		if notify := l.endpoint.Close(7); notify != nil {
			t.Error("a close_notify of nothing")
		}
		if n := l.endpoint.Stats().Dropped[DropUnknownSession]; n != uint64(len(forgeries())) {
			t.Errorf("counted %d", n)
		}
	})
}

// heap returns the bytes of the live heap.
func heap() int {
	var m runtime.MemStats
	for range 3 { // pools take two to be emptied
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// TestMemoryUnderAttack fills handshakes with all that they keep.
func TestMemoryUnderAttack(t *testing.T) {
	const n = 20
	synctest.Test(t, func(t *testing.T) {
		e, err := New(DefaultConfig(), func(Event) {})
		if err != nil {
			t.Fatal(err)
		}
		start := heap()
		for id := range api.SessionID(n) {
			if err := e.Start(Params{ID: id + 1, Fingerprints: peerFingerprint()}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		idle := heap()
		for id := range api.SessionID(n) {
			fill(e, id+1, id%2 == 0)
			synctest.Wait()
		}
		synctest.Wait()
		attacked := heap()
		// And once more with nobody reading, for the queue.
		for range e.cfg.Concurrency {
			e.slots <- struct{}{}
		}
		for id := range api.SessionID(n) {
			for i := range 500 {
				d := make([]byte, 0, 60000) // a large buffer for a small datagram
				d = append(d, forge.Record(typeHandshake, 1, uint64(i), filler[:maxSealed]...)...)
				if i < 6 {
					d = append(d, bytes.Repeat(d, 12)...)
				}
				e.Receive(id+1, d)
			}
		}
		queued := heap()
		t.Logf("bytes per handshake: idle %d, with fragments and sealed records %d, with its queue %d",
			(idle-start)/n, (attacked-start)/n, (queued-start)/n)
		if held := (queued - start) / n; held > 64<<10 {
			t.Errorf("an attacked handshake holds %d bytes", held)
		}
		for range e.cfg.Concurrency {
			<-e.slots
		}
		if err := e.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if stats := e.Stats(); stats.Dropped[DropQueue] == 0 || stats.Dropped[DropExcess] == 0 {
			t.Errorf("dropped: %v", stats.Dropped)
		}
	})
}

// fill sends records that a handshake keeps: fragments, those of large messages on request, and sealed records.
func fill(e *Endpoint, id api.SessionID, large bool) {
	number := uint64(0)
	send := func(contentType byte, epoch uint16, body ...byte) {
		if number++; number%4 == 0 {
			synctest.Wait() // or the queue overflows, which is for later
		}
		e.Receive(id, forge.Record(contentType, epoch, number, body...))
	}
	// Messages without their first byte, each fragment new.
	for sequence := range uint16(40) {
		if !large {
			break
		}
		for start := 1; start+1000 < 12000; start += 1000 {
			send(typeHandshake, 0, forge.Fragment(11, 12000, sequence, start, filler[:1000])...)
		}
	}
	// Small fragments, which cost more to keep than they hold.
	for i := range 1000 {
		send(typeHandshake, 0, forge.Fragment(11, 12000, 1, 2*i+1, filler[:1])...)
	}
	for range 300 {
		send(typeHandshake, 1, filler[:maxSealed]...)
		send(typeHandshake, 1, filler[:1000]...)
		send(typeChangeCipherSpec, 0, 1)
	}
}

// filler is content of no meaning.
var filler = make([]byte, 8000)

// bubbled counts the goroutines in bubbles. The runtime's and other tests' come and go.
func bubbled() int {
	stacks := make([]byte, 1<<20)
	return strings.Count(string(stacks[:runtime.Stack(stacks, true)]), "synctest bubble")
}

// TestNothingIsLeft is the reason for dropping pion's connections.
func TestNothingIsLeft(t *testing.T) {
	const n = 200
	inLab(t, DefaultConfig(), func(t *testing.T, l *lab) {
		shake := func(id api.SessionID) {
			p := l.join(scenario{id: id})
			p.ready()
			p.leave()
			synctest.Wait()
		}
		forget := func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.events, l.peers = nil, nil
			clear(l.sent)
			clear(l.links)
		}
		for id := range api.SessionID(10) { // memory that is allocated once
			shake(id + 1)
		}
		forget()
		routines, before := bubbled(), heap()
		for id := range api.SessionID(n) {
			shake(id + 100)
		}
		forget()
		grown, held := bubbled()-routines, (heap()-before)/n
		t.Logf("after %d handshakes: %d goroutines more, %d bytes of heap per session", n, grown, held)
		if grown != 0 {
			t.Errorf("%d goroutines more", grown)
		}
		if held > 1024 {
			t.Errorf("%d bytes per session", held)
		}
		if sessions := l.endpoint.Stats().Sessions; sessions != n+10 {
			t.Errorf("%d sessions", sessions)
		}
	})
}

// TestCallsFromEverywhere is for the race detector.
func TestCallsFromEverywhere(t *testing.T) {
	inLab(t, with(func(c *Config) { c.Timeout = 2 * time.Second }), func(t *testing.T, l *lab) {
		var wg sync.WaitGroup
		for id := range api.SessionID(20) {
			p := l.join(scenario{id: id + 1, passive: id%2 == 0})
			for worker := range uint64(3) {
				wg.Go(func() {
					rng := rand.New(rand.NewPCG(uint64(id), worker))
					for range 200 {
						switch rng.IntN(20) {
						case 0:
							time.Sleep(time.Duration(rng.IntN(50)) * time.Millisecond)
						case 1:
							if rng.IntN(30) == 0 {
								l.endpoint.Close(p.id)
							}
						case 2:
							l.endpoint.Confirm(p.id)
						case 3:
							l.endpoint.Stats()
						default:
							all := forgeries()
							l.endpoint.Receive(p.id, all[rng.IntN(len(all))])
						}
					}
				})
			}
		}
		wg.Wait()
		time.Sleep(time.Minute)
	})
}
