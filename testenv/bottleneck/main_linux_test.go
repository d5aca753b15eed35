package bottleneck

import (
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ringcast/testenv"
	"ringcast/testenv/browser"
	"ringcast/testenv/firefox"
	"ringcast/testenv/lab"
)

func TestMain(m *testing.M) {
	lab.Child()
	os.Exit(testenv.Main(m))
}

// patience bounds every wait for something that must come, on a machine that others use too.
const patience = time.Minute

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// deadline gives one step of a test its time.
func deadline(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// let lets media flow for a while.
func let(t testing.TB, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}

// measureNoise measures how long this process had to wait for a processor at worst, until stop is called.
func measureNoise() (stop func() time.Duration) {
	quit, worst := make(chan struct{}), make(chan time.Duration)
	go func() {
		const interval = 5 * time.Millisecond
		tick := time.NewTicker(interval)
		defer tick.Stop()
		longest, last := time.Duration(0), time.Now()
		for {
			select {
			case <-tick.C:
				now := time.Now()
				longest, last = max(longest, now.Sub(last)-interval), now
			case <-quit:
				worst <- longest
				return
			}
		}
	}()
	return func() time.Duration {
		close(quit)
		return <-worst
	}
}

// A network is a server, and a router that has a cable to each client.
type network struct {
	t      *testing.T
	lab    *lab.Lab
	router *lab.Host
	server *testenv.Server
	links  int // to clients
}

// newNetwork runs a server on a host of its own until the test ends.
func newNetwork(t *testing.T, args ...string) *network {
	t.Helper()
	n := &network{t: t, lab: testenv.NewLab(t)}
	server, err := n.lab.AddHost("server")
	must(t, err)
	n.router, err = n.lab.AddHost("router")
	must(t, err)
	for _, forward := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"} {
		must(t, n.router.Sysctl(forward, "1"))
	}
	n.connect(server, "south")
	n.server, err = testenv.StartOn(t.Context(), server, nil, append(args, "--tls", "self")...)
	must(t, err)
	n.server.EndWith(t)
	return n
}

// connect lays the cable from a host's eth0 to a device of the router, which is the host's gateway.
func (n *network) connect(h *lab.Host, name string) *lab.Device {
	n.t.Helper()
	n.links++
	at := func(host byte) netip.Addr { return netip.AddrFrom4([4]byte{198, 18, byte(n.links), host}) }
	_, err := n.lab.Connect(
		lab.End{
			Host: h, Name: "eth0", Addrs: []netip.Prefix{netip.PrefixFrom(at(2), 24)}, Gateways: []netip.Addr{at(1)},
		},
		lab.End{Host: n.router, Name: name, Addrs: []netip.Prefix{netip.PrefixFrom(at(1), 24)}}, lab.Link{Queues: 2})
	must(n.t, err)
	return n.router.Device(name)
}

// evaluate evaluates JavaScript in a page, waits for it if it is a promise, and decodes the result.
type evaluate func(ctx context.Context, expression string, into any) error

// A page runs the browser package's script, in any browser.
type page struct {
	t    *testing.T
	name string
	link *lab.Device // of the router, towards the page
	open func() evaluate
	eval evaluate
}

// open runs a browser on a host of its own until the test ends, with an empty page of the server.
func (n *network) open(kind, name string) *page {
	n.t.Helper()
	h, err := n.lab.AddHost(name)
	must(n.t, err)
	p := &page{t: n.t, link: n.connect(h, name)}
	if kind == "firefox" {
		p.open = n.firefox(h)
	} else {
		p.open = n.chromium(h)
	}
	return p.beside(name)
}

// beside is another empty page in the same browser.
func (p *page) beside(name string) *page {
	p.t.Helper()
	q := *p
	q.name, q.eval = name, p.open()
	must(q.t, q.eval(deadline(q.t), browser.Harness, nil))
	return &q
}

// emptyPage is a file of the server that is no page, so no script of its own runs.
const emptyPage = "/style.css"

