// Package testenv serves tests that need more than the Go runtime. Need checks named capabilities of the machine and
// skips honestly. StartServer runs the real server as a process. Pair and others make networks of hosts. The package is
// for tests alone: it takes a testing.TB. A program that ships imports only subpackages without package testing.
//
// Its subpackages:
//
//   - sim is a simulated network with a virtual clock around the sans-I/O core,
//   - cluster simulates the directory and the trees of up to a thousand nodes,
//   - capability finds out what the machine can do,
//   - server runs a server as a process and reads its metrics,
//   - records is the in-memory network of a DTLS handshake by pion,
//   - lab is a network of hosts in namespaces, with faults, a sink and a floor in C to measure against,
//   - peer is a light WebRTC peer, of which a test can have hundreds,
//   - guarded is memory between pages that nothing may touch,
//   - forge writes datagrams that no honest peer would send,
//   - attack attacks a whole server, one file for each kind of attack,
//   - xdp runs a whole server on AF_XDP and removes its interface, queues or rights,
//   - zerocopy runs a whole server on emulated NICs that take AF_XDP without copies,
//   - browser drives headless Chromium,
//   - e2e tests the server with browsers and pion,
//   - scale tests the server's memory with many viewers,
//   - firefox drives headless Firefox,
//   - peers tests the server with GStreamer, aiortc and Firefox,
//   - bottleneck tests the server with browsers whose links are narrow.
//
// Environment:
//
//	CI=true              a missing capability fails the test instead of skipping it
//	RINGCAST_NEED        names of capabilities, separated by spaces, that fail the test when missing
//	RINGCAST_BIN         path of a server binary to test instead of building cmd/ringcast
//	RINGCAST_ARGS        further flags for the server, separated by spaces
//	RINGCAST_ARTIFACTS   directory for screenshots; default os.TempDir()/ringcast-artifacts
//	RINGCAST_CHROMIUM    path of the Chromium to use
package testenv
