package bpf

import (
	"errors"
	"fmt"
	"net/netip"

	"ringcast/engine/port"
)

// Config says what to steer. Interface and Port are required.
type Config struct {
	// Interface is the device's name.
	Interface string
	// Port is the media port, of all addresses that are served.
	Port uint16
	// Addresses are the destination addresses to serve; packets to others are passed to the
	// kernel, as is what comes to a group (multicast, broadcast). None serves all, those of other
	// hosts included if the device receives them. Zones are ignored: the device is one link.
	Addresses []netip.Addr
	// Queues is how many receive queues may get a socket, counted from queue 0. Default 1.
	Queues int
	// Tuples is how many peers may be allowed at once; a session may have several paths. Default
	// 16,384, of about 140 bytes of kernel memory each.
	Tuples int
	// Sessions is how many sessions that have a path may keep their ufrags known, as many as there may be.
	// Default 16,384, of about 110 bytes of kernel memory each.
	Sessions int
	// GuardOff hands everything on the port to the workers, whoever sent it. For measuring.
	GuardOff bool
	// STUNRate is how many checks by ufrags of ours an address (an IPv6 /64) may send a second from tuples
	// that are not allowed, and how many at once after a second's silence. One office is one
	// address. Default 4,000, at most 1,000,000.
	STUNRate int
	// GlobalSTUNRate is the same for all addresses together, per CPU. Default 20,000, at most
	// 1,000,000.
	GlobalSTUNRate int
	// Generic permits the kernel's emulation where the driver has no XDP of its own. It costs
	// more than sockets do, so it is for trying things out.
	Generic bool

	// freshRate and keptRate are how many checks a second of new tuples one ufrag is good for, before its
	// session has a path and afterwards. Zero: 50 and 5, as package worker has it. Others for tests.
	freshRate, keptRate int
	// knownRate is the same of allowed tuples, at any time. Zero: 200, since an agent begins no more than one check
	// in 5 ms (RFC 8445 section 14.2). Another for tests.
	knownRate int
}

const (
	defaultTuples         = 16384
	defaultSessions       = 16384
	defaultFreshRate      = 50
	defaultKeptRate       = 5
	defaultKnownRate      = 200
	defaultSTUNRate       = 4000
	defaultGlobalSTUNRate = 20000
	maxRate               = 1000000
)

func (c Config) withDefaults() (Config, error) {
	if c.Interface == "" {
		return c, errors.New("bpf: no Interface")
	}
	if c.Port == 0 {
		return c, errors.New("bpf: no Port")
	}
	for _, field := range []struct {
		name       string
		value      *int
		unset, max int
	}{
		{"Queues", &c.Queues, 1, 1 << 16},
		{"Tuples", &c.Tuples, defaultTuples, 1 << 24},
		{"Sessions", &c.Sessions, defaultSessions, 1 << 24},
		{"freshRate", &c.freshRate, defaultFreshRate, int(port.Second)},
		{"keptRate", &c.keptRate, defaultKeptRate, int(port.Second)},
		{"knownRate", &c.knownRate, defaultKnownRate, int(port.Second)},
		{"STUNRate", &c.STUNRate, defaultSTUNRate, maxRate},
		{"GlobalSTUNRate", &c.GlobalSTUNRate, defaultGlobalSTUNRate, maxRate},
	} {
		if *field.value == 0 {
			*field.value = field.unset
		}
		if *field.value < 0 || *field.value > field.max {
			return c, fmt.Errorf("bpf: %s is %d, not in 1 to %d", field.name, *field.value, field.max)
		}
	}
	for _, a := range c.Addresses {
		if !a.IsValid() || a.IsUnspecified() {
			return c, fmt.Errorf("bpf: %q among Addresses is not a host's", a)
		}
	}
	return c, nil
}
