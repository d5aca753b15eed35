package e2e

import (
	"fmt"
	"testing"
	"time"

	"ringcast/testenv"

	"github.com/pion/rtp"
)

// Viewers go on watching when the publisher ends and another takes the stream up: in one sequence, from a keyframe on.
// The kernel spreads the sessions over the workers by chance. With six viewers the new publisher almost surely has
// another worker than some, and the same as others.
func TestRepublish(t *testing.T) {
	const viewers = 6
	s := testenv.StartServer(t, testenv.ServerOptions{Workers: 2})
	first := newPionPublisher(t, s.URL+"/whip/again")
	first.connect(t)
	first.start(t)
	var watching []*pionViewer
	for range viewers {
		v := newPionViewer(t, s.URL+"/whep/again")
		v.connect(t)
		watching = append(watching, v)
	}
	end, _ := first.finish(pionFrames)
	for _, v := range watching {
		v.video.wait(t, func(p []*rtp.Packet) error { return checkVideo(p, end) })
	}
	first.bye(t)
	// This is longer than a short interruption: a viewer that gives up has done so.
	let(t, 3*time.Second)

	second := newPionPublisher(t, s.URL+"/whip/again")
	second.connect(t)
	second.start(t)
	end, _ = second.finish(pionFrames)
	for i, v := range watching {
		v.video.wait(t, func(p []*rtp.Packet) error {
			if err := checkRepublished(p, end); err != nil {
				return fmt.Errorf("viewer %d: %w", i, err)
			}
			return nil
		})
	}
	if t.Failed() {
		t.Logf("metrics:\n%s",
			s.Metrics(t).List("ringcast_packets", "ringcast_replicated", "ringcast_sent", "ringcast_port"))
	}
}

// checkRepublished looks at the second publication, whose frames count from zero again.
func checkRepublished(packets []*rtp.Packet, last uint32) error {
	got, err := frames(packets)
	if err != nil {
		return err
	}
	for i := 1; i < len(got); i++ {
		f, before := got[i], got[i-1]
		if ahead := int32(f.timestamp - before.timestamp); ahead <= 0 {
			return fmt.Errorf("frame %d after %d: timestamp moved by %d", f.n, before.n, ahead)
		}
		if f.n > before.n {
			continue
		}
		switch again := got[i:]; {
		case !f.key:
			return fmt.Errorf("the second publication begins with frame %d, which is no keyframe", f.n)
		case again[len(again)-1].n != last:
			return fmt.Errorf("the second publication ends with frame %d, want %d", again[len(again)-1].n, last)
		case uint32(len(again)) != last-f.n+1:
			return fmt.Errorf("%d frames of the second publication from number %d to %d", len(again), f.n, last)
		}
		return nil
	}
	return fmt.Errorf("nothing of the second publication among %d frames", len(got))
}
