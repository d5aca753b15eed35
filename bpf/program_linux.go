package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ringcast/engine/port"
)

// ErrFull means that Config.Tuples are allowed already.
var ErrFull = errors.New("the guard's allow-list is full")

// A Program is the XDP program on an interface, with its maps. All methods are safe from any thread;
// after Close they return os.ErrClosed or do nothing.
//
// Attach, then SetSockets for every queue once its sockets are bound and their fill ring filled. Allow and
// Revoke as paths come and go. Close after the queues' ClearSockets.
type Program struct {
	config Config

	// attaching guards link and native. It is held while a driver attaches, which may take seconds: no worker waits
	// for it.
	attaching sync.Mutex
	link      link.Link
	native    error // why it is not attached natively; nil if it is

	mu      sync.Mutex // guards all below, and makes look-up and update of a tuple one step
	objects steerObjects
	closed  bool           // it is set with both locks held, so either lets one read it
	allowed map[tuple]need // the allow-list's entries
	refused uint64         // Allows that found it full
}

// Attach loads the program and attaches it to the interface: natively, or generically where native attaching is refused
// and Config.Generic permits. It never replaces another program. A refusal of the machine is a *Refusal.
func Attach(cfg Config) (*Program, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	dev, err := lookUp(cfg.Interface)
	if err != nil {
		return nil, err
	}
	p, err := load(cfg, features.HaveProgramHelper(ebpf.XDP, asm.FnXdpGetBuffLen) == nil)
	if err != nil {
		return nil, explain(dev, err)
	}
	if err := p.attach(dev); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// lookUp finds an interface by name.
func lookUp(name string) (netlink.Link, error) {
	dev, err := netlink.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil, &Refusal{
			Interface: name, Reason: ErrNoInterface, Err: err,
			Remedy: "name one that ip link shows, in the network namespace of this process",
		}
	}
	if err != nil {
		return nil, fmt.Errorf("look up interface %s: %w", name, err)
	}
	return dev, nil
}

// Reattach puts the program on the interface that has the name now, after the one that it was on was deleted. Allowed
// tuples stay allowed; queues need new sockets. It is refused as Attach is.
func (p *Program) Reattach() error {
	p.attaching.Lock()
	defer p.attaching.Unlock()
	if p.closed {
		return os.ErrClosed
	}
	dev, err := lookUp(p.config.Interface)
	if err != nil {
		return err
	}
	if p.link != nil {
		if err := p.link.Close(); err != nil {
			return fmt.Errorf("detach the XDP program: %w", err)
		}
		p.link = nil
	}
	return p.attach(dev)
}

// udpHeader is the length, in bytes, of a UDP header.
const udpHeader = 8

// load puts program and maps into the kernel, which is recent from 5.18 on. Nothing runs yet.
func load(cfg Config, recent bool) (*Program, error) {
	spec, err := loadSteer()
	if err != nil {
		return nil, err
	}
	// The coarse clocks go on with each jiffy.
	var jiffy unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &jiffy); err != nil {
		return nil, fmt.Errorf("ask how long a jiffy is: %w", err)
	}
	if recent {
		// Frames of a large MTU come in several pieces: drivers that want all in one refuse such an MTU.
		spec.Programs[steerProgSteer].Flags |= unix.BPF_F_XDP_HAS_FRAGS
	}
	spec.Maps[steerMapXsks].MaxEntries = 2 * uint32(cfg.Queues)
	spec.Maps[steerMapAllowed].MaxEntries = uint32(cfg.Tuples)
	spec.Maps[steerMapUfragsKept].MaxEntries = uint32(cfg.Sessions)
	spec.Maps[steerMapAddresses].MaxEntries = max(1, uint32(len(cfg.Addresses)))
	for _, variable := range []struct {
		name  string
		value any
	}{
		{steerVarMediaPort, cfg.Port},
		{steerVarAnyAddress, len(cfg.Addresses) == 0},
		{steerVarGuarded, cfg.Guard},
		{steerVarLongest, uint16(udpHeader + port.MaxDatagram)},
		{steerVarRecent, recent},
		{steerVarJiffy, uint32(jiffy.Nano())},
		{steerVarUfragFreshInterval, uint32(port.Second) / uint32(cfg.freshRate)},
		{steerVarUfragKeptInterval, uint32(port.Second) / uint32(cfg.keptRate)},
		{steerVarUfragKnownInterval, uint32(port.Second) / uint32(cfg.knownRate)},
		{steerVarStunSourceInterval, uint32(port.Second) / uint32(cfg.STUNRate)},
		{steerVarStunGlobalInterval, uint32(port.Second) / uint32(cfg.GlobalSTUNRate)},
	} {
		if err := spec.Variables[variable.name].Set(variable.value); err != nil {
			return nil, fmt.Errorf("set %s: %w", variable.name, err)
		}
	}
	p := &Program{config: cfg, allowed: make(map[tuple]need)}
	if err := spec.LoadAndAssign(&p.objects, nil); err != nil {
		return nil, fmt.Errorf("load the XDP program: %w", err)
	}
	for _, a := range cfg.Addresses {
		if err := p.objects.Addresses.Put(a.As16(), uint8(1)); err != nil {
			p.Close()
			return nil, fmt.Errorf("list address %s: %w", a, err)
		}
	}
	return p, nil
}

