package e2e

import (
	"encoding/binary"
	"errors"
	"net"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"

	"ringcast/testenv"
)

// clusters are the ways in which nodes find streams: the flags of a node with two others. A node has the address of its
// listener for nodes, and one for NATS.
var clusters = []struct {
	name  string
	flags func(own [2]string, others [2][2]string) []string
}{
	{"static", func(_ [2]string, others [2][2]string) []string {
		return []string{"--peers", "http://" + others[0][0] + ",http://" + others[1][0]}
	}},
	{"NATS", func(own [2]string, others [2][2]string) []string {
		return []string{"--cluster-nats", own[1], "--cluster-routes", others[0][1] + "," + others[1][1]}
	}},
}

// startNodes runs a cluster of three.
func startNodes(
	t *testing.T, flags func(own [2]string, others [2][2]string) []string, args ...string,
) (nodes []*testenv.Server) {
	t.Helper()
	var own [3][2]string
	var held []net.Listener // until all addresses are known, so that they differ
	for i := range 2 * len(own) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		own[i/2][i%2] = l.Addr().String()
		held = append(held, l)
	}
	for _, l := range held {
		must(t, l.Close())
	}
	for i, a := range own {
		all := append(flags(a, [2][2]string{own[(i+1)%3], own[(i+2)%3]}), "--cluster-http", a[0],
			"--node-url", "http://"+a[0])
		nodes = append(nodes, testenv.StartServer(t, testenv.ServerOptions{Args: append(all, args...)}))
	}
	return nodes
}

// startPublisher publishes at a node, and returns the time of its POST.
func startPublisher(t *testing.T, node *testenv.Server) (*pionPublisher, time.Time) {
	t.Helper()
	p := newPionPublisher(t, node.URL+"/whip/moves")
	posted := time.Now()
	p.connect(t)
	p.start(t)
	return p, posted
}

func startViewer(t *testing.T, node *testenv.Server) *pionViewer {
	t.Helper()
	v := newPionViewer(t, node.URL+"/whep/moves")
	v.connect(t)
	v.video.wait(t, func(p []*rtp.Packet) error {
		for _, last := range slices.Backward(p) {
			if n, ok := frameNumber(last); ok && n >= pionFrames/2 {
				return nil
			} else if ok {
				break
			}
		}
		return errors.New("no frame of the second half")
	})
	return v
}

// frameNumber returns the number of the frame that a packet begins.
func frameNumber(p *rtp.Packet) (n uint32, ok bool) {
	var d codecs.VP8Packet
	chunk, err := d.Unmarshal(p.Payload)
	if err != nil || d.S == 0 || len(chunk) < 14 {
		return 0, false
	}
	return binary.BigEndian.Uint32(chunk[10:]), true
}

// second returns the packets of the second publication, whose frames count from zero again.
func second(packets []*rtp.Packet) []*rtp.Packet {
	newest := uint32(0)
	for i, p := range packets {
		n, ok := frameNumber(p)
		if ok && n+pionFrames/4 < newest {
			return packets[i:]
		}
		if ok {
			newest = max(newest, n)
		}
	}
	return nil
}

// awaitSecond waits for the second publication.
func awaitSecond(t *testing.T, v *pionViewer) {
	t.Helper()
	for ctx := deadline(t, patience); ; let(t, 5*time.Millisecond) {
		v.video.mu.Lock()
		come := second(v.video.packets) != nil
		v.video.mu.Unlock()
		if come {
			return
		}
		if ctx.Err() != nil {
			t.Fatal("no frame of the second publisher")
		}
	}
}

// checkSecond demands all of the second publication, to its last frame.
func checkSecond(t *testing.T, v *pionViewer, last uint32) {
	t.Helper()
	v.video.wait(t, func(p []*rtp.Packet) error {
		again := second(p)
		if again == nil {
			return errors.New("nothing of the second publisher")
		}
		return checkVideo(again, last)
	})
}

var subscriberOpened = regexp.MustCompile(`msg="session opened" session=\d+ stream=moves role=subscriber`)

// checkSubscribers compares the number of all sessions of viewers and pulls that a node has had with its bounds.
func checkSubscribers(t *testing.T, node *testenv.Server, least, most int) {
	t.Helper()
	if got := len(subscriberOpened.FindAllString(node.Log(), -1)); got < least || got > most {
		t.Errorf("got %d sessions of subscribers at a node, want %d to %d", got, least, most)
	}
}

// The origin is killed, and its publisher returns to another node. Viewers of a third go on in their sessions, and the
// new origin has one session for all of them.
func TestFailover(t *testing.T) {
	const viewers = 3
	for _, c := range clusters {
		t.Run(c.name, func(t *testing.T) {
			nodes := startNodes(t, c.flags)
			origin, edge, other := nodes[0], nodes[1], nodes[2]
			startPublisher(t, origin)
			var watching []*pionViewer
			for range viewers {
				watching = append(watching, startViewer(t, edge))
			}
			origin.Kill()
			pub, posted := startPublisher(t, other)
			for _, v := range watching {
				awaitSecond(t, v)
				t.Logf("new frames %v after the publisher's POST", time.Since(posted).Round(time.Millisecond))
			}
			last, _ := pub.finish(pionFrames)
			for _, v := range watching {
				checkSecond(t, v, last)
			}
			checkSubscribers(t, edge, viewers, viewers)
			checkSubscribers(t, other, 1, 1)
		})
	}
}

// A second publisher takes the stream over at another node while the first goes on. Viewers of all nodes get the
// newest, in their sessions.
func TestTakeoverOnAnotherNode(t *testing.T) {
	for _, c := range clusters {
		t.Run(c.name, func(t *testing.T) {
			nodes := startNodes(t, c.flags, "--takeover")
			startPublisher(t, nodes[0])
			var watching []*pionViewer
			for _, n := range nodes {
				watching = append(watching, startViewer(t, n))
			}
			pub, posted := startPublisher(t, nodes[2])
			for i, v := range watching {
				awaitSecond(t, v)
				t.Logf("node %d has new frames %v after the second publisher's POST", i,
					time.Since(posted).Round(time.Millisecond))
			}
			last, _ := pub.finish(pionFrames)
			for _, v := range watching {
				checkSecond(t, v, last)
			}
			// Each other node pulls from the new origin, or from a node that does so already. The old origin has
			// checked first that the new one sends.
			checkSubscribers(t, nodes[1], 1, 2)
			checkSubscribers(t, nodes[2], 3, 4)
		})
	}
}
