// Package bottleneck gives real browsers links that become narrow and wide again. A viewer of a stream with several
// layers gets the layer that its link carries.
//
//	 namespace "server"      namespace "router"          namespaces "viewer-chromium" …
//	┌────────────────┐     ┌────────────────────────┐      ┌────────────────┐
//	│ ringcast  eth0 ├─────┤ south  viewer-chromium ├──────┤ eth0           │
//	└────────────────┘     │         viewer-firefox ├─ …   └────────────────┘
//	                       │              publisher ├─ …
//	                       └────────────────────────┘
//
// The bottleneck is a token bucket with a queue of 300 ms, at the router's device towards a viewer (Device.Throttle of
// testenv/lab). AF_XDP passes by the queues of its own device, and meets this one.
//
//	reports_linux_test.go   viewers who are well report rarely
//	squeeze_linux_test.go   10, 0.8 and 10 Mbit/s
//
// # Time
//
// Browsers live in real time, so these tests do. The bounds are those of an idle machine. On a busy one the browsers
// and the server wait for a processor, which freezes pictures, and looks like a queue. So each test measures how long
// this process and the pages had to wait at worst. A viewer beside those with narrow links measures how long a busy
// machine freezes the picture. The bounds grow by multiples of both.
//
// The screenshots in RINGCAST_ARTIFACTS have the picture's time on top and their own below it.
package bottleneck
