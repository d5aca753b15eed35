package host

import (
	"errors"
	"fmt"
	"os"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// ethtool asks two families of generic netlink about an interface: ethtool for rings
// (Documentation/networking/ethtool-netlink.rst), netdev for the features of its XDP
// (Documentation/netlink/specs/netdev.yaml).
type ethtool struct {
	conn            *genetlink.Conn
	ethtool, netdev genetlink.Family // version 0 where the kernel has none
}

func openEthtool() (*ethtool, error) {
	conn, err := genetlink.Dial(nil)
	if err != nil {
		return nil, fmt.Errorf("open generic netlink: %w", err)
	}
	e := &ethtool{conn: conn}
	for _, f := range []struct {
		name   string
		family *genetlink.Family
	}{{"ethtool", &e.ethtool}, {"netdev", &e.netdev}} {
		if *f.family, err = conn.GetFamily(f.name); err != nil && !errors.Is(err, os.ErrNotExist) {
			conn.Close()
			return nil, fmt.Errorf("find the netlink family %s: %w", f.name, err)
		}
	}
	return e, nil
}

func (e *ethtool) close() { e.conn.Close() }

func (e *ethtool) inspect(n *NIC, index int) error {
	return errors.Join(e.rings(n, index), e.features(n, index))
}

// ask sends one request and calls each for the attributes of the answer. Where the kernel or the driver does not know
// the request, the answer is empty.
func (e *ethtool) ask(
	family genetlink.Family, command uint8,
	fill func(*netlink.AttributeEncoder), each func(*netlink.AttributeDecoder),
) error {
	if family.Version == 0 {
		return nil
	}
	request := netlink.NewAttributeEncoder()
	fill(request)
	data, err := request.Encode()
	if err != nil {
		return err
	}
	message := genetlink.Message{Header: genetlink.Header{Command: command, Version: family.Version}, Data: data}
	answers, err := e.conn.Execute(message, family.ID, netlink.Request)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, answer := range answers {
		a, err := netlink.NewAttributeDecoder(answer.Data)
		if err != nil {
			return err
		}
		for a.Next() {
			each(a)
		}
		if err := a.Err(); err != nil {
			return err
		}
	}
	return nil
}

// about makes the header of a request to the family ethtool. Its attribute is 1 in all of them.
func about(index int) func(*netlink.AttributeEncoder) {
	return func(request *netlink.AttributeEncoder) {
		request.Nested(unix.ETHTOOL_A_RINGS_HEADER, func(header *netlink.AttributeEncoder) error {
			header.Uint32(unix.ETHTOOL_A_HEADER_DEV_INDEX, uint32(index))
			return nil
		})
	}
}

func (e *ethtool) rings(n *NIC, index int) error {
	fields := map[uint16]*int{
		unix.ETHTOOL_A_RINGS_RX: &n.Rings.RX, unix.ETHTOOL_A_RINGS_RX_MAX: &n.Rings.MaxRX,
		unix.ETHTOOL_A_RINGS_TX: &n.Rings.TX, unix.ETHTOOL_A_RINGS_TX_MAX: &n.Rings.MaxTX,
	}
	err := e.ask(e.ethtool, unix.ETHTOOL_MSG_RINGS_GET, about(index), func(a *netlink.AttributeDecoder) {
		if field := fields[a.Type()]; field != nil {
			*field = int(a.Uint32())
		}
	})
	if err != nil {
		return fmt.Errorf("ask for the rings: %w", err)
	}
	return nil
}

// Constants of the family netdev, which x/sys/unix lacks.
const (
	netdevDevGet      = 1 // NETDEV_CMD_DEV_GET
	netdevIfindex     = 1 // NETDEV_A_DEV_IFINDEX
	netdevXDPFeatures = 3 // NETDEV_A_DEV_XDP_FEATURES
	netdevXDPBasic    = 1 // NETDEV_XDP_ACT_BASIC
	netdevXDPRedirect = 2 // NETDEV_XDP_ACT_REDIRECT
	netdevXDPZeroCopy = 8 // NETDEV_XDP_ACT_XSK_ZEROCOPY
)

func (e *ethtool) features(n *NIC, index int) error {
	err := e.ask(e.netdev, netdevDevGet, func(request *netlink.AttributeEncoder) {
		request.Uint32(netdevIfindex, uint32(index))
	}, func(a *netlink.AttributeDecoder) {
		if a.Type() == netdevXDPFeatures {
			bits := a.Uint64()
			n.Features = &Features{
				Basic: bits&netdevXDPBasic != 0, Redirect: bits&netdevXDPRedirect != 0,
				ZeroCopy: bits&netdevXDPZeroCopy != 0,
			}
		}
	})
	if err != nil {
		return fmt.Errorf("ask for the features of XDP: %w", err)
	}
	return nil
}
