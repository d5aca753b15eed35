// Package testenv is what tests that need more than the Go runtime share: named capabilities of
// the machine with an honest way to skip (Need), the real server as a process (StartServer), and networks of hosts
// (Pair). It is for tests alone: it takes a testing.TB. A program that ships imports subpackages that do without.
//
// Its subpackages:
//
//   - sim is a simulated network with a virtual clock around the sans-I/O core,
//   - capability finds out what the machine can do,
//   - server runs a server as a process and reads its metrics,
//   - records is the network that a handshake of pion's sees,
//   - lab is a network of hosts in namespaces, with faults, a sink and a floor in C to measure against,
//   - peer is a light WebRTC peer, of which a test can have hundreds,
//   - forge writes datagrams that no honest peer would send,
//   - attack attacks a whole server, one file for each kind of attack,
//   - xdp runs a whole server on AF_XDP and takes away what it stands on,
//   - zerocopy runs a whole server on emulated NICs that take AF_XDP without copies,
//   - browser drives headless Chromium,
//   - e2e holds the tests that put browsers and pion against the server,
//   - scale tests what many viewers cost the server's memory,
//   - firefox drives headless Firefox,
//   - peers holds the tests that put GStreamer, aiortc and Firefox against the server.
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
