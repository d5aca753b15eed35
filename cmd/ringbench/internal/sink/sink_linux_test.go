package sink

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"ringcast/cmd/ringbench/internal/watch"
	"ringcast/testenv"
)

const (
	xdpDrop = 1
	xdpPass = 2
)

func open(t *testing.T, cfg Config) *Sink {
	t.Helper()
	testenv.Need(t, testenv.XDP)
	s, err := load(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.objects.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *Sink) totals(t *testing.T) Totals {
	t.Helper()
	all, err := s.Totals()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// datagram is an Ethernet frame with UDP to a port.
func datagram(v6 bool, port uint16, payload []byte) []byte {
	frame := make([]byte, 14, 128)
	binary.BigEndian.PutUint16(frame[12:], 0x0800)
	ip := make([]byte, 20)
	ip[0], ip[9] = 0x45, 17
	binary.BigEndian.PutUint16(ip[2:], uint16(28+len(payload)))
	if v6 {
		binary.BigEndian.PutUint16(frame[12:], 0x86DD)
		ip = make([]byte, 40)
		ip[0], ip[6] = 0x60, 17
		binary.BigEndian.PutUint16(ip[4:], uint16(8+len(payload)))
	}
	udp := make([]byte, 8)
	binary.BigEndian.PutUint16(udp[2:], port)
	binary.BigEndian.PutUint16(udp[4:], uint16(8+len(payload)))
	return append(append(append(frame, ip...), udp...), payload...)
}

func rtp(ssrc uint32, seq uint16, extra int) []byte {
	b := make([]byte, 12+extra)
	b[0], b[1] = 0x80, 96
	binary.BigEndian.PutUint16(b[2:], seq)
	binary.BigEndian.PutUint32(b[8:], ssrc)
	return b
}

func (s *Sink) run(t *testing.T, frame []byte) uint32 {
	t.Helper()
	verdict, err := s.objects.Sink.Run(&ebpf.RunOptions{Data: frame, Repeat: 1})
	if err != nil {
		t.Fatal(err)
	}
	return verdict
}

// Only RTP is media, and only that of diverted ports is dropped.
func TestVerdicts(t *testing.T) {
	s := open(t, Config{})
	if err := s.Divert(5002, 1); err != nil {
		t.Fatal(err)
	}
	rtcp := rtp(1, 0, 20)
	rtcp[1] = 201
	stun, dtls := make([]byte, 20), append([]byte{22}, make([]byte, 20)...)
	notUDP := datagram(false, 5002, rtp(1, 1, 0))
	notUDP[14+9] = 6
	options := datagram(false, 5002, rtp(1, 1, 0))
	options[14] = 0x46
	arp := datagram(false, 5002, rtp(1, 1, 0))
	arp[13] = 6
	diverted := Totals{DivertedPackets: 1, DivertedBytes: 112}
	other := Totals{Other: 1}
	for _, c := range []struct {
		name    string
		frame   []byte
		verdict uint32
		counted Totals
	}{
		{"RTP to a diverted port", datagram(false, 5002, rtp(1, 1, 100)), xdpDrop, diverted},
		{"RTP to a diverted port, IPv6", datagram(true, 5002, rtp(1, 2, 100)), xdpDrop, diverted},
		{
			"RTP to another port", datagram(false, 5003, rtp(1, 1, 100)), xdpPass,
			Totals{PassedPackets: 1, PassedBytes: 112},
		},
		{"RTCP", datagram(false, 5002, rtcp), xdpPass, other},
		{"STUN", datagram(false, 5002, stun), xdpPass, other},
		{"DTLS", datagram(true, 5002, dtls), xdpPass, other},
		{"too short for RTP", datagram(false, 5002, rtp(1, 1, 0)[:11]), xdpPass, other},
		{"TCP", notUDP, xdpPass, other},
		{"IPv4 options", options, xdpPass, other},
		{"ARP", arp, xdpPass, other},
	} {
		before := s.totals(t)
		if v := s.run(t, c.frame); v != c.verdict {
			t.Errorf("%s: verdict %d, want %d", c.name, v, c.verdict)
		}
		got := s.totals(t)
		got.DivertedPackets -= before.DivertedPackets
		got.DivertedBytes -= before.DivertedBytes
		got.PassedPackets -= before.PassedPackets
		got.PassedBytes -= before.PassedBytes
		got.Other -= before.Other
		if got != c.counted {
			t.Errorf("%s: counted %+v, want %+v", c.name, got, c.counted)
		}
	}
}

// Sequence numbers wrap and arrive late; other sources count as packets only.
func TestCount(t *testing.T) {
	s := open(t, Config{})
	if _, ok := s.Count(6000); ok {
		t.Error("a port that was never diverted has a count")
	}
	if err := s.Divert(6000, 7); err != nil {
		t.Fatal(err)
	}
	for _, seq := range []uint16{65533, 65534, 0, 65535, 3} {
		s.run(t, datagram(false, 6000, rtp(7, seq, 88)))
	}
	s.run(t, datagram(false, 6000, rtp(8, 10, 8)))
	if got, ok := s.Count(6000); !ok || got != (watch.Count{Packets: 6, Bytes: 520, Media: 5, Sequence: 3}) {
		t.Errorf("%+v, %t", got, ok)
	}
	s.Release(6000)
	if _, ok := s.Count(6000); ok {
		t.Error("a released port has a count")
	}
	if v := s.run(t, datagram(false, 6000, rtp(7, 9, 8))); v != xdpPass {
		t.Errorf("verdict %d for a released port", v)
	}
}

// numbered is an RTP packet with header extensions, which fill three words.
func numbered(extensions ...byte) []byte {
	p := rtp(7, 1, 32)
	p[0] |= 0x10
	copy(p[12:], []byte{0xBE, 0xDE, 0, 3})
	copy(p[16:], extensions)
	return p
}

// The transport-wide number is found among other extensions. Each arrival has its own time, and the last 64 are kept.
func TestArrivals(t *testing.T) {
	s := open(t, Config{TransportID: 3})
	if err := s.Divert(6000, 7); err != nil {
		t.Fatal(err)
	}
	before := time.Now().UnixNano()
	// Only the extensions count, not a payload that looks like one.
	payloadLike := numbered(0x10, 'a')
	payloadLike[15] = 1
	copy(payloadLike[20:], []byte{0x31, 0xAB, 9, 0x31, 0xAB, 9, 0x31, 0xAB, 9})
	for _, p := range [][]byte{
		numbered(0x31, 0xAB, 1),
		numbered(0x10, 'a', 0, 0, 0x31, 0xAB, 2),
		numbered(0x43, 1, 2, 3, 4, 0x10, 'a', 0x31, 0xAB, 3),
		numbered(0x10, 'a'), // without a number
		payloadLike,
		rtp(7, 2, 20),
	} {
		s.run(t, datagram(true, 6000, p))
	}
	c, _ := s.Count(6000)
	got := s.Arrivals(nil, 6000, 0, c.Numbered)
	if len(got) != 3 || c.Packets != 6 {
		t.Fatalf("%d packets, arrivals %v; want 6 and 3", c.Packets, got)
	}
	for i, a := range got {
		if a.Number != 0xAB01+uint16(i) || a.At < before-int64(time.Second) || i > 0 && a.At < got[i-1].At {
			t.Errorf("arrival %d: %+v", i, a)
		}
	}
	for n := range byte(100) {
		s.run(t, datagram(false, 6000, numbered(0x31, 0, n)))
	}
	c, _ = s.Count(6000)
	got = s.Arrivals(got[:0], 6000, 3, c.Numbered)
	if len(got) != lastArrivals || got[0].Number != 100-lastArrivals || got[len(got)-1].Number != 99 {
		t.Errorf("of 100 arrivals %v", got)
	}
	if got = s.Arrivals(got[:0], 6000, c.Numbered, c.Numbered); len(got) != 0 {
		t.Errorf("arrivals again: %v", got)
	}
}

// Every n-th packet is lost, of any port. Spared packets are neither lost nor counted to n.
func TestLoseEvery(t *testing.T) {
	s := open(t, Config{LoseEvery: 100, Spared: []uint8{3, 97}})
	for port := uint16(7000); port < 7002; port++ {
		if err := s.Divert(port, 1); err != nil {
			t.Fatal(err)
		}
	}
	const packets, resent = 3000, 200
	for i := range packets {
		s.run(t, datagram(false, 7000+uint16(i%3), rtp(1, uint16(i/3), 8)))
		if i < resent {
			b := rtp(2, uint16(i), 8)
			b[1] = []byte{3, 97, 0x80 | 97}[i%3] // the last with a marker
			s.run(t, datagram(false, 7002, b))
		}
	}
	got := s.totals(t)
	if got.Lost != packets/100 || got.DivertedPackets+got.PassedPackets != packets-packets/100+resent ||
		got.PassedPackets < resent {
		t.Errorf("%+v", got)
	}
}

// BenchmarkSink measures the verdict on a diverted packet, in ns as the kernel counts them.
func BenchmarkSink(b *testing.B) {
	testenv.Need(b, testenv.XDP)
	s, err := load(Config{TransportID: 3})
	if err != nil {
		b.Fatal(err)
	}
	defer s.objects.Close()
	if err := s.Divert(6000, 7); err != nil {
		b.Fatal(err)
	}
	for name, packet := range map[string][]byte{
		"with a number": numbered(0x10, 'a', 0x31, 0xAB, 2), "without": rtp(7, 1, 32),
	} {
		b.Run(name, func(b *testing.B) {
			_, each, err := s.objects.Sink.Benchmark(datagram(false, 6000, packet), 1_000_000, b.ResetTimer)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(each.Nanoseconds()), "ns/packet")
		})
	}
}
