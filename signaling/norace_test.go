//go:build !race

package signaling

const slowdown = 1
