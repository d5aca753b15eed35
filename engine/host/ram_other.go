//go:build !linux

package host

// RAM is a guess at how many bytes of memory this process may use.
func RAM() int64 { return ramUnknown }
