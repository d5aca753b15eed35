package frame_test

import (
	"fmt"
	"net/netip"

	"ringcast/engine/port"
	"ringcast/xsk/frame"
)

// A route gets its template once. Each datagram on it then costs one Put, right where its payload lies.
func ExampleTemplate() {
	path := port.Path{
		Remote: netip.MustParseAddrPort("198.18.0.2:50000"), // the viewer
		Local:  netip.MustParseAddr("198.18.0.1"),
	}
	ours, nextHop := [6]byte{2, 0, 0, 0, 0, 1}, [6]byte{2, 0, 0, 0, 0, 2}
	t := frame.Make(ours, nextHop, path, 7000, frame.Options{})
	fmt.Println("room at an MTU of 1500:", t.Room(1500))

	// A chunk of packet memory: the worker writes the payload, Put the headers in front of it.
	chunk := make([]byte, 2048)
	payload := append(chunk[frame.Headroom:frame.Headroom], "video"...)
	start := t.Put(chunk, len(payload), 1)
	onTheWire := chunk[start : frame.Headroom+len(payload)]
	fmt.Println("frame:", len(onTheWire), "bytes from", start)

	// The viewer's side reads the same frame.
	seen, data, ok := frame.Parse(onTheWire, "")
	fmt.Printf("%t: %q from %s to %s\n", ok, data, seen.Remote, seen.Local)
	// Output:
	// room at an MTU of 1500: 1472
	// frame: 47 bytes from 22
	// true: "video" from 198.18.0.1:7000 to 198.18.0.2
}
