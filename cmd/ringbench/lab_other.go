//go:build !linux

package main

// child is for labs, which are Linux's.
func child() {}
