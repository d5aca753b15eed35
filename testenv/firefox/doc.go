// Package firefox drives a headless Firefox by Marionette, the protocol below geckodriver: JSON behind its length
// over TCP. The camera and the microphone are Firefox's own fakes.
//
// It is small because its tests use the page that the server has, and read its statistics by script.
package firefox
