package engine

import "ringcast/engine/srtp"

// WithSealer has the workers make their subscribers' ciphers by f.
func (c Config) WithSealer(f func(*srtp.Keys) (srtp.Sealer, error)) Config {
	c.worker.NewSealer = f
	return c
}
