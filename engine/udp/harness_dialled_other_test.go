//go:build !linux

package udp

var dialledImplementations = []struct {
	name string
	open func(Config) (dialledSubject, error)
}{{"portable", openPortableDialled}}
