package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Threaded moves the device's receive work into kernel threads of its own, of real-time priority 50 (FIFO). The first
// is pinned to the first of the given CPUs and so on, around. It returns the threads' numbers, for ReadUsage.
//
// A veth has such work, one NAPI a queue, only with an XDP program attached or with GRO. So attach first, and call this
// again after each attaching.
func (d *Device) Threaded(cpus ...int) (threads []int, err error) {
	if err := <-d.Host.spend(func() error {
		return os.WriteFile(filepath.Join("/sys/class/net", d.Name, "threaded"), []byte("1"), 0)
	}); err != nil {
		return nil, fmt.Errorf("thread the NAPIs of %s: %w", d.Name, err)
	}
	if threads, err = d.napiThreads(); err != nil {
		return nil, fmt.Errorf("NAPI threads of %s: %w", d.Name, err)
	}
	if len(threads) == 0 {
		return nil, fmt.Errorf("%s has no NAPI threads: attach XDP first", d.Name)
	}
	for i, tid := range threads {
		if len(cpus) > 0 {
			if err := pin(tid, []int{cpus[i%len(cpus)]}); err != nil {
				return nil, err
			}
		}
		if err := fifo(tid, 50); err != nil {
			return nil, err
		}
	}
	return threads, nil
}

// The kernel's include/uapi/linux/netdev.h.
const (
	netdevCmdNAPIGet      = 11
	netdevAttrNAPIIfindex = 1
	netdevAttrNAPIID      = 2
	netdevAttrNAPIPID     = 4
)

// napiThreads are the device's, in the order of its queues.
func (d *Device) napiThreads() (threads []int, err error) {
	request := netlink.NewAttributeEncoder()
	request.Uint32(netdevAttrNAPIIfindex, uint32(d.Index))
	answers, err := d.generic("netdev", netdevCmdNAPIGet, netlink.Request|netlink.Dump, request)
	if err != nil {
		return nil, err
	}
	type napi struct{ id, pid int }
	var napis []napi
	for _, answer := range answers {
		var n napi
		attrs, err := netlink.NewAttributeDecoder(answer.Data)
		if err != nil {
			return nil, err
		}
		for attrs.Next() {
			switch attrs.Type() {
			case netdevAttrNAPIID:
				n.id = int(attrs.Uint32())
			case netdevAttrNAPIPID:
				n.pid = int(attrs.Uint32())
			}
		}
		if err := attrs.Err(); err != nil {
			return nil, err
		}
		if n.pid != 0 {
			napis = append(napis, n)
		}
	}
	slices.SortFunc(napis, func(a, b napi) int { return a.id - b.id })
	for _, n := range napis {
		threads = append(threads, n.pid)
	}
	return threads, nil
}

// A Switch turns a feature on or off.
type Switch bool

const (
	On  Switch = true
	Off Switch = false
)

// Offload turns a feature of the device on or off. Names are those of ethtool -k. Without tx-checksum-ip-generic
// packets carry whole checksums, where veth would leave the pseudo-header's. Without tx-udp-segmentation the datagrams
// of one UDP_SEGMENT message cross the cable as single packets.
func (d *Device) Offload(feature string, to Switch) error {
	request := netlink.NewAttributeEncoder()
	request.Nested(unix.ETHTOOL_A_FEATURES_HEADER, func(header *netlink.AttributeEncoder) error {
		header.Uint32(unix.ETHTOOL_A_HEADER_DEV_INDEX, uint32(d.Index))
		return nil
	})
	request.Nested(unix.ETHTOOL_A_FEATURES_WANTED, func(set *netlink.AttributeEncoder) error {
		set.Nested(unix.ETHTOOL_A_BITSET_BITS, func(bits *netlink.AttributeEncoder) error {
			bits.Nested(unix.ETHTOOL_A_BITSET_BITS_BIT, func(bit *netlink.AttributeEncoder) error {
				bit.String(unix.ETHTOOL_A_BITSET_BIT_NAME, feature)
				bit.Flag(unix.ETHTOOL_A_BITSET_BIT_VALUE, bool(to))
				return nil
			})
			return nil
		})
		return nil
	})
	if _, err := d.generic("ethtool", unix.ETHTOOL_MSG_FEATURES_SET, netlink.Request|netlink.Acknowledge,
		request); err != nil {
		return fmt.Errorf("turn %s of %s: %w", feature, d.Name, err)
	}
	return nil
}

// SetQueues sets how many receive queues of the device are in use, and as many transmit queues, as ethtool -L does. It
// is at most the number that the device was made with. The kernel refuses to remove a queue with an AF_XDP socket.
func (d *Device) SetQueues(n int) error {
	request := netlink.NewAttributeEncoder()
	request.Nested(unix.ETHTOOL_A_CHANNELS_HEADER, func(header *netlink.AttributeEncoder) error {
		header.Uint32(unix.ETHTOOL_A_HEADER_DEV_INDEX, uint32(d.Index))
		return nil
	})
	request.Uint32(unix.ETHTOOL_A_CHANNELS_RX_COUNT, uint32(n))
	request.Uint32(unix.ETHTOOL_A_CHANNELS_TX_COUNT, uint32(n))
	if _, err := d.generic("ethtool", unix.ETHTOOL_MSG_CHANNELS_SET, netlink.Request|netlink.Acknowledge,
		request); err != nil {
		return fmt.Errorf("set the queues of %s to %d: %w", d.Name, n, err)
	}
	return nil
}

// generic asks a family of generic netlink on the device's host.
func (d *Device) generic(
	family string, command uint8, flags netlink.HeaderFlags, request *netlink.AttributeEncoder,
) ([]genetlink.Message, error) {
	data, err := request.Encode()
	if err != nil {
		return nil, err
	}
	conn, err := genetlink.Dial(&netlink.Config{NetNS: d.Host.NetNS()})
	if err != nil {
		return nil, fmt.Errorf("open generic netlink: %w", err)
	}
	defer conn.Close()
	f, err := conn.GetFamily(family)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", family, err)
	}
	return conn.Execute(genetlink.Message{Header: genetlink.Header{Command: command, Version: 1}, Data: data}, f.ID,
		flags)
}
