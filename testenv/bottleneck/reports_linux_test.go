package bottleneck

import (
	"encoding/binary"
	"slices"
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

// Viewers who are well send at most seven datagrams of RTCP a second, of streams with one layer and with three.
//
// A busy machine delays packets and freezes the picture. To the server both look like trouble on the link. Rightly it
// then asks for reports on all video for about three seconds: 50 datagrams. So the mean of half a minute shows how busy
// the machine was. Reports are counted in windows, and the second quietest of six is judged. A viewer who was well for
// a third of the time had that window without an alarm. Numbers that never end, trains too close together and probes at
// the top make all windows loud.
func TestReports(t *testing.T) {
	const (
		most    = 7
		begin   = 10 * time.Second // the start is watched more closely
		window  = 5 * time.Second
		windows = 6
		judged  = 1 // of the windows, by rates from the least on
	)
	testenv.Need(t, testenv.NetworkNamespaces, testenv.Chromium, testenv.Firefox)
	n := newNetwork(t, sockets...)
	viewers := n.wellViewers()
	let(t, begin)
	for _, v := range viewers {
		v.first = v.newest()[""]
		v.measure()
	}
	for range windows {
		let(t, window)
		for _, v := range viewers {
			v.rates = append(v.rates, v.measure())
		}
	}
	for _, v := range viewers {
		last := v.newest()[""]
		t.Logf("%s: %.1f datagrams of RTCP a second; %d wide, %d kB, %d pictures, %d freezes", v.name, v.rates,
			last.Width, (last.Bytes-v.first.Bytes)/1000, last.Decoded-v.first.Decoded, last.Freezes-v.first.Freezes)
		slices.Sort(v.rates)
		if r := v.rates[judged]; r == 0 || r > most {
			t.Errorf("%s: %.1f datagrams of RTCP a second in windows of %v, want some, and at most %d, in the second "+
				"quietest", v.name, v.rates, window, most)
		}
	}
}

// A viewer is a page whose datagrams of RTCP are counted.
type viewer struct {
	*page
	tap   *tap
	since time.Time // of the last count
	first sample
	rates []float64 // datagrams of RTCP a second, of each window
}

// measure is the rate of datagrams of RTCP since the last call, a second.
func (v *viewer) measure() float64 {
	count, now := v.tap.count(), time.Now()
	took := now.Sub(v.since)
	v.since = now
	return float64(count) / took.Seconds()
}

// wellViewers are a Chromium and a Firefox for a stream of one layer and for one of three.
func (n *network) wellViewers() (viewers []*viewer) {
	three := n.open("chromium", "publisher")
	o := threeLayers(n, "three", "VP8")
	three.call(o.Call())
	one := three.beside("publisher of one")
	o.Stream, o.Simulcast, o.Bitrates, o.MaxBitrate = "one", false, nil, o.Bitrates[2]
	one.call(o.Call())
	three.until("the top layer", "h", func(s sample) bool { return s.Width == width })
	for _, kind := range []string{"chromium", "firefox"} {
		for _, stream := range []string{"one", "three"} {
			p := n.open(kind, kind+"-"+stream)
			p.call(browser.WatchOptions{Server: n.server.URL, Stream: stream, Retry: true}.Call())
			viewers = append(viewers, &viewer{page: p, tap: newTap(n.t, p.link)})
		}
	}
	return viewers
}
