//go:build linux

package lab_test

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"ringcast/engine/port"
	"ringcast/testenv"
	"ringcast/testenv/lab"
	"ringcast/testenv/netpath"
)

// apart connects hosts by an Internet. Host i has the addresses 198.18.0.1+i and fd00::1+i.
func apart(t testing.TB, n int) (*lab.Internet, []*lab.Host) {
	t.Helper()
	l := testenv.NewLab(t)
	internet, err := l.Internet()
	must(t, err)
	var hosts []*lab.Host
	for i := range n {
		h, err := l.AddHost(fmt.Sprint("node", i))
		must(t, err)
		must(t, internet.Connect(lab.End{Host: h, Name: "eth0", Addrs: lab.Prefixes(
			fmt.Sprintf("198.18.0.%d/32", i+1), fmt.Sprintf("fd00::%d/128", i+1))}))
		hosts = append(hosts, h)
	}
	return internet, hosts
}

// Datagrams and streams pass between all hosts, by both families.
func TestInternet(t *testing.T) {
	_, hosts := apart(t, 3)
	for i, from := range hosts {
		to := hosts[(i+1)%len(hosts)]
		udp(t, from, to, from.IPv4(), to.IPv4())
		udp(t, from, to, from.IPv6(), to.IPv6())
	}
	var listener net.Listener
	must(t, hosts[0].Enter(func() (err error) {
		listener, err = net.Listen("tcp", netip.AddrPortFrom(hosts[0].IPv4(), 0).String())
		return err
	}))
	defer listener.Close()
	go func() {
		for c, err := listener.Accept(); err == nil; c, err = listener.Accept() {
			_, _ = c.Write([]byte("hello"))
			_ = c.Close()
		}
	}()
	c, err := hosts[2].Dial(deadline(t), "tcp", listener.Addr().String())
	must(t, err)
	defer c.Close()
	got := make([]byte, 8)
	if n, err := c.Read(got); err != nil || string(got[:n]) != "hello" {
		t.Errorf("read %q, %v", got[:n], err)
	}
}

// A counter is a stage that loses all packets and says so.
type counter chan struct{}

func (c counter) Pass(port.Time, int) (port.Time, bool) {
	c <- struct{}{}
	return 0, false
}

// Each way has its own path, which is not shorter than it should be. A cut way is cut until it is set.
func TestInternetPaths(t *testing.T) {
	internet, hosts := apart(t, 3)
	const delay = 30 * time.Millisecond
	internet.Set(hosts[0], hosts[1], &netpath.Delay{Of: netpath.Always(delay.Seconds())})
	lost := make(counter)
	internet.Set(hosts[0], hosts[2], lost)
	for i, want := range map[int]time.Duration{1: delay, 2: 0} {
		in, err := hosts[i].ListenUDP(netip.AddrPortFrom(hosts[i].IPv4(), 0))
		must(t, err)
		defer in.Close()
		out, err := hosts[0].Dial(t.Context(), "udp", in.LocalAddr().String())
		must(t, err)
		defer out.Close()
		if i == 2 {
			_, err = out.Write([]byte{1})
			must(t, err)
			<-lost
			internet.Set(hosts[0], hosts[2])
		}
		began := time.Now()
		_, err = out.Write([]byte{2})
		must(t, err)
		got := make([]byte, 2)
		must(t, in.SetReadDeadline(time.Now().Add(lab.Patience)))
		n, err := in.Read(got)
		if took := time.Since(began); err != nil || n != 1 || got[0] != 2 || took < want {
			t.Errorf("host %d received %v after %v (%v), want 2 after %v", i, got[:n], took, err, want)
		}
	}
	if l := internet.Lateness(); l.Packets != 2 || l.P99 < l.P50 || l.Most < l.P99 {
		t.Errorf("%+v of two packets", l)
	}
}

// BenchmarkInternet prints the error of the network at 5,000 packets a second with a delay of 20 ms.
func BenchmarkInternet(b *testing.B) {
	internet, hosts := apart(b, 2)
	internet.Set(hosts[0], hosts[1], &netpath.Delay{Of: netpath.Always(0.02)})
	in, err := hosts[1].ListenUDP(netip.AddrPortFrom(hosts[1].IPv4(), 0))
	must(b, err)
	defer in.Close()
	out, err := hosts[0].Dial(b.Context(), "udp", in.LocalAddr().String())
	must(b, err)
	defer out.Close()
	packets := make([]byte, 1200)
	for b.Loop() {
		began := time.Now()
		for i := range 5000 {
			if d := time.Until(began.Add(time.Duration(i) * time.Second / 5000)); d > 0 {
				time.Sleep(d)
			}
			_, _ = out.Write(packets)
		}
	}
	l := internet.Lateness()
	b.ReportMetric(float64(l.P50.Microseconds()), "p50-µs")
	b.ReportMetric(float64(l.P99.Microseconds()), "p99-µs")
	b.ReportMetric(float64(l.Most.Microseconds()), "most-µs")
	b.ReportMetric(float64(l.Packets)/float64(b.N), "packets")
}
