package zerocopy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ringcast/engine/host"
	"ringcast/testenv"
	"ringcast/testenv/lab"
	"ringcast/testenv/server"
)

const (
	serverAddress, clientAddress = "198.18.0.1", "198.18.0.2"
	network                      = "/16"
	whip                         = "http://" + serverAddress + ":8080/whip/film"
	whep                         = "http://" + serverAddress + ":8080/whep/film"
)

// A stage is the VM with its NICs. From the scene "socket" to the scene "sessions" it has a server with a session that
// publishes and one that watches.
type stage struct {
	t      *testing.T // of the machine
	queues int
	client *lab.Host
	server *testenv.Server
	long   *flow
}

// newStage gives the NICs their names, and the client's to its namespace.
func newStage(t *testing.T, queues int) *stage {
	g := &stage{t: t, queues: queues}
	lo, err := netlink.LinkByName("lo")
	must(t, err)
	must(t, netlink.LinkSetUp(lo))
	g.client, err = testenv.NewLab(t).AddHost("client")
	must(t, err)
	peer, err := findNIC(peerMAC, "peer0")
	must(t, err)
	must(t, netlink.LinkSetNsFd(peer, g.client.NetNS()))
	h := g.client.Netlink()
	peer, err = h.LinkByName("peer0")
	must(t, err)
	must(t, h.AddrAdd(peer, address(t, clientAddress)))
	must(t, h.LinkSetUp(peer))
	_, err = findNIC(spareMAC, "spare0")
	must(t, err)
	g.plug(t)
	return g
}

func address(t *testing.T, ip string) *netlink.Addr {
	t.Helper()
	a, err := netlink.ParseAddr(ip + network)
	must(t, err)
	return a
}

// plug configures the NIC under test, which a driver has brought.
func (g *stage) plug(t *testing.T) {
	t.Helper()
	link, err := findNIC(nicMAC, "nic0")
	must(t, err)
	give(t, link)
}

// give sets an interface up with the server's address, and waits until it runs.
func give(t *testing.T, link netlink.Link) {
	t.Helper()
	must(t, netlink.AddrReplace(link, address(t, serverAddress)))
	must(t, netlink.LinkSetUp(link))
	until(t, link.Attrs().Name+" runs", func() (bool, string) {
		now, err := netlink.LinkByIndex(link.Attrs().Index)
		must(t, err)
		return now.Attrs().RawFlags&unix.IFF_RUNNING != 0, now.Attrs().OperState.String()
	})
}

// take takes the server's address from an interface.
func take(t *testing.T, link netlink.Link) {
	t.Helper()
	must(t, netlink.AddrDel(link, address(t, serverAddress)))
}

func named(t *testing.T, name string) netlink.Link {
	t.Helper()
	link, err := netlink.LinkByName(name)
	must(t, err)
	return link
}

// start runs a server.
func start(args ...string) (*testenv.Server, error) {
	return testenv.Wrap(server.Launch{
		URL: "http://" + serverAddress + ":8080", Admin: "http://127.0.0.1:9090", UDP: serverAddress + ":7000",
		Cmd: exec.Command("/bin/ringcast", append([]string{"--public-ip", serverAddress}, args...)...),
	}.Start(context.Background())) // it outlives the scene that starts it
}

// serve runs a server until the test ends.
func serve(t *testing.T, args ...string) *testenv.Server {
	t.Helper()
	s, err := start(args...)
	must(t, err)
	s.EndWith(t)
	return s
}

// consult asks the doctor about an interface, prints what it says to people, and returns what it decided.
func consult(t *testing.T, device string) host.Decision {
	t.Helper()
	// The status says no more than the JSON does.
	text, _ := exec.Command("/bin/ringcast", "doctor", "--interface", device).CombinedOutput()
	t.Logf("%s", text)
	out, _ := exec.Command("/bin/ringcast", "doctor", "--json", "--interface", device).Output()
	var surveys []host.Survey
	must(t, json.Unmarshal(out, &surveys))
	if len(surveys) != 1 {
		t.Fatalf("the doctor reports on %d interfaces, want 1", len(surveys))
	}
	return surveys[0].Decision
}

// reasons are those for which a rung is refused.
func reasons(d host.Decision, rung host.Rung) (all []string) {
	for _, r := range d.Refused {
		if slices.Contains(r.Rungs, rung) {
			all = append(all, r.Reason)
		}
	}
	return all
}

// A flow is one publisher and its viewers, on the client.
type flow struct {
	publisher, viewers *lab.Process
	sent, got          string // files of the reports
}

// bench starts ringbench on the client, with a file for its report.
func (g *stage) bench(t *testing.T, file string, args ...string) *lab.Process {
	t.Helper()
	cmd := exec.Command("/bin/ringbench", append(args, "--quiet", "--json", file)...)
	log, err := os.Create(file + ".log")
	must(t, err)
	cmd.Stdout, cmd.Stderr = log, log
	p, err := g.client.Start(context.Background(), cmd) // it outlives the scene that starts it
	must(t, err)
	must(t, log.Close())
	return p
}

