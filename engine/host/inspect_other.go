//go:build !linux

package host

import "runtime"

// Inspect reports the system alone where there is no AF_XDP.
func Inspect(string) Report { return Report{OS: runtime.GOOS} }
