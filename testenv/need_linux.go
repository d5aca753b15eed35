package testenv

import "ringcast/testenv/capability"

var (
	// NetworkNamespaces is the right to make network namespaces.
	NetworkNamespaces = capability.NetworkNamespaces
	// XDP is a kernel that loads XDP programs and opens AF_XDP sockets, and the right to do both.
	XDP = capability.XDP
	// XDPFrags is a kernel that hands frames in several pieces to XDP programs.
	XDPFrags = capability.XDPFrags
	// UDPSegmentation is a kernel that takes and gives many datagrams as one message.
	UDPSegmentation = capability.UDPSegmentation
)
