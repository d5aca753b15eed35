//go:build !race

package attack

// slowdown is what the sizes of floods are divided by.
const slowdown = 1
