package sink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"ringcast/cmd/ringbench/internal/watch"
)

// Totals are the counts of all media.
type Totals struct {
	// Diverted media was counted for a viewer and dropped, Passed media went on to a socket. Bytes are
	// UDP payload.
	DivertedPackets, DivertedBytes uint64
	PassedPackets, PassedBytes     uint64
	// Lost media was dropped on purpose, before it was counted above.
	Lost uint64
	// Other counts datagrams that are no media.
	Other uint64
}

// The layout of struct viewer and struct totals in sink.c.
const (
	viewerSize  = 48
	totalsWords = 6
	// lastArrivals is the room for a viewer's arrivals, each of arrivalSize bytes. Times are in units of 256 ns.
	lastArrivals = 64
	arrivalSize  = 8
	timeUnit     = 256
)

// Config describes a sink.
type Config struct {
	// Device is an interface of the current network namespace with native XDP, such as a veth.
	Device string
	// TransportID is the header extension that carries transport-wide sequence numbers; 0 for none.
	TransportID uint8
	// LoseEvery loses one of so many media packets on purpose; 0 loses none.
	LoseEvery int
	// Spared are payload types that are neither lost on purpose nor counted to LoseEvery, such as those of
	// retransmissions. Otherwise the share of lost media would be less.
	Spared []uint8
}

// A Sink is the program on one interface. It is safe from any goroutine.
type Sink struct {
	objects  sinkObjects
	viewers  *ebpf.Memory
	arrivals *ebpf.Memory
	link     link.Link
	epoch    int64 // Unix time of the monotonic clock's zero, in ns
}

var _ watch.Sink = (*Sink)(nil)

// Attach attaches the program to the device.
func Attach(cfg Config) (*Sink, error) {
	dev, err := net.InterfaceByName(cfg.Device)
	if err != nil {
		return nil, fmt.Errorf("attach the sink to %s: %w", cfg.Device, err)
	}
	s, err := load(cfg)
	if err != nil {
		return nil, err
	}
	s.link, err = link.AttachXDP(link.XDPOptions{
		Program: s.objects.Sink, Interface: dev.Index, Flags: link.XDPDriverMode,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("attach the sink to %s: %w", cfg.Device, err), s.objects.Close())
	}
	return s, nil
}

// load loads the program into the kernel. Nothing runs yet.
func load(cfg Config) (*Sink, error) {
	spec, err := loadSink()
	if err != nil {
		return nil, err
	}
	var spared [2]uint64
	for _, t := range cfg.Spared {
		spared[t>>6&1] |= 1 << (t & 63)
	}
	err = errors.Join(
		spec.Variables[sinkVarLoseEvery].Set(uint32(cfg.LoseEvery)),
		spec.Variables[sinkVarSpared].Set(spared),
		spec.Variables[sinkVarTransportId].Set(cfg.TransportID),
	)
	if err != nil {
		return nil, err
	}
	s := &Sink{}
	if err := spec.LoadAndAssign(&s.objects, nil); err != nil {
		return nil, fmt.Errorf("load the sink: %w", err)
	}
	if s.viewers, err = s.objects.Viewers.Memory(); err == nil {
		s.arrivals, err = s.objects.Arrivals.Memory()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("map the sink's counters: %w", err), s.objects.Close())
	}
	var booted unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &booted); err != nil {
		return nil, errors.Join(err, s.objects.Close())
	}
	s.epoch = time.Now().UnixNano() - booted.Nano()
	return s, nil
}

// Name implements watch.Sink.
func (s *Sink) Name() string { return "an XDP sink" }

// Divert implements watch.Sink: RTP to the port is counted and dropped.
func (s *Sink) Divert(port uint16, ssrc uint32) error {
	var v [viewerSize]byte
	binary.NativeEndian.PutUint32(v[:], 1)
	binary.NativeEndian.PutUint32(v[4:], ssrc)
	return s.write(port, &v)
}

// Release implements watch.Sink: RTP to the port passes.
func (s *Sink) Release(port uint16) { _ = s.write(port, new([viewerSize]byte)) } // every port has a place

func (s *Sink) write(port uint16, v *[viewerSize]byte) error {
	if _, err := s.viewers.WriteAt(v[:], int64(port)*viewerSize); err != nil {
		return fmt.Errorf("write the sink's entry of port %d: %w", port, err)
	}
	return nil
}

// Count implements watch.Sink. It makes no system call and allocates nothing.
func (s *Sink) Count(port uint16) (watch.Count, bool) {
	var v [viewerSize]byte
	if _, err := s.viewers.ReadAt(v[:], int64(port)*viewerSize); err != nil {
		return watch.Count{}, false
	}
	return watch.Count{
		Sequence: uint16(binary.NativeEndian.Uint32(v[12:])),
		Numbered: binary.NativeEndian.Uint32(v[16:]),
		Packets:  binary.NativeEndian.Uint64(v[24:]),
		Bytes:    binary.NativeEndian.Uint64(v[32:]),
		Media:    binary.NativeEndian.Uint64(v[40:]),
	}, binary.NativeEndian.Uint32(v[:]) != 0
}

// Arrivals implements watch.Sink. It makes no system call.
func (s *Sink) Arrivals(dst []watch.Arrival, port uint16, from, to uint32) []watch.Arrival {
	var all [lastArrivals * arrivalSize]byte
	if _, err := s.arrivals.ReadAt(all[:], int64(port)*int64(len(all))); err != nil {
		return dst
	}
	for n := to - min(to-from, lastArrivals); n != to; n++ {
		x := binary.NativeEndian.Uint64(all[n%lastArrivals*arrivalSize:])
		dst = append(dst, watch.Arrival{Number: uint16(x), At: s.epoch + int64(x>>16*timeUnit)})
	}
	return dst
}

// Totals adds up the counts of all queues.
func (s *Sink) Totals() (t Totals, err error) {
	var perCPU [][totalsWords]uint64
	if err := s.objects.Totals.Lookup(uint32(0), &perCPU); err != nil {
		return t, fmt.Errorf("read the sink: %w", err)
	}
	for _, c := range perCPU {
		t.DivertedPackets += c[0]
		t.DivertedBytes += c[1]
		t.PassedPackets += c[2]
		t.PassedBytes += c[3]
		t.Lost += c[4]
		t.Other += c[5]
	}
	return t, nil
}

// Close detaches the program.
func (s *Sink) Close() error { return errors.Join(s.link.Close(), s.objects.Close()) }
