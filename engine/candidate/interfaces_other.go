//go:build !linux

package candidate

func openInterfaces() interfaces { return newPortable(nil) }
