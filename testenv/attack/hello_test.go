package attack

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"net/netip"
	"sync"
	"testing"
	"time"

	"ringcast/engine/port"
	"ringcast/engine/worker"
	"ringcast/testenv/peer"
)

// clientHello is the first flight of a DTLS 1.2 client that speaks SRTP, in one record.
func clientHello() []byte {
	body := []byte{0xfe, 0xfd}
	random := make([]byte, 32)
	_, _ = rand.Read(random) // never fails
	body = append(body, random...)
	body = append(body, 0, 0)                      // neither session nor cookie
	body = append(body, 0, 2, 0xc0, 0x2b)          // ECDHE-ECDSA, AES-128-GCM
	body = append(body, 1, 0)                      // no compression
	extensions := []byte{0, 10, 0, 4, 0, 2, 0, 29} // X25519
	extensions = append(extensions, 0, 23, 0, 0)   // extended master secret
	extensions = append(extensions, 0, 11, 0, 2, 1, 0)
	extensions = append(extensions, 0, 13, 0, 4, 0, 2, 4, 3)
	extensions = append(extensions, 0, 14, 0, 5, 0, 2, 0, 7, 0)
	body = binary.BigEndian.AppendUint16(body, uint16(len(extensions)))
	body = append(body, extensions...)
	return record(22, 0, 0, fragment(1, len(body), 0, 0, body))
}

// record writes a DTLS 1.2 record.
func record(contentType byte, epoch uint16, number uint64, body []byte) []byte {
	r := binary.BigEndian.AppendUint16([]byte{contentType, 0xfe, 0xfd}, epoch)
	r = append(r, binary.BigEndian.AppendUint64(nil, number)[2:]...)
	r = binary.BigEndian.AppendUint16(r, uint16(len(body)))
	return append(r, body...)
}

// fragment writes a piece of a handshake message of length bytes.
func fragment(messageType byte, length int, sequence uint16, start int, content []byte) []byte {
	f := []byte{messageType, byte(length >> 16), byte(length >> 8), byte(length)}
	f = binary.BigEndian.AppendUint16(f, sequence)
	f = append(f, byte(start>>16), byte(start>>8), byte(start))
	f = append(f, byte(len(content)>>16), byte(len(content)>>8), byte(len(content)))
	return append(f, content...)
}

// A foreign tuple sends ClientHellos before and while viewers connect, more than 100 a second, and one
// comes from each viewer's own address before ICE validated it. All are dropped before DTLS, and every
// handshake of the viewers succeeds.
func TestClientHelloRace(t *testing.T) {
	const victims, first = 50, 1000
	a := newArena(t, engineConfig())
	feed := a.feed("race")
	defer feed.stop()

	attacker, sent := a.tuple(), 0
	for range first {
		attacker.send(clientHello())
		sent++
	}
	a.awaitDrops("path_not_validated", 0, sent)
	attacker.silent("the foreign tuple")

	quit := make(chan struct{})
	var flood sync.WaitGroup
	racing := 0
	flood.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				attacker.send(clientHello())
				racing++
			case <-quit:
				return
			}
		}
	})
	took := make([]time.Duration, victims)
	failures := make([]error, victims)
	var joining sync.WaitGroup
	for i := range victims {
		v := newViewer(t)
		defer v.Close()
		local, err := a.Subscribe(t.Context(), "race", v.Offer(peer.Video()))
		if err != nil {
			t.Fatal(err)
		}
		v.expect(local)
		v.Local = local
		if err := v.Send(clientHello()); err != nil { // as if somebody knew its address already
			t.Fatal(err)
		}
		sent++
		joining.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			start := time.Now()
			failures[i] = v.Connect(ctx, local)
			took[i] = time.Since(start)
		})
	}
	joining.Wait()
	close(quit)
	flood.Wait()
	for i, err := range failures {
		if err != nil {
			t.Errorf("victim %d: %v", i, err)
		}
	}
	a.awaitDrops("path_not_validated", 0, sent+racing)
	attacker.silent("the foreign tuple")
	m := a.scrape()
	if n := m[`ringcast_dtls_handshakes_total{outcome="completed"}`]; n != victims+1 {
		t.Errorf("%v handshakes completed, want %d", n, victims+1)
	}
	for _, outcome := range []string{"cancelled", "refused", "failed: timeout", "failed: protocol"} {
		if n := m[`ringcast_dtls_handshakes_total{outcome="`+outcome+`"}`]; n != 0 {
			t.Errorf("%v handshakes %s", n, outcome)
		}
	}
	if n := a.drops("path_not_validated"); n != sent+racing {
		t.Errorf("%d drops for %d hellos", n, sent+racing)
	}
	p50, p99, most := quantiles(took)
	t.Logf("%d hellos, all dropped before DTLS; %d of %d victims connected, in %v (median), %v (p99), %v at most",
		sent+racing, victims, victims, p50, p99, most)
	a.sane()
}

// Dropping a hello of nobody allocates nothing.
func TestForeignHelloCostsNoMemory(t *testing.T) {
	w := worker.New(worker.Config{Workers: 1, Rand: func() uint64 { return 1 }})
	in := port.Inbound{
		Path: port.Path{Remote: netip.MustParseAddrPort("192.0.2.1:5000"), Local: loopback},
		Data: clientHello(),
	}
	n := testing.AllocsPerRun(1000, func() { w.HandlePacket(port.Second, &in) })
	if n != 0 {
		t.Errorf("%v allocations for each", n)
	}
	if got := w.Counters().Drops[worker.DropPath]; got != 1001 {
		t.Errorf("%d dropped", got)
	}
	t.Logf("%v allocations a dropped ClientHello", n)
}