// start begins to publish and then to watch, for a time, or until it is ended if that is 0.
func (g *stage) start(t *testing.T, s *testenv.Server, viewers string, span time.Duration) *flow {
	t.Helper()
	dir, err := os.MkdirTemp("", "flow-")
	must(t, err)
	f := &flow{sent: filepath.Join(dir, "sent"), got: filepath.Join(dir, "got")}
	before := s.Metrics(t).Sum(`ringcast_sessions{role="publisher",state="connected"}`)
	f.publisher = g.bench(t, f.sent, "publish", "--bitrate", "400k", "--whip", whip)
	until(t, "a publisher", func() (bool, string) {
		f.mustRun(t, f.publisher, f.sent)
		return s.Metrics(t).Sum(`ringcast_sessions{role="publisher",state="connected"}`) > before, s.Log()
	})
	f.viewers = g.bench(t, f.got,
		"watch", "--whep", whep, "--viewers", viewers, "--sample", viewers, "--ramp", "2", "--duration", span.String())
	return f
}

// mustRun fails the test if a part of ringbench has ended.
func (f *flow) mustRun(t *testing.T, p *lab.Process, file string) {
	t.Helper()
	select {
	case <-p.Done():
		text, _ := os.ReadFile(file + ".log")
		t.Fatalf("ringbench ended: %v\n%s", p.Wait(), text)
	default:
	}
}

// published are the fields of ringbench publish's report that the scenes use, watched those of ringbench watch's.
type (
	published struct {
		VideoPackets uint64 `json:"video_packets"`
		Unsent       uint64 `json:"unsent_datagrams"`
		Feedback     struct {
			Lost int64 `json:"reported_lost"`
		} `json:"feedback"`
	}
	watched struct {
		Playing int            `json:"playing"`
		Lost    map[string]int `json:"lost,omitempty"`
		All     struct {
			Packets uint64 `json:"packets"`
			Missing uint64 `json:"missing_packets"`
		} `json:"all"`
		Sample struct {
			Packets   uint64 `json:"packets"`
			Missing   uint64 `json:"missing_packets"`
			Damaged   uint64 `json:"damaged_packets"`
			Unopened  uint64 `json:"unopened_packets"`
			Unsent    uint64 `json:"lost_upstream_packets"`
			Frames    uint64 `json:"frames"`
			Keyframes uint64 `json:"keyframes"`
			Restarts  uint64 `json:"source_restarts"`
		} `json:"sample"`
	}
)

// read reads a report, which must have all the fields that we look at: none must pass for zero.
func read(text []byte, into any) error {
	if err := json.Unmarshal(text, into); err != nil {
		return err
	}
	ours, err := json.Marshal(into)
	if err != nil {
		return err
	}
	var want, got map[string]any
	if err := errors.Join(json.Unmarshal(ours, &want), json.Unmarshal(text, &got)); err != nil {
		return err
	}
	return holds(got, want)
}

// holds returns an error for a name of want that got does not have, also within objects.
func holds(got, want map[string]any) error {
	for name, value := range want {
		has, ok := got[name]
		if !ok {
			return fmt.Errorf("the report has no %q", name)
		}
		inner, ok := value.(map[string]any)
		if !ok {
			continue
		}
		object, _ := has.(map[string]any)
		if err := holds(object, inner); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// end waits for the viewers, or ends them, then ends the publisher, and returns what they report.
func (f *flow) end(t *testing.T, now bool) (sent published, got watched) {
	t.Helper()
	if now {
		must(t, f.viewers.Signal(os.Interrupt))
	}
	wait := func(p *lab.Process, file string, into any) {
		t.Helper()
		text := func() string { b, _ := os.ReadFile(file + ".log"); return string(b) }
		select {
		case <-p.Done():
		case <-time.After(5 * patience):
			t.Fatalf("ringbench does not end\n%s", text())
		}
		if err := p.Wait(); err != nil {
			t.Fatalf("ringbench: %v\n%s", err, text())
		}
		b, err := os.ReadFile(file)
		must(t, err)
		must(t, read(b, into))
	}
	wait(f.viewers, f.got, &got)
	must(t, f.publisher.Signal(os.Interrupt))
	wait(f.publisher, f.sent, &sent)
	return sent, got
}

// sockets asks the kernel which AF_XDP sockets there are, and how many of them go without copies.
func sockets(t *testing.T) (all, zerocopy int) {
	t.Helper()
	found, err := netlink.SocketDiagXDP()
	must(t, err)
	for _, s := range found {
		all++
		if s.XDPInfo.Umem != nil && s.XDPInfo.Umem.Flags&netlink.XDP_DU_F_ZEROCOPY != 0 {
			zerocopy++
		}
	}
	return all, zerocopy
}

// live demands that no session has ended, nor another begun.
func (g *stage) live(t *testing.T) {
	t.Helper()
	m := g.server.Metrics(t)
	for _, role := range []string{"publisher", "subscriber"} {
		if n := m[`ringcast_sessions{role="`+role+`",state="connected"}`]; n != 1 {
			t.Errorf("%g sessions of a %s are connected, want 1", n, role)
		}
	}
	if n := strings.Count(g.server.Log(), `msg="session ended"`) - strings.Count(g.server.Log(),
		"reason=closed"); n != 0 {
		t.Errorf("%d sessions ended by themselves, want 0:\n%s", n, g.server.Log())
	}
}
