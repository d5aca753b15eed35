package capability

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

// UDPSegmentation is a kernel that takes and gives many datagrams as one message, UDP_SEGMENT and UDP_GRO.
var UDPSegmentation = Capability{Name: "udp-segmentation", Find: func() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open a UDP socket: %w", err)
	}
	defer unix.Close(socket)
	for name, option := range map[string]int{"UDP_SEGMENT": unix.UDP_SEGMENT, "UDP_GRO": unix.UDP_GRO} {
		if err := unix.SetsockoptInt(socket, unix.IPPROTO_UDP, option, 1); err != nil {
			return Missing("udp-segmentation", name+": "+err.Error())
		}
	}
	return nil
}}

// XDPFrags is a kernel that hands frames in several pieces to XDP programs (Linux 5.18), and the right to load one.
var XDPFrags = Capability{Name: "xdp-frags", Find: func() error {
	err := features.HaveProgramHelper(ebpf.XDP, asm.FnXdpGetBuffLen)
	if err != nil {
		return Missing("xdp-frags", err.Error())
	}
	return nil
}}

// XDP is a kernel that loads XDP programs and opens AF_XDP sockets, and the right to do both.
var XDP = Capability{Name: "xdp", Find: func() error {
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type:         ebpf.XDP,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()}, // XDP_PASS
		License:      "MIT",
	})
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) || errors.Is(err, ebpf.ErrNotSupported) {
		return Missing("xdp", "not root, or no BPF: "+err.Error())
	}
	if err != nil {
		return fmt.Errorf("load an XDP program: %w", err)
	}
	defer program.Close()

	socket, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EAFNOSUPPORT) {
		return Missing("xdp", "no AF_XDP socket: "+err.Error())
	}
	if err != nil {
		return fmt.Errorf("open an AF_XDP socket: %w", err)
	}
	return unix.Close(socket)
}}
