package dtls

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/protocol/extension"
	message "github.com/pion/dtls/v3/pkg/protocol/handshake"

	"ringcast/engine/api"
)

// arrived checks by the peer's goodbye that both ends have the keys, in spite of all losses. Our handshake may end
// before the peer's, which then depends on our last flight being repeated.
func (p *peer) arrived() {
	p.l.t.Helper()
	p.ready()
	notify := p.l.endpoint.Close(p.id)
	p.wire.arrive(notify)
	if _, err := p.conn.Read(make([]byte, 10)); err == nil {
		p.l.t.Error("the peer read data instead of the end")
	}
}

// TestLostDatagrams loses every combination of the first four datagrams in each direction.
func TestLostDatagrams(t *testing.T) {
	for _, passive := range []bool{false, true} {
		for pattern := range uint(1 << 8) {
			toPeer, toEndpoint := pattern&15, pattern>>4
			t.Run(fmt.Sprintf("passive %v, to peer %04b, to us %04b", passive, toPeer, toEndpoint), func(t *testing.T) {
				inLab(t, DefaultConfig(), func(t *testing.T, l *lab) {
					at := func(id api.SessionID) *peer {
						return l.join(scenario{
							id: id, passive: passive, toPeer: losing(toPeer), toEndpoint: losing(toEndpoint),
						})
					}
					at(1).arrived()
					p := at(2)
					p.ready()
					p.goodbye()
				})
			})
		}
	}
}

// TestRoughLinks loses, doubles and reorders at random.
func TestRoughLinks(t *testing.T) {
	seeds := uint64(40)
	if testing.Short() {
		seeds = 5
	}
	for _, passive := range []bool{false, true} {
		for seed := range seeds {
			t.Run(fmt.Sprintf("passive %v, seed %d", passive, seed), func(t *testing.T) {
				inLab(t, with(func(c *Config) { c.Timeout = 60 * time.Second }), func(t *testing.T, l *lab) {
					l.join(scenario{
						passive:    passive,
						toPeer:     lossy(seed, 0.2, 0.3, 200*time.Millisecond),
						toEndpoint: lossy(seed+1000, 0.2, 0.3, 200*time.Millisecond),
						options:    []dtls.Option{dtls.WithMTU(300)}, // more datagrams, more to go wrong
					}).arrived()
				})
			})
		}
	}
}

// rawExtension is one that pion does not know, or knows otherwise.
type rawExtension struct {
	number uint16
	body   []byte
}

func (r rawExtension) Marshal() ([]byte, error) {
	b := binary.BigEndian.AppendUint16(nil, r.number)
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.body)))
	return append(b, r.body...), nil
}
func (r rawExtension) Unmarshal([]byte) error         { return nil }
func (r rawExtension) TypeValue() extension.TypeValue { return extension.TypeValue(r.number) }

// largeHello makes a peer's ClientHello like a browser's. It offers DTLS 1.3 beside 1.2, and key shares for
// X25519MLKEM768 and X25519, which do not fit into one datagram.
func largeHello() dtls.Option {
	return dtls.WithClientHelloMessageHook(func(hello message.MessageClientHello) message.Message {
		shares := binary.BigEndian.AppendUint16(nil, 0x11ec)
		shares = binary.BigEndian.AppendUint16(shares, 1216)
		shares = append(shares, make([]byte, 1216)...)
		shares = binary.BigEndian.AppendUint16(shares, 29)
		shares = binary.BigEndian.AppendUint16(shares, 32)
		shares = append(shares, make([]byte, 32)...)
		shares = append(binary.BigEndian.AppendUint16(nil, uint16(len(shares))), shares...)
		// As a hook returns another message, pion's own copy of its hello is of this one.
		hello.Extensions = append([]extension.Extension{
			rawExtension{43, []byte{4, 0xfe, 0xfc, 0xfe, 0xfd}}, // supported_versions
			rawExtension{51, shares},                            // key_share
			rawExtension{0x0a0a, nil},                           // a value for nothing (RFC 8701)
		}, hello.Extensions...)
		return &hello
	})
}

// refragment cuts handshake messages in the clear into other fragments, one per datagram, and sends
// these in any order, some of them twice.
func refragment(seed uint64, size func(*rand.Rand) int) func(func([]byte)) func([]byte) {
	return func(deliver func([]byte)) func([]byte) {
		var mu sync.Mutex
		rng := rand.New(rand.NewPCG(seed, seed))
		number := uint64(0)
		record := func(contentType byte, body []byte) []byte {
			r := []byte{contentType, 0xfe, 0xfd, 0, 0}
			r = append(r, binary.BigEndian.AppendUint64(nil, number)[2:]...)
			number++
			r = binary.BigEndian.AppendUint16(r, uint16(len(body)))
			return append(r, body...)
		}
		return func(d []byte) {
			mu.Lock()
			defer mu.Unlock()
			var out [][]byte
			for rest := d; len(rest) > 0; {
				r, next, ok := nextRecord(rest)
				if !ok {
					panic("the peer sent no record")
				}
				rest = next
				if r.epoch() > 0 {
					out = append(out, r.raw)
					continue
				}
				if r.contentType() != typeHandshake {
					out = append(out, record(r.contentType(), r.body()))
					continue
				}
				header, content := r.body()[:handshakeHeader], r.body()[handshakeHeader:]
				start := uint24(header[6:])
				for len(content) > 0 {
					n := min(size(rng), len(content))
					part := append([]byte{}, header[:6]...)
					part = append(part, byte(start>>16), byte(start>>8), byte(start))
					part = append(part, 0, byte(n>>8), byte(n))
					part = append(part, content[:n]...)
					out = append(out, record(typeHandshake, part))
					if rng.IntN(3) == 0 {
						out = append(out, record(typeHandshake, part))
					}
					start += uint32(n)
					content = content[n:]
				}
			}
			rng.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
			for _, r := range out {
				deliver(r)
			}
		}
	}
}

// TestSplitClientHello: a hello of several datagrams, cut differently each time it is repeated.
func TestSplitClientHello(t *testing.T) {
	inLab(t, DefaultConfig(), func(t *testing.T, l *lab) {
		datagrams := 0
		p := l.join(scenario{options: []dtls.Option{largeHello()}, toEndpoint: func(deliver func([]byte)) func([]byte) {
			return func(d []byte) {
				datagrams++
				deliver(d)
			}
		}})
		synctest.Wait()
		if p.arrived(); datagrams < 3 {
			t.Fatalf("the peer sent only %d datagrams", datagrams)
		}
	})
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inLab(t, DefaultConfig(), func(t *testing.T, l *lab) {
				fragments := refragment(seed, func(rng *rand.Rand) int { return 150 + rng.IntN(1000) })
				rough := lossy(seed, 0.1, 0.1, 20*time.Millisecond)
				l.join(scenario{
					id:         api.SessionID(seed + 1),
					options:    []dtls.Option{largeHello()},
					toEndpoint: func(deliver func([]byte)) func([]byte) { return fragments(rough(deliver)) },
				}).arrived()
			})
		})
	}
}
