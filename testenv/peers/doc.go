// Package peers tests the server with real peers beside Chromium: GStreamer's webrtcbin, aiortc and Firefox. All
// three publish, and each watches all three, at the same time.
//
//	gstreamer.py     publishes or watches with webrtcbin, which keeps alive by indications and SRTCP
//	aiortc_peer.py   the same with aiortc, which knows no AEAD
//	client.py        what both share
//
// Firefox opens the server's own page, by testenv/firefox.
//
// The server and the peers are on two hosts (testenv/lab). A viewer is done when a minute of sound and of picture has
// been played, by the media's own clock, so a busy machine takes longer and fails nothing. Nothing may be lost then.
package peers
