package sink

import (
	"encoding/binary"
	"reflect"
	"testing"

	"github.com/cilium/ebpf"

	"ringcast/testenv"
)

const (
	xdpDrop = 1
	xdpPass = 2
)

func open(t *testing.T, loseEvery int) *Sink {
	t.Helper()
	testenv.Need(t, testenv.XDP)
	s, err := load(loseEvery)
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

// Only the RTP of ports that are counted is counted, and only of those that are to drop it dropped.
func TestVerdicts(t *testing.T) {
	s := open(t, 0)
	for port, m := range map[uint16]Mode{5001: Count, 5002: Drop} {
		if err := s.Set(port, m); err != nil {
			t.Fatal(err)
		}
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
	for _, c := range []struct {
		name    string
		frame   []byte
		verdict uint32
		counted uint64
	}{
		{"RTP to drop", datagram(false, 5002, rtp(1, 1, 100)), xdpDrop, 1},
		{"RTP to drop, IPv6", datagram(true, 5002, rtp(1, 2, 100)), xdpDrop, 1},
		{"RTP to count", datagram(false, 5001, rtp(1, 1, 100)), xdpPass, 1},
		{"RTP to another port", datagram(false, 5003, rtp(1, 1, 100)), xdpPass, 0},
		{"RTCP", datagram(false, 5002, rtcp), xdpPass, 0},
		{"STUN", datagram(false, 5002, stun), xdpPass, 0},
		{"DTLS", datagram(true, 5002, dtls), xdpPass, 0},
		{"too short for RTP", datagram(false, 5002, rtp(1, 1, 0)[:11]), xdpPass, 0},
		{"TCP", notUDP, xdpPass, 0},
		{"IPv4 options", options, xdpPass, 0},
		{"ARP", arp, xdpPass, 0},
	} {
		before, err := s.Totals()
		if err != nil {
			t.Fatal(err)
		}
		if v := s.run(t, c.frame); v != c.verdict {
			t.Errorf("%s: verdict %d, want %d", c.name, v, c.verdict)
		}
		after, err := s.Totals()
		if err != nil {
			t.Fatal(err)
		}
		if n := after.Packets - before.Packets; n != c.counted {
			t.Errorf("%s: %d counted, want %d", c.name, n, c.counted)
		}
		if n := after.Passed - before.Passed; n != 1-c.counted {
			t.Errorf("%s: %d passed uncounted, want %d", c.name, n, 1-c.counted)
		}
	}
}

// Sequence numbers wrap, arrive late and leave holes; SSRCs are told apart.
func TestCounters(t *testing.T) {
	s := open(t, 0)
	if err := s.Set(6000, Drop); err != nil {
		t.Fatal(err)
	}
	for _, seq := range []uint16{65533, 65534, 0, 65535, 3} {
		s.run(t, datagram(false, 6000, rtp(7, seq, 88)))
	}
	s.run(t, datagram(false, 6000, rtp(8, 10, 8)))
	got := s.Read(6000, make([]Source, 0, Sources))
	want := []Source{
		{SSRC: 7, First: 65533, Highest: 65536 + 3, Packets: 5, Bytes: 500},
		{SSRC: 8, First: 10, Highest: 10, Packets: 1, Bytes: 20},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if n := got[0].Expected(); n != 7 {
		t.Errorf("expected %d packets, want 7", n)
	}
	s.run(t, datagram(false, 6000, rtp(9, 1, 0)))
	s.run(t, datagram(false, 6000, rtp(10, 1, 0)))
	if total, err := s.Totals(); err != nil || total.Unplaced != 1 || total.Packets != 8 {
		t.Errorf("totals %+v, %v", total, err)
	}
	if err := s.Set(6000, Count); err != nil {
		t.Fatal(err)
	}
	if got := s.Read(6000, nil); len(got) != 0 {
		t.Errorf("what was counted before Set is still there: %+v", got)
	}
}

// Every n-th packet is lost, whatever its viewer.
func TestLoseEvery(t *testing.T) {
	s := open(t, 100)
	for port := uint16(7000); port < 7003; port++ {
		if err := s.Set(port, Count); err != nil {
			t.Fatal(err)
		}
	}
	const packets = 3000
	for i := range packets {
		s.run(t, datagram(false, 7000+uint16(i%3), rtp(1, uint16(i/3), 8)))
	}
	total, err := s.Totals()
	if err != nil || total.Lost != packets/100 || total.Packets != packets-packets/100 {
		t.Errorf("totals %+v, %v", total, err)
	}
}
