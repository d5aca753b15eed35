// Package firefox drives a headless Firefox by Marionette, the protocol below geckodriver: JSON after its length
// over TCP. The camera and the microphone are Firefox's own fakes.
//
// It is small because its tests use the server's own page, and read its statistics by script.
package firefox
