package xdp

import (
	"encoding/binary"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"ringcast/testenv/lab"
)

// tapped counts what a socket of listenTo has got so far that is large enough for media, to and from the media port.
func tapped(t *testing.T, fd int) (in, out int) {
	t.Helper()
	packet := make([]byte, 2048)
	for {
		n, _, err := unix.Recvfrom(fd, packet, unix.MSG_DONTWAIT)
		if err == unix.EAGAIN {
			return in, out
		}
		must(t, err)
		if n < payloadSize || packet[0] != 0x45 || packet[9] != unix.IPPROTO_UDP {
			continue
		}
		if binary.BigEndian.Uint16(packet[20:]) == 7000 {
			out++
		}
		if binary.BigEndian.Uint16(packet[22:]) == 7000 {
			in++
		}
	}
}

// tcpdump does not see the packets that AF_XDP receives and sends, as docs/nics.md says; it sees those of sockets.
func TestUnseen(t *testing.T) {
	for _, c := range []struct {
		io   string
		seen bool
	}{{"udp", true}, {"xdp", false}} {
		t.Run(c.io, func(t *testing.T) {
			g, cable, client := pairOf(t, lab.Link{}, func(program string) *exec.Cmd {
				return exec.Command(program, "--io", c.io, "--interface", "eth0")
			})
			flows := g.flows(client, g.here.IPv4(), client.IPv4())
			if !c.seen {
				g.onQueues()
			}
			tap := listenTo(t, cable.A, g.here)
			for _, f := range flows {
				f.view.flows(t, f.feed) // packets that were under way or numbered before have passed
			}
			before := []uint64{flows[0].feed.number(), flows[1].feed.number()}
			in, out := 0, 0
			for i, f := range flows {
				until(t, "50 packets more", func() bool {
					moreIn, moreOut := tapped(t, tap)
					in, out = in+moreIn, out+moreOut
					f.view.mu.Lock()
					defer f.view.mu.Unlock()
					return f.view.newest > before[i]+50
				})
			}
			if (in > 0) != c.seen || (out > 0) != c.seen {
				t.Errorf("a tap saw %d packets of media in and %d out, want some: %v", in, out, c.seen)
			}
		})
	}
}
