package bottleneck

import (
	"encoding/binary"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ringcast/testenv"
	"ringcast/testenv/browser"
	"ringcast/testenv/lab"
)

// A tap counts the datagrams with RTCP that arrive at a device.
type tap struct {
	t  *testing.T
	fd int
}

func newTap(t *testing.T, d *lab.Device) *tap {
	t.Helper()
	x := &tap{t: t}
	must(t, d.Host.Enter(func() (err error) {
		kind := unix.SOCK_DGRAM | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
		if x.fd, err = unix.Socket(unix.AF_PACKET, kind, 0); err != nil {
			return err
		}
		if err := unix.SetsockoptInt(x.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
			return err
		}
		if err := unix.SetsockoptInt(x.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20); err != nil {
			return err
		}
		ipv4 := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_IP))
		return unix.Bind(x.fd, &unix.SockaddrLinklayer{Protocol: ipv4, Ifindex: d.Index})
	}))
	t.Cleanup(func() { unix.Close(x.fd) })
	return x
}

// count returns how many came since the last call. The socket has room for thousands.
func (x *tap) count() (n int) {
	x.t.Helper()
	packet := make([]byte, 2048)
	for {
		size, _, err := unix.Recvfrom(x.fd, packet, 0)
		if err == unix.EAGAIN {
			return n
		}
		must(x.t, err)
		// RFC 5761, section 4, and RFC 7983, section 7.
		const payload = 20 + 8
		if size > payload+2 && packet[0] == 0x45 && packet[9] == unix.IPPROTO_UDP &&
			packet[payload]>>6 == 2 && packet[payload+1] >= 192 && packet[payload+1] <= 223 {
			n++
		}
	}
}

// Viewers who are well send at most seven datagrams of RTCP a second, of streams with one layer and with three. A busy
// machine freezes the picture, which looks like trouble on the link. So each freeze allows an alarm.
func TestReports(t *testing.T) {
	const (
		most    = 7
		span    = 30 * time.Second
		begin   = 10 * time.Second // the start is watched more closely
		anAlarm = 50               // datagrams: three seconds in which all is reported
	)
	testenv.Need(t, testenv.NetworkNamespaces, testenv.Chromium, testenv.Firefox)
	n := newNetwork(t, sockets...)
	three := n.open("chromium", "publisher")
	o := threeLayers(n, "three", "VP8")
	three.call(o.Call())
	one := three.beside("publisher of one")
	o.Stream, o.Simulcast, o.Bitrates, o.MaxBitrate = "one", false, nil, o.Bitrates[2]
	one.call(o.Call())
	three.until("the top layer", "h", func(s sample) bool { return s.Width == width })
	type viewer struct {
		*page
		tap   *tap
		first sample
	}
	var viewers []*viewer
	for _, kind := range []string{"chromium", "firefox"} {
		for _, stream := range []string{"one", "three"} {
			p := n.open(kind, kind+"-"+stream)
			p.call(browser.WatchOptions{Server: n.server.URL, Stream: stream, Retry: true}.Call())
			viewers = append(viewers, &viewer{page: p, tap: newTap(t, p.link)})
		}
	}
	let(t, begin)
	for _, v := range viewers {
		v.first = v.newest()[""]
		v.tap.count()
	}
	start := time.Now()
	let(t, span)
	took := time.Since(start).Seconds()
	for _, v := range viewers {
		reports := v.tap.count()
		last := v.newest()[""]
		freezes := last.Freezes - v.first.Freezes
		t.Logf("%s: %.2f datagrams of RTCP a second; %d wide, %.0f kbit/s, %d pictures in %.1f s, %d freezes",
			v.name, float64(reports)/took, last.Width, float64(last.Bytes-v.first.Bytes)*8/1000/took,
			last.Decoded-v.first.Decoded, took, freezes)
		if allowed := int(most*took) + freezes*anAlarm; reports == 0 || reports > allowed {
			t.Errorf("%s: %d datagrams of RTCP in %.1f s, want 1 to %d", v.name, reports, took, allowed)
		}
	}
}
