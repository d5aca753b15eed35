package xdp

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ringcast/testenv"
	"ringcast/testenv/lab"
)

// On a link with jumbo frames the server runs on the driver's own XDP and plays. It does not disturb the kernel's
// traffic, whose frames come in several pieces.
func TestJumbo(t *testing.T) {
	testenv.Need(t, testenv.XDPFrags)
	families(t, func(t *testing.T, of func(*lab.Host) netip.Addr) {
		g, cable, client := pairOf(t, lab.Link{Queues: 2, MTU: 9000}, func(binary string) *exec.Cmd {
			return exec.Command(binary, "--io", "xdp", "--interface", "eth0")
		})
		at := of(g.here)
		flows := g.flows(client, at, of(client))
		g.onQueues()
		if m := g.server.Metrics(t); m[`ringcast_port_info{io="xdp-copy"}`] != 1 {
			t.Errorf("not on the driver's XDP:\n%s", m.List("ringcast_port"))
		}
		for _, f := range flows {
			f.begun = f.feed.number()
		}

		g.dropsLong(client, netip.AddrPortFrom(of(client), 0), netip.AddrPortFrom(at, 7000))
		before := g.server.Metrics(t)
		g.handsOverPadded(cable, client)
		// The kernel's own, each way.
		carry(t, g.here, client, at)
		carry(t, client, g.here, of(client))

		for _, f := range flows {
			f.settle(t)
			if f.cost.lost > 0 {
				t.Errorf("%s: %d packets lost, want none", f.name, f.cost.lost)
			}
		}
		if n := g.server.Metrics(t).Sub(before).Sum("ringcast_packets_dropped"); n != 0 {
			t.Errorf("%v of the padded frames came to the workers, want none", n)
		}
		g.onQueues()
	})
}

// dropsLong sends datagrams to the media port, all longer than any of ours: the program drops them.
func (g *stage) dropsLong(client *lab.Host, from, to netip.AddrPort) {
	t := g.t
	t.Helper()
	junk, err := client.ListenUDP(from)
	must(t, err)
	defer junk.Close()
	before := g.server.Metrics(t)
	sizes := []int{1473, 1760, 3498, 3500, 4096, 6000, 8900}
	for _, size := range sizes {
		payload := make([]byte, size)
		payload[0] = 0x80
		_, err := junk.WriteToUDPAddrPort(payload, to)
		must(t, err)
	}
	const tooLong = `ringcast_xdp_packets_total{reason="drop_too_long"}`
	until(t, "long datagrams to be dropped", func() bool {
		return g.server.Metrics(t).Sub(before)[tooLong] >= float64(len(sizes))
	})
	if n := g.server.Metrics(t).Sub(before)[tooLong]; n != float64(len(sizes)) {
		t.Errorf("dropped %v datagrams as too long, want %d", n, len(sizes))
	}
}

// handsOverPadded sends checks of a session in frames that go on after the datagram, in further pieces. The program
// hands them over, and the queue's socket has no room for them.
func (g *stage) handsOverPadded(cable *lab.Cable, client *lab.Host) {
	t := g.t
	t.Helper()
	before := g.server.Metrics(t)
	const handedOver = `ringcast_xdp_packets_total{reason="redirect_stun_new"}`
	padded := append(forgedFrame(flood{
		Source: [6]byte(cable.B.MAC), Target: [6]byte(cable.A.MAC),
		From: netip.AddrPortFrom(client.IPv4(), 9), To: netip.AddrPortFrom(g.here.IPv4(), 7000),
	}, g.realCheck(t, client, client.IPv4(), up)), make([]byte, 8500)...)
	for range 10 {
		must(t, client.Enter(func() error { return cast(cable.B.Index, padded) }))
	}
	until(t, "padded frames to be handed over",
		func() bool { return g.server.Metrics(t).Sub(before)[handedOver] >= 10 })
}

// cast writes a frame to a device of this thread's host.
func cast(device int, frame []byte) error {
	socket, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	return unix.Sendto(socket, frame, 0, &unix.SockaddrLinklayer{Ifindex: device})
}

// carry sends a megabyte by TCP to a host, and a datagram of 8,900 bytes to a UDP port of it.
func carry(t *testing.T, to, from *lab.Host, at netip.Addr) {
	t.Helper()
	there, err := to.ListenUDP(netip.AddrPortFrom(at, 0))
	must(t, err)
	defer there.Close()
	datagram := bytes.Repeat([]byte{0x80}, 8900)
	here, err := from.Dial(t.Context(), "udp", there.LocalAddr().String())
	must(t, err)
	defer here.Close()
	_, err = here.Write(datagram)
	must(t, err)
	must(t, there.SetReadDeadline(time.Now().Add(patience)))
	got := make([]byte, 10_000)
	if n, err := there.Read(got); err != nil || !bytes.Equal(got[:n], datagram) {
		t.Errorf("%d bytes of a datagram of %d arrived, %v", n, len(datagram), err)
	}

	var listener *net.TCPListener
	must(t, to.Enter(func() (err error) {
		listener, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(at, 0)))
		return err
	}))
	defer listener.Close()
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	received := make(chan []byte, 1)
	go func() {
		c, err := listener.Accept()
		if err != nil {
			received <- nil
			return
		}
		defer c.Close()
		all, _ := io.ReadAll(c) // missing bytes show
		received <- all
	}()
	c, err := from.Dial(t.Context(), "tcp", listener.Addr().String())
	must(t, err)
	must(t, c.SetDeadline(time.Now().Add(patience)))
	_, err = c.Write(sent)
	must(t, err)
	must(t, c.Close())
	if all := <-received; !bytes.Equal(all, sent) {
		t.Errorf("%d bytes of %d arrived by TCP, or others", len(all), len(sent))
	}
}
