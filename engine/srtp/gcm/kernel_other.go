//go:build (!amd64 && !arm64) || purego

package gcm

var kernels = []kernel{kernelStandard}

func (kernel) String() string { return "standard" }

type expanded struct{}

func expand(*expanded, *[KeyLen]byte) {}

func crypt(*expanded, *[NonceLen]byte, []byte, []byte, []byte, *[TagLen]byte, bool) {}
