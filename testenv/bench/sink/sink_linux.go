package sink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// A Mode is what happens to the media of one UDP port.
type Mode uint32

const (
	// Pass lets everything through, uncounted.
	Pass Mode = iota
	// Count counts media and lets it through.
	Count
	// Drop counts media and drops it.
	Drop
)

// Sources is how many SSRCs of one viewer can be told apart: audio, video, retransmissions.
const Sources = 3

// A Source is what arrived of one SSRC.
type Source struct {
	SSRC uint32
	// First is the sequence number of the first packet, Highest the highest one, extended by the
	// number of wraps above its 16 bits.
	First, Highest uint32
	Packets        uint64
	// Bytes are UDP payload.
	Bytes uint64
}

// Expected is how many packets were sent up to the highest that arrived (RFC 3550 appendix A.3).
func (s *Source) Expected() uint64 {
	if s.Packets == 0 {
		return 0
	}
	return uint64(s.Highest) - uint64(s.First) + 1
}

// Totals are of all viewers.
type Totals struct {
	// Packets and Bytes are media of viewers that are counted.
	Packets, Bytes uint64
	// Lost is what was dropped on purpose, uncounted above.
	Lost uint64
	// Unplaced is media of more SSRCs than Sources.
	Unplaced uint64
	// Passed is everything else that came.
	Passed uint64
}

// The layout of struct viewer and struct source in sink.c.
const (
	sourceSize  = 32
	sourcesAt   = 8
	viewerSize  = sourcesAt + Sources*sourceSize
	totalsWords = 5
)

// A Sink is the program on one interface.
type Sink struct {
	objects sinkObjects
	viewers *ebpf.Memory
	link    link.Link
}

// Attach puts the program on the interface of the present network namespace, natively: the interface must
// be a veth or another device with XDP. Of loseEvery media packets one is lost on purpose; 0 loses none.
func Attach(device string, loseEvery int) (*Sink, error) {
	dev, err := net.InterfaceByName(device)
	if err != nil {
		return nil, fmt.Errorf("attach the sink to %s: %w", device, err)
	}
	s, err := load(loseEvery)
	if err != nil {
		return nil, err
	}
	s.link, err = link.AttachXDP(link.XDPOptions{
		Program: s.objects.Sink, Interface: dev.Index, Flags: link.XDPDriverMode,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("attach the sink to %s: %w", device, err), s.objects.Close())
	}
	return s, nil
}

// load puts the program into the kernel. Nothing runs yet.
func load(loseEvery int) (*Sink, error) {
	spec, err := loadSink()
	if err != nil {
		return nil, err
	}
	if err := spec.Variables[sinkVarLoseEvery].Set(uint32(loseEvery)); err != nil {
		return nil, err
	}
	s := &Sink{}
	if err := spec.LoadAndAssign(&s.objects, nil); err != nil {
		return nil, fmt.Errorf("load the sink: %w", err)
	}
	if s.viewers, err = s.objects.Viewers.Memory(); err != nil {
		return nil, errors.Join(fmt.Errorf("map the sink's counters: %w", err), s.objects.Close())
	}
	return s, nil
}

// Set chooses what happens to the media of a UDP port from now on, and forgets what was counted of it.
func (s *Sink) Set(port uint16, m Mode) error {
	var v [viewerSize]byte
	binary.NativeEndian.PutUint32(v[:], uint32(m))
	if _, err := s.viewers.WriteAt(v[:], int64(port)*viewerSize); err != nil {
		return fmt.Errorf("set the sink's mode of port %d: %w", port, err)
	}
	return nil
}

// Read returns what arrived for a UDP port, by SSRC in the order of their first packets. It asks no kernel
// and allocates nothing beyond sources, which is filled from its start.
func (s *Sink) Read(port uint16, sources []Source) []Source {
	var v [viewerSize]byte
	if _, err := s.viewers.ReadAt(v[:], int64(port)*viewerSize); err != nil {
		return sources[:0] // unreachable: every port has a place
	}
	sources = sources[:0]
	for i := range Sources {
		b := v[sourcesAt+i*sourceSize:]
		x := Source{
			SSRC:    binary.NativeEndian.Uint32(b),
			First:   binary.NativeEndian.Uint32(b[4:]),
			Highest: binary.NativeEndian.Uint32(b[8:]),
			Packets: binary.NativeEndian.Uint64(b[16:]),
			Bytes:   binary.NativeEndian.Uint64(b[24:]),
		}
		if x.Packets == 0 {
			break
		}
		sources = append(sources, x)
	}
	return sources
}

// Totals adds up what all queues counted.
func (s *Sink) Totals() (t Totals, err error) {
	var perCPU [][totalsWords]uint64
	if err := s.objects.Totals.Lookup(uint32(0), &perCPU); err != nil {
		return t, fmt.Errorf("read the sink: %w", err)
	}
	for _, c := range perCPU {
		t.Packets += c[0]
		t.Bytes += c[1]
		t.Lost += c[2]
		t.Unplaced += c[3]
		t.Passed += c[4]
	}
	return t, nil
}

// Close takes the program off the interface.
func (s *Sink) Close() error { return errors.Join(s.link.Close(), s.objects.Close()) }
