//go:build race

package testenv

// RaceEnabled tells whether the race detector is built in. It makes code ten times slower, and pools
// forget at random.
const RaceEnabled = true
