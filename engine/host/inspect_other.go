//go:build !linux

package host

import "runtime"

// Inspect has nothing to find out where there is no AF_XDP.
func Inspect(string) Report { return Report{OS: runtime.GOOS} }