// attach makes the link, which the kernel undoes when this process ends, however it ends.
func (p *Program) attach(dev netlink.Link) (err error) {
	p.native = nil
	a := dev.Attrs()
	if a.EncapType != "ether" && a.EncapType != "loopback" {
		return &Refusal{
			Interface: a.Name, Reason: ErrNoEthernet, Err: fmt.Errorf("its link type is %s", a.EncapType),
			Remedy: "serve by sockets, or on the interface that carries its packets",
		}
	}
	var address [6]byte
	copy(address[:], a.HardwareAddr) // which is left out where it is zero: lo's
	if err := p.setAddress(address); err != nil {
		return err
	}
	options := link.XDPOptions{Program: p.objects.Steer, Interface: a.Index, Flags: link.XDPDriverMode}
	if p.link, err = link.AttachXDP(options); err == nil {
		return nil
	}
	refusal := explain(dev, err)
	if !p.config.Generic || refusal.Reason == ErrAttached || refusal.Reason == ErrPermission {
		return refusal
	}
	options.Flags = link.XDPGenericMode
	if p.link, err = link.AttachXDP(options); err != nil {
		return explain(dev, err)
	}
	p.native = refusal
	return nil
}

// Queues returns the number of receive queues that may get a socket.
func (p *Program) Queues() int { return p.config.Queues }

// SetAddress says which hardware address the interface has now. Frames to any other are passed to the kernel. Attach
// and Reattach find it out themselves.
func (p *Program) SetAddress(address [6]byte) error {
	p.attaching.Lock()
	defer p.attaching.Unlock()
	if p.closed {
		return os.ErrClosed
	}
	return p.setAddress(address)
}

// setAddress is SetAddress for callers that hold attaching, or alone know the program.
func (p *Program) setAddress(address [6]byte) error {
	var word [8]byte
	copy(word[:], address[:])
	if err := p.objects.HardwareAddress.Set(binary.LittleEndian.Uint64(word[:])); err != nil {
		return fmt.Errorf("set the hardware address: %w", err)
	}
	return nil
}

// Generic reports whether the kernel emulates XDP for this program, because native attaching was refused.
func (p *Program) Generic() bool { return p.NativeRefusal() != nil }

// NativeRefusal is why the program is not attached natively, nil if it is.
func (p *Program) NativeRefusal() error {
	p.attaching.Lock()
	defer p.attaching.Unlock()
	return p.native
}

// Attached reports whether the program is on the interface that has the name now. It is false after the program's own
// interface was deleted or got another name.
func (p *Program) Attached() (bool, error) {
	p.attaching.Lock()
	defer p.attaching.Unlock()
	if p.closed {
		return false, os.ErrClosed
	}
	if p.link == nil {
		return false, nil
	}
	info, err := p.link.Info()
	if err != nil {
		return false, fmt.Errorf("ask about the XDP link: %w", err)
	}
	dev, err := lookUp(p.config.Interface)
	if errors.Is(err, ErrNoInterface) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	xdp := info.XDP() // of a deleted interface the index is 0
	return xdp != nil && int(xdp.Ifindex) == dev.Attrs().Index, nil
}

// SetSockets makes two AF_XDP sockets the destinations of a queue's packets, in place of any others. reports gets the
// reports that may wait, fd all else.
func (p *Program) SetSockets(queue, fd, reports int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return os.ErrClosed
	}
	for i, s := range []int{fd, reports} {
		if err := p.objects.Xsks.Put(slot(queue, i), uint32(s)); err != nil {
			return fmt.Errorf("set the sockets of queue %d: %w", queue, err)
		}
	}
	return nil
}

