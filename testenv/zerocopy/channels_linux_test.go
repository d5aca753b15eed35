package zerocopy

import (
	"fmt"

	"github.com/mdlayher/genetlink"
	nl "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// setChannels is ethtool -L combined: ETHTOOL_MSG_CHANNELS_SET of Documentation/networking/ethtool-netlink.rst. The
// error has the kernel's words.
func setChannels(link netlink.Link, combined int) error {
	conn, err := genetlink.Dial(nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetOption(nl.ExtendedAcknowledge, true); err != nil {
		return err
	}
	family, err := conn.GetFamily(unix.ETHTOOL_GENL_NAME)
	if err != nil {
		return err
	}
	request := nl.NewAttributeEncoder()
	request.Nested(unix.ETHTOOL_A_CHANNELS_HEADER, func(header *nl.AttributeEncoder) error {
		header.Uint32(unix.ETHTOOL_A_HEADER_DEV_INDEX, uint32(link.Attrs().Index))
		return nil
	})
	request.Uint32(unix.ETHTOOL_A_CHANNELS_COMBINED_COUNT, uint32(combined))
	data, err := request.Encode()
	if err != nil {
		return err
	}
	_, err = conn.Execute(genetlink.Message{
		Header: genetlink.Header{Command: unix.ETHTOOL_MSG_CHANNELS_SET, Version: family.Version}, Data: data,
	}, family.ID, nl.Request|nl.Acknowledge)
	if err != nil {
		return fmt.Errorf("%d channels of %s: %w", combined, link.Attrs().Name, err)
	}
	return nil
}
