//go:build !linux

package host

// RaiseMemlock does nothing where no packet memory is registered with the kernel.
func RaiseMemlock() {}

// DropPrivileges does nothing: other systems have no capabilities, and AF_XDP does not run there.
func DropPrivileges(Needs) error { return nil }
