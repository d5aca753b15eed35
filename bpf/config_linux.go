package bpf

import (
	"errors"
	"fmt"
	"net/netip"

	"ringcast/engine/port"
)

// Config selects the packets to steer. Interface and Port are required.
type Config struct {
	// Interface is the device's name.
	Interface string
	// Port is the media port, of all addresses that are served.
	Port uint16
	// Addresses are the destination addresses to serve. The kernel gets packets to others, and packets to a group
	// (multicast, broadcast). None serves all, those of other hosts included if the device receives them. Zones are
	// ignored: the device is one link.
	Addresses []netip.Addr
	// Queues is the number of receive queues that may get a socket, counted from queue 0.
	Queues int
	// Tuples is the number of peers that may be allowed at once; a session may have several paths. Each takes about
	// 140 bytes of kernel memory.
	Tuples int
	// Sessions is the number of sessions with a path whose ufrags may stay known: as many as there may be.
	// Each takes about 110 bytes of kernel memory.
	Sessions int
	// Guard drops datagrams on the port from senders that no session knows. Without it, for measuring, the
	// workers get all of them.
	Guard bool
	// STUNRate bounds the checks by ufrags of ours that an address (an IPv6 /64) may send a second from tuples that are
	// not allowed. After a second's silence as many may come at once. One office is one address. At most 1,000,000.
	STUNRate int
	// GlobalSTUNRate is the same for all addresses together, per CPU. At most 1,000,000.
	GlobalSTUNRate int
	// Generic permits the kernel's emulation where the driver has no XDP of its own. It costs
	// more than sockets do, so it is for trying things out.
	Generic bool

	// freshRate and keptRate are how many checks a second of new tuples one ufrag is good for, before its
	// session has a path and afterwards. Only tests change them.
	freshRate, keptRate int
	// knownRate is the same of allowed tuples, at any time. Only tests change it.
	knownRate int
}

// DefaultConfig has the defaults of all but Interface and Port. An ufrag's rates are package worker's. A known tuple
// may send 200 checks a second, since an agent begins no more than one check in 5 ms (RFC 8445 section 14.2).
func DefaultConfig() Config {
	return Config{
		Queues: 1, Tuples: 16384, Sessions: 16384, Guard: true, STUNRate: 4000, GlobalSTUNRate: 20000,
		freshRate: 50, keptRate: 5, knownRate: 200,
	}
}

const maxRate = 1000000

func (c *Config) validate() error {
	if c.Interface == "" {
		return errors.New("bpf: no Interface")
	}
	if c.Port == 0 {
		return errors.New("bpf: no Port")
	}
	for _, field := range []struct {
		name       string
		value, max int
	}{
		{"Queues", c.Queues, 1 << 16},
		{"Tuples", c.Tuples, 1 << 24},
		{"Sessions", c.Sessions, 1 << 24},
		{"freshRate", c.freshRate, int(port.Second)},
		{"keptRate", c.keptRate, int(port.Second)},
		{"knownRate", c.knownRate, int(port.Second)},
		{"STUNRate", c.STUNRate, maxRate},
		{"GlobalSTUNRate", c.GlobalSTUNRate, maxRate},
	} {
		if field.value < 1 || field.value > field.max {
			return fmt.Errorf("bpf: %s is %d, not in 1 to %d", field.name, field.value, field.max)
		}
	}
	for _, a := range c.Addresses {
		if !a.IsValid() || a.IsUnspecified() {
			return fmt.Errorf("bpf: %q among Addresses is not a host's", a)
		}
	}
	return nil
}
