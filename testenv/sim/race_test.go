//go:build race

package sim

// raceEnabled scales the scenarios down: the race detector makes them ten times slower.
const raceEnabled = true
