package nodes

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"ringcast/testenv"
	"ringcast/testenv/lab"
	"ringcast/testenv/netpath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	lab.Child()
	// The network's thread does not wait until a busy goroutine leaves it a place.
	runtime.GOMAXPROCS(8)
	os.Exit(testenv.Main(m))
}

// bars is for a machine that has nothing else to do. Without it, nothing is judged that depends on a machine's speed.
var bars = flag.Bool("bars", false, "judge times too, in all ways to find streams")

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

// until waits for ok.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	giveUp := time.After(patience)
	for !ok() {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-giveUp:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// let lets media flow, or a fault last, for a while.
func let(t testing.TB, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}

// finder is a way in which nodes find streams.
type finder string

const (
	static   finder = "static"
	embedded finder = "embedded"
	external finder = "external"
)

// A stage is a cluster and the hosts of its clients.
type stage struct {
	t        *testing.T
	finder   finder
	lab      *lab.Lab
	internet *lab.Internet
	nodes    []*node

	// broker is the host of the nats-server, and nats that process; nil without.
	broker *lab.Host
	nats   *lab.Process
	pem    string // the file of a certificate for all, with its key
}

// A node is a server on a host.
type node struct {
	*testenv.Server
	*stage
	host *lab.Host
	// near is the host of clients, and web makes their requests.
	near *lab.Host
	web  *http.Client
}

// address is that of a host: nodes have the numbers from 1, the clients near them from 11. The nats-server has 21. A
// node has another address, for its NATS server, in net 1.
func address(network, number int) netip.Addr {
	return netip.AddrFrom4([4]byte{198, 18, byte(network), byte(number)})
}

const (
	nearFrom     = 11
	brokerNumber = 21
)

// newStage runs a cluster, whose nodes are as near to each other as can be.
func newStage(t *testing.T, count int, finder finder, args ...string) *stage {
	t.Helper()
	g := &stage{t: t, finder: finder, lab: testenv.NewLab(t)}
	var err error
	g.internet, err = g.lab.Internet()
	must(t, err)
	g.pem = g.certificate()
	if finder == external {
		g.broker = g.addHost("nats", address(0, brokerNumber))
		g.startBroker()
	}
	for i := range count {
		n := &node{stage: g}
		n.host = g.addHost(fmt.Sprint("node", i), address(0, i+1), address(1, i+1))
		n.near = g.addHost(fmt.Sprint("near", i), address(0, nearFrom+i))
		n.web = n.near.Client()
		g.nodes = append(g.nodes, n)
	}
	program, err := testenv.Binary()
	must(t, err)
	for i, n := range g.nodes {
		cmd := exec.Command(program, append(g.flags(i), args...)...)
		cmd.Env = []string{"RINGCAST_CLUSTER_SECRET=" + strings.Repeat("s3cret", 8)}
		n.Server, err = testenv.StartCommandOn(t.Context(), n.host, nil, cmd)
		must(t, err)
		n.EndWith(t)
	}
	for _, n := range g.nodes {
		until(t, "all nodes at each", func() bool {
			return n.Metrics(t)["ringcast_cluster_nodes"] == float64(count-1)
		})
	}
	return g
}

func (g *stage) addHost(name string, addresses ...netip.Addr) *lab.Host {
	g.t.Helper()
	h, err := g.lab.AddHost(name)
	must(g.t, err)
	end := lab.End{Host: h, Name: "eth0"}
	for _, a := range addresses {
		end.Addrs = append(end.Addrs, netip.PrefixFrom(a, 32))
	}
	must(g.t, g.internet.Connect(end))
	return h
}

// certificate makes one for all hosts, which is its own CA, and returns its file.
func (g *stage) certificate() string {
	g.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(g.t, err)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	for network := range 2 {
		for number := range brokerNumber {
			c.IPAddresses = append(c.IPAddresses, net.IP(address(network, number+1).AsSlice()))
		}
	}
	cert, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	must(g.t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(g.t, err)
	path := filepath.Join(g.t.TempDir(), "all.pem")
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...)
	must(g.t, os.WriteFile(path, text, 0o600))
	return path
}

// flags are those of node i.
func (g *stage) flags(i int) []string {
	nodeURL := func(i int) string { return fmt.Sprintf("https://%v:8443", address(0, i+1)) }
	route := func(i int) string { return fmt.Sprintf("%v:6222", address(1, i+1)) }
	all := []string{
		"--cluster-http", ":8443", "--node-url", nodeURL(i), "--public-ip", address(0, i+1).String(), "--grace", "2m",
		"--cluster-tls-cert", g.pem, "--cluster-tls-key", g.pem, "--cluster-tls-ca", g.pem,
	}
	switch g.finder {
	case embedded:
		all = append(all, "--cluster-nats", route(i))
	case external:
		return append(all, "--cluster-url", fmt.Sprintf("tls://%v:4222", g.broker.IPv4()))
	}
	for j := range g.nodes {
		switch {
		case i == j:
		case g.finder == embedded:
			all = append(all, "--cluster-routes", route(j))
		default:
			all = append(all, "--peers", nodeURL(j))
		}
	}
	return all
}

// startBroker runs the nats-server.
func (g *stage) startBroker() {
	g.t.Helper()
	program, err := testenv.Build("github.com/nats-io/nats-server/v2")
	must(g.t, err)
	ip := g.broker.IPv4().String()
	g.nats, err = g.broker.Start(g.t.Context(),
		exec.Command(program, "-a", ip, "-p", "4222", "--tls", "--tlscert", g.pem, "--tlskey", g.pem))
	must(g.t, err)
	g.t.Cleanup(g.killBroker)
}

func (g *stage) killBroker() {
	must(g.t, g.nats.Signal(unix.SIGKILL))
	<-g.nats.Done()
}

// prefer lets all programs of the stage run before others of this machine, where it may. Then the figures are those of
// the stage alone.
func (g *stage) prefer(t *testing.T) {
	all := []int{os.Getpid()}
	for _, n := range g.nodes {
		all = append(all, n.PID())
	}
	if g.nats != nil {
		all = append(all, g.nats.PID)
	}
	for _, pid := range all {
		if err := lab.Prefer(pid); err != nil {
			t.Logf("others may be in the way: %v", err)
		}
	}
	t.Cleanup(func() { _ = lab.Yield(os.Getpid()) }) // if that fails, the other tests are preferred too
}

// silence ends all NATS between the nodes, until the function that it returns is called.
func (g *stage) silence() (restore func()) {
	g.t.Helper()
	if g.finder == external {
		g.killBroker()
		return g.startBroker
	}
	routes := func(change func(*netlink.Handle, *netlink.Route) error) {
		g.t.Helper()
		for i, n := range g.nodes {
			for j := range g.nodes {
				to := net.IPNet{IP: net.IP(address(1, j+1).AsSlice()), Mask: net.CIDRMask(32, 32)}
				if i != j {
					must(g.t, change(n.host.Netlink(), &netlink.Route{Dst: &to, Type: unix.RTN_BLACKHOLE}))
				}
			}
		}
	}
	routes((*netlink.Handle).RouteReplace)
	return func() { routes((*netlink.Handle).RouteDel) }
}

// apart sets the round trips between two nodes or their clients, and between a node and the clients near it.
func (g *stage) apart(far, near time.Duration) {
	for i, a := range g.nodes {
		for j, b := range g.nodes {
			if i != j {
				g.both(a.host, b.host, far)
				g.both(a.near, b.host, far)
			}
		}
		g.both(a.host, a.near, near)
		if g.broker != nil && i > 0 { // it is at the first node
			g.both(a.host, g.broker, far)
		}
	}
}

func (g *stage) both(a, b *lab.Host, round time.Duration) {
	way := netpath.Always(round.Seconds() / 2)
	g.internet.Set(a, b, &netpath.Delay{Of: way})
	g.internet.Set(b, a, &netpath.Delay{Of: way})
}

// cut parts nodes from others, until the function that it returns is called.
func (g *stage) cut(some, others []*node) (mend func()) {
	each := func(do func(a, b *lab.Host)) {
		for _, a := range some {
			for _, b := range others {
				do(a.host, b.host)
				do(b.host, a.host)
			}
		}
	}
	each(g.internet.Cut)
	return func() { each(func(a, b *lab.Host) { g.internet.Set(a, b) }) }
}

// warm opens a connection for requests of the clients near a node.
func (n *node) warm(t testing.TB) {
	t.Helper()
	answer, err := n.web.Get(n.URL + "/")
	must(t, err)
	_, _ = io.Copy(io.Discard, answer.Body)
	answer.Body.Close()
}

// healthy demands that a node says that it is well.
func (n *node) healthy(t testing.TB) {
	t.Helper()
	for _, path := range []string{"/livez", "/readyz"} {
		answer, err := n.Get(t.Context(), path)
		if err != nil {
			t.Error(err)
			continue
		}
		answer.Body.Close()
	}
}

// finders runs a test with some ways to find streams: the first two of them, where no times are judged.
func finders(t *testing.T, all []finder, test func(t *testing.T, f finder)) {
	testenv.Need(t, testenv.NetworkNamespaces)
	if !*bars {
		all = all[:2]
	}
	for _, f := range all {
		t.Run(string(f), func(t *testing.T) { test(t, f) })
	}
}
