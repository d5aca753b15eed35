//go:build !race

package testenv

const (
	// RaceEnabled tells whether the race detector is built in. It makes code ten times slower, and pools
	// forget at random.
	RaceEnabled = false
	// Slowdown is by how much floods are to be smaller, and limits on time larger.
	Slowdown = 1
)
