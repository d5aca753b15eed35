// Package browser drives headless Chromium for tests: real encoders, a real congestion
// controller and a real jitter buffer against the server.
//
// One Browser is one Chromium process tree with a fresh profile. Each Tab is a window of it, so that no page counts as
// hidden. A hidden page gets no animation frames, and its timers slow down. Publish and Watch do WHIP and WHEP with the
// JavaScript in harness.js, which shares nothing with the server's own page. They run on an empty page of the server's
// origin. The browser gets that page without a request to the server, so these tests need neither CORS nor the demo
// page.
//
// The fake camera paints a moving pattern at up to 30 frames a second, the fake microphone
// beeps once a second.
//
// Different tabs may be used at the same time; one tab, publisher or viewer may not. Close ends everything that a
// Browser started, and nothing else.
package browser
