//go:build race

package testenv

const (
	// RaceEnabled reports whether the race detector is built in. It makes code ten times slower, and pools forget at
	// random.
	RaceEnabled = true
	// Slowdown is the factor by which floods are smaller, and limits on time larger.
	Slowdown = 20
)
