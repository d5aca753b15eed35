//go:build !linux

package engine

import "errors"

// pinThread keeps the calling thread on one core, where the platform has a way.
func pinThread(int) error { return errors.New("this platform does not pin threads") }
