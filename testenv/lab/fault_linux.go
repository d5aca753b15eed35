package lab

import (
	"errors"
	"fmt"
	"math"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// A Fault drops and duplicates UDP packets of either family, in the order of its fields; everything else passes. The
// zero value harms none and counts. A packet that the kernel will segment, or has merged, is one.
type Fault struct {
	// Port limits the fault to packets from or to a UDP port.
	Port uint16
	// Longest drops packets of more bytes, counted from the IP header on: a black hole for a smaller MTU.
	Longest int
	// DropEvery drops the n-th, the 2n-th and so on.
	DropEvery int
	// Drop drops packets by chance, from 0 to 1.
	Drop float64
	// Burst drops packets in bursts.
	Burst Burst
	// DuplicateEvery sends the n-th, the 2n-th and so on twice, Duplicate some by chance. Both work on Egress
	// only.
	DuplicateEvery int
	Duplicate      float64
	// Seed makes chance repeatable for the same packets in the same order.
	Seed uint64
}

// Burst is loss by the model of Gilbert and Elliott: a state that each packet may change, by chance from 0 to 1. Bursts
// are 1/Leave packets long on average, and Enter/(Enter+Leave) of all packets are in one.
type Burst struct {
	// Enter and Leave are the chances that a packet begins a burst and that it is the first after one.
	Enter, Leave float64
	// Drop is the chance that a packet within a burst is dropped.
	Drop float64
}

// chance is a probability in the program's form.
func chance(p float64) uint32 { return uint32(min(max(p, 0)*(1<<32), math.MaxUint32)) }

// load makes the programs of a fault. One of them is used, the others are closed.
func (f Fault) load() (*faultObjects, error) {
	spec, err := loadFault()
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]any{
		faultVarPort: f.Port, faultVarLongest: uint32(f.Longest), faultVarSeed: f.Seed*2 + 1,
		faultVarDropEvery: uint32(f.DropEvery), faultVarDropChance: chance(f.Drop),
		faultVarBurstEnter: chance(f.Burst.Enter), faultVarBurstLeave: chance(f.Burst.Leave),
		faultVarBurstChance:    chance(f.Burst.Drop),
		faultVarDuplicateEvery: uint32(f.DuplicateEvery), faultVarDuplicateChance: chance(f.Duplicate),
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("set %s: %w", name, err)
		}
	}
	var objects faultObjects
	if err := spec.LoadAndAssign(&objects, nil); err != nil {
		return nil, fmt.Errorf("load the fault's programs: %w", err)
	}
	return &objects, nil
}

// An Injector is a fault of a device, until Remove, or until the device or this process ends.
type Injector struct {
	link    link.Link
	objects *faultObjects
}

// Counts are packets: all that a fault saw, and those that it dropped or duplicated.
type Counts struct{ Seen, Dropped, Duplicated uint64 }

// Egress gives the device a fault for packets that its host sends through it. An AF_XDP socket's packets bypass it:
// give the fault to the other end's Ingress, or to a router. Packets that pass one of several faults go on to the next.
func (d *Device) Egress(f Fault) (*Injector, error) {
	return d.attach(f, func(o *faultObjects) (link.Link, error) {
		return link.AttachTCX(link.TCXOptions{Interface: d.Index, Program: o.Egress, Attach: ebpf.AttachTCXEgress})
	})
}

// Ingress gives the device a fault for arriving packets, before anything else sees them. It takes the place of an XDP
// program, of which a device has one.
func (d *Device) Ingress(f Fault) (*Injector, error) {
	if f.Duplicate != 0 || f.DuplicateEvery != 0 {
		return nil, errors.New("an ingress fault cannot duplicate")
	}
	return d.attach(f, func(o *faultObjects) (link.Link, error) { return d.xdp(o.Ingress) })
}

func (d *Device) xdp(program *ebpf.Program) (link.Link, error) {
	return link.AttachXDP(link.XDPOptions{Interface: d.Index, Program: program, Flags: link.XDPDriverMode})
}

func (d *Device) attach(f Fault, to func(*faultObjects) (link.Link, error)) (*Injector, error) {
	objects, err := f.load()
	if err != nil {
		return nil, err
	}
	in := &Injector{objects: objects}
	// The number of a device is valid on its host only.
	if err := d.Host.Enter(func() (err error) {
		in.link, err = to(objects)
		return err
	}); err != nil {
		objects.Close()
		return nil, fmt.Errorf("attach to %s of %s: %w", d.Name, d.Host.Name, err)
	}
	return in, nil
}

// Counts are since the fault began.
func (in *Injector) Counts() (Counts, error) {
	var s faultState
	if err := in.objects.States.LookupWithFlags(uint32(0), &s, ebpf.LookupLock); err != nil {
		return Counts{}, fmt.Errorf("read the fault's counts: %w", err)
	}
	return Counts{s.Seen, s.Dropped, s.Duplicated}, nil
}

// faultState is struct state of fault.c.
type faultState struct {
	_, _                      uint32 // lock, burst
	_                         uint64 // random
	Seen, Dropped, Duplicated uint64
}

// Remove ends the fault.
func (in *Injector) Remove() error { return errors.Join(in.link.Close(), in.objects.Close()) }

// A Sink counts the UDP packets that arrive at a device, and drops them there, where that costs least.
type Sink struct{ Injector }

// Sunk counts a sink's packets; Bytes are from the IP headers on.
type Sunk struct{ Packets, Bytes uint64 }

// Sink gives the device a sink for UDP packets from or to a port, or for all if it is 0. It takes the place of
// an XDP program, of which a device has one.
func (d *Device) Sink(port uint16) (*Sink, error) {
	in, err := d.attach(Fault{Port: port}, func(o *faultObjects) (link.Link, error) { return d.xdp(o.Sink) })
	if err != nil {
		return nil, err
	}
	return &Sink{*in}, nil
}

// Sunk is since the sink began.
func (s *Sink) Sunk() (sum Sunk, err error) {
	var cpus []Sunk
	if err := s.objects.Sunks.Lookup(uint32(0), &cpus); err != nil {
		return Sunk{}, fmt.Errorf("read the sink's counts: %w", err)
	}
	for _, c := range cpus {
		sum.Packets += c.Packets
		sum.Bytes += c.Bytes
	}
	return sum, nil
}
