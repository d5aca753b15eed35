// Package peers tests the server with real peers beside Chromium: GStreamer's webrtcbin, aiortc and Firefox. All
// three publish, and each watches all three, at the same time.
//
//	gstreamer.py     publishes or watches with webrtcbin, which keeps alive by indications and SRTCP
//	aiortc_peer.py   the same with aiortc, which has no AEAD
//	client.py        the code that both share
//
// Firefox opens the server's own page, by testenv/firefox.
//
// The server and the peers are on two hosts (testenv/lab). A viewer is done when it has played a minute of sound and of
// picture, by the media's own clock. So a busy machine takes longer and fails nothing. No packet may be missing then.
package peers
