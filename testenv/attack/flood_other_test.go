//go:build !linux

package attack

import (
	"net"
	"net/netip"
)

// sendMany sends datagrams of one size, which lie in b one after the other.
func sendMany(conn *net.UDPConn, b []byte, size int, to netip.AddrPort) error {
	for ; len(b) > 0; b = b[size:] {
		if _, err := conn.WriteToUDPAddrPort(b[:size], to); err != nil {
			return err
		}
	}
	return nil
}
