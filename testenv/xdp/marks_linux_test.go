package xdp

import (
	"encoding/binary"
	"net/netip"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"ringcast/testenv/lab"
)

// listenTo opens a socket that gets the IP packets at a device.
func listenTo(t *testing.T, d *lab.Device, h *lab.Host) (fd int) {
	t.Helper()
	must(t, h.Enter(func() (err error) {
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		every := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: every, Ifindex: d.Index})
	}))
	t.Cleanup(func() { unix.Close(fd) })
	limit := unix.NsecToTimeval(patience.Nanoseconds())
	must(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit))
	return fd
}

// header holds fields of the IP and UDP headers of one of the server's datagrams.
type header struct {
	class, hopLimit uint8
	label           uint32
	checksum        uint16
}

// nextHeader reads the next datagram from the media port, whose IP headers have no options.
func nextHeader(t *testing.T, fd int) header {
	t.Helper()
	packet := make([]byte, 2048)
	for {
		n, _, err := unix.Recvfrom(fd, packet, 0)
		if err == unix.EINTR {
			continue
		}
		must(t, err)
		var h header
		udp := packet[:0]
		switch b := packet[:n]; {
		case n >= 28 && b[0] == 0x45 && b[9] == unix.IPPROTO_UDP:
			h, udp = header{class: b[1], hopLimit: b[8]}, b[20:]
		case n >= 48 && b[0]>>4 == 6 && b[6] == unix.IPPROTO_UDP:
			first := binary.BigEndian.Uint32(b)
			h, udp = header{class: uint8(first >> 20), hopLimit: b[7], label: first & 0xfffff}, b[40:]
		}
		if len(udp) >= 8 && binary.BigEndian.Uint16(udp) == 7000 {
			h.checksum = binary.BigEndian.Uint16(udp[6:])
			return h
		}
	}
}

// Media leaves with the mark of --dscp and with the kernel's usual marks, by AF_XDP and by sockets.
func TestMarks(t *testing.T) {
	for _, c := range []struct {
		name      string
		args      []string
		class     uint8
		checksum4 bool
	}{
		{"AF_XDP", []string{"--io", "xdp", "--interface", "eth0", "--dscp", "af41"}, 34 << 2, true},
		{"AF_XDP as it comes", []string{"--io", "xdp", "--interface", "eth0"}, 0, true},
		{"AF_XDP without checksums", []string{"--io", "xdp", "--interface", "eth0", "--checksum4", "off"}, 0, false},
		{"sockets", []string{"--io", "udp", "--dscp", "46"}, 46 << 2, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			families(t, func(t *testing.T, of func(*lab.Host) netip.Addr) {
				g, _, client := pairOf(t, lab.Link{Queues: 2},
					func(program string) *exec.Cmd { return exec.Command(program, c.args...) })
				at := of(g.here)
				g.flows(client, at, of(client))
				if c.args[1] == "xdp" {
					g.onQueues()
				}
				fd := listenTo(t, client.Device("eth0"), client)
				for range 50 {
					h := nextHeader(t, fd)
					if h.class != c.class || h.hopLimit != 64 || (h.label != 0) != at.Is6() ||
						(h.checksum != 0) != (c.checksum4 || at.Is6()) {
						t.Errorf("%+v, want class %#x, hop limit 64, a label over IPv6 and a checksum (IPv4: %t)",
							h, c.class, c.checksum4)
					}
				}
			})
		})
	}
}