func (n *network) chromium(h *lab.Host) func() evaluate {
	b, err := browser.Start(n.t.Context(), browser.Options{
		Flags: map[string]string{"ignore-certificate-errors": ""},
		Under: []string{"nsenter", "--net=/run/netns/" + h.Name},
	})
	must(n.t, err)
	n.t.Cleanup(func() { must(n.t, b.Close()) })
	return func() evaluate {
		tab, err := b.Open(deadline(n.t), n.server.URL+emptyPage)
		must(n.t, err)
		return func(ctx context.Context, expression string, into any) error {
			text, err := browser.Eval[[]byte](ctx, tab, expression)
			if err != nil || into == nil {
				return err
			}
			return json.Unmarshal(text, into)
		}
	}
}

func (n *network) firefox(h *lab.Host) func() evaluate {
	b, err := firefox.Start(deadline(n.t), firefox.Options{
		Dir:  n.t.TempDir(),
		Dial: h.Dial,
		Start: func(cmd *exec.Cmd) (func() error, error) {
			p, err := h.Start(context.WithoutCancel(n.t.Context()), cmd)
			if err != nil {
				return nil, err
			}
			return p.Wait, nil
		},
	})
	must(n.t, err)
	n.t.Cleanup(func() { must(n.t, b.Close()) })
	return func() evaluate {
		w, err := b.Open(deadline(n.t), n.server.URL+emptyPage)
		must(n.t, err)
		return func(ctx context.Context, expression string, into any) error {
			return w.Eval(ctx, "return await ("+strings.TrimRight(expression, ";\n")+")", into)
		}
	}
}

// call makes a call that publishes or watches, and begins to record.
func (p *page) call(call string) {
	p.t.Helper()
	var refusal *browser.Refusal
	must(p.t, p.eval(deadline(p.t), call, &refusal))
	if refusal != nil {
		p.t.Fatal(refusal)
	}
	must(p.t, p.eval(deadline(p.t), "harness.record()", nil))
}

// shoot writes the present picture for people to look at.
func (p *page) shoot(when string) {
	p.t.Helper()
	var picture []byte
	must(p.t, p.eval(deadline(p.t), "harness.picture()", &picture))
	name := strings.ReplaceAll(p.t.Name(), "/", "-") + "-" + p.name + "-" + when + ".png"
	must(p.t, os.WriteFile(filepath.Join(testenv.Artifacts(p.t), name), picture, 0o644))
}

// A sample is a look at the statistics of one layer that is sent, or of the picture that is received.
type sample struct {
	At          float64 `json:"at"` // milliseconds since 1970
	RID         string  `json:"rid"`
	Width       int     `json:"frameWidth"`
	Bytes       int     `json:"bytesReceived"`
	Lost        int     `json:"packetsLost"`
	Decoded     int     `json:"framesDecoded"`
	KeysDecoded int     `json:"keyFramesDecoded"`
	Freezes     int     `json:"freezeCount"`
	Frozen      float64 `json:"totalFreezesDuration"` // seconds
	NACKs       int     `json:"nackCount"`
	PLIs        int     `json:"pliCount"`
	KeysEncoded int     `json:"keyFramesEncoded"`
}

func (s sample) time() time.Time { return time.UnixMilli(int64(s.At)) }

// samples are all so far.
func (p *page) samples() (all []sample) {
	p.t.Helper()
	must(p.t, p.eval(deadline(p.t), "harness.samples", &all))
	return all
}

// newest is the latest sample of each RID.
func (p *page) newest() map[string]sample {
	latest := map[string]sample{}
	for _, s := range p.samples() {
		latest[s.RID] = s
	}
	return latest
}

// until waits until a sample is as it should be.
func (p *page) until(what string, rid string, is func(sample) bool) sample {
	p.t.Helper()
	ctx := deadline(p.t)
	for {
		s := p.newest()[rid]
		if is(s) {
			return s
		}
		if ctx.Err() != nil {
			p.t.Fatalf("%s: not within %v: %s; %+v", p.name, patience, what, p.newest())
		}
		let(p.t, 100*time.Millisecond)
	}
}
