//go:build race

package signaling

// slowdown is how many times slower the race detector may make us.
const slowdown = 20
