//go:build !amd64 || purego

package gcm

const accelerated = false

type expanded struct{}

func expand(*expanded, *[KeyLen]byte) {}

func crypt(*expanded, *[NonceLen]byte, []byte, []byte, []byte, *[TagLen]byte, bool) {}