// slot is the place of a queue's first or second socket in the XSKMAP. One beyond the map is refused there.
func slot(queue, i int) uint32 { return uint32(2*queue + i) }

// ClearSockets sends a queue's packets to the kernel from now on. A queue without sockets stays so.
func (p *Program) ClearSockets(queue int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return os.ErrClosed
	}
	for i := range 2 {
		if err := p.objects.Xsks.Delete(slot(queue, i)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("clear the sockets of queue %d: %w", queue, err)
		}
	}
	return nil
}

// A tuple is the key of a path in the allow-list: struct tuple of steer.c.
type tuple [36]byte

func tupleOf(path port.Path) (t tuple) {
	remote, local := path.Remote.Addr().As16(), path.Local.As16()
	copy(t[0:], remote[:])
	copy(t[16:], local[:])
	binary.BigEndian.PutUint16(t[32:], path.Remote.Port())
	return t
}

// A need is the users of an entry of the allow-list, and the most generous of their rates.
type need struct {
	routes int
	rate   uint32 // the most generous of the routes'; 0: any
}

// covers reports whether a rate asks for no more than the need's entry gives.
func (n need) covers(rate uint32) bool {
	return n.routes > 0 && (n.rate == 0 || rate != 0 && rate <= n.rate)
}

// allowance is struct allowance of steer.c: a tuple's entry in the allow-list.
type allowance struct {
	Media, Reports, Others uint64
	Interval               uint32
	Zero                   uint32
}

// interval is the nanoseconds per packet of a rate.
func interval(rate uint32) uint32 {
	if rate == 0 {
		return 0
	}
	return uint32(port.Second) / rate
}

// Allow lets packets of the path through until as many Revokes as Allows have named it. rate is in packets a second of
// RTP. It is also the rate of RTCP, and the rest gets a sixteenth. After a second's silence a second's worth may come
// at once. It is at least 16, or 0 for no limit. Checks are judged by their ufrags alone. The most generous Allow holds
// until the last is revoked. It returns ErrFull, and counts it, if there is no room for another path. Then nothing has
// changed, and no Revoke may follow. For the first route of a path it takes a system call, a microsecond or two.
func (p *Program) Allow(path port.Path, rate uint32) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return os.ErrClosed
	}
	key := tupleOf(path)
	n := p.allowed[key]
	if !n.covers(rate) {
		err := p.objects.Allowed.Update(&key, &allowance{Interval: interval(rate)}, ebpf.UpdateAny)
		if errors.Is(err, unix.E2BIG) {
			p.refused++
			return ErrFull
		}
		if err != nil {
			return fmt.Errorf("allow %v: %w", path, err)
		}
		n.rate = rate
	}
	n.routes++
	p.allowed[key] = n
	return nil
}

// Revoke takes back one Allow that succeeded. A path that is not allowed stays so.
func (p *Program) Revoke(path port.Path) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return os.ErrClosed
	}
	key := tupleOf(path)
	n, ok := p.allowed[key]
	if !ok {
		return nil
	}
	if n.routes--; n.routes > 0 {
		p.allowed[key] = n
		return nil
	}
	if err := p.objects.Allowed.Delete(&key); err != nil {
		return fmt.Errorf("revoke %v: %w", path, err)
	}
	delete(p.allowed, key)
	return nil
}

// Allowed returns the number of paths that are allowed now, counting each once.
func (p *Program) Allowed() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.allowed)
}

// Refused returns the number of Allows that returned ErrFull.
func (p *Program) Refused() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refused
}

// Counters returns how many packets left the program for each Reason since it was loaded.
func (p *Program) Counters() ([]uint64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, os.ErrClosed
	}
	sum := make([]uint64, NumReasons)
	var perCPU []uint64
	for reason := range NumReasons {
		if err := p.objects.Exits.Lookup(uint32(reason), &perCPU); err != nil {
			return nil, fmt.Errorf("read the XDP counter %v: %w", reason, err)
		}
		for _, n := range perCPU {
			sum[reason] += n
		}
	}
	return sum, nil
}

// Close detaches the program and frees it. The kernel's stack gets all packets from then on.
func (p *Program) Close() error {
	p.attaching.Lock()
	defer p.attaching.Unlock()
	if p.closed {
		return nil
	}
	var err error
	if p.link != nil {
		if err = p.link.Close(); err != nil {
			err = fmt.Errorf("detach the XDP program: %w", err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	return errors.Join(err, p.objects.Close())
}
