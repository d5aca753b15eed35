package sim_test

import (
	"fmt"

	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/srtp"
	"ringcast/testenv/sim"
)

// A publisher and a viewer for five seconds of virtual time, over a network that loses every twentieth datagram. The
// viewer asks for the packets that it misses, and gets them.
func ExampleWorld() {
	w := sim.New(sim.Config{
		Seed: 1, Workers: 2,
		Faults: sim.Faults{Loss: 0.05, Delay: 15 * port.Millisecond},
	})
	const stream = bus.StreamID(1)
	publisher := w.Publish(stream, 60) // a keyframe every 60 frames
	viewer := w.Watch(sim.Viewer{Stream: stream, RTX: true, Profile: srtp.AEADAES128GCM})
	w.Run(5 * port.Second)
	publisher.Stop()
	w.Run(w.Now() + port.Second) // the last repairs

	video := &viewer.Video
	verdict := video.Judge(video.High)
	fmt.Println("packets:", len(video.Packets), "repaired:", video.Resent > 0)
	fmt.Println("missing:", len(verdict.Gaps), "out of order:", len(verdict.Breaks))
	fmt.Println("the clock:", w.Now()/port.Second, "seconds")
	// Output:
	// packets: 323 repaired: true
	// missing: 0 out of order: 0
	// the clock: 6 seconds
}
