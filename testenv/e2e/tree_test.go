package e2e

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/pion/rtp"
)

// Three nodes with room for one child each are a chain. The second is killed, and the viewer of the third goes on in
// its session, over the origin.
func TestChain(t *testing.T) {
	for _, c := range clusters {
		t.Run(c.name, func(t *testing.T) {
			nodes := startNodes(t, c.flags, "--relay-fanout", "1")
			pub, _ := startPublisher(t, nodes[0])
			startViewer(t, nodes[1])
			v := startViewer(t, nodes[2])
			checkSubscribers(t, nodes[0], 1, 1)
			checkSubscribers(t, nodes[1], 2, 2)
			nodes[1].Kill()
			killed, sent := time.Now(), pub.frames.Load()
			v.video.wait(t, func(p []*rtp.Packet) error {
				if got := newest(p); got <= sent {
					return fmt.Errorf("frame %d is the newest, want one after %d", got, sent)
				}
				return nil
			})
			t.Logf("new frames %v after the second node's end", time.Since(killed).Round(time.Millisecond))
			last, _ := pub.finish(pionFrames)
			v.video.wait(t, func(p []*rtp.Packet) error {
				again := resumed(p)
				if again == nil {
					return errors.New("no interruption")
				}
				return checkVideo(again, last)
			})
			checkSubscribers(t, nodes[2], 1, 1)
		})
	}
}

// newest returns the highest frame number.
func newest(packets []*rtp.Packet) (highest uint32) {
	for _, p := range packets {
		if n, ok := frameNumber(p); ok {
			highest = max(highest, n)
		}
	}
	return highest
}

// resumed returns the packets from the first frame that does not follow the one before it.
func resumed(packets []*rtp.Packet) []*rtp.Packet {
	before, begun := uint32(0), false
	for i, p := range packets {
		n, ok := frameNumber(p)
		if ok && begun && n != before+1 {
			return packets[i:]
		}
		if ok {
			before, begun = n, true
		}
	}
	return nil
}
