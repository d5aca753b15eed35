package engine

import "ringcast/engine/srtp"

// WithSealer makes the workers use f for their subscribers' ciphers.
func WithSealer(f func(*srtp.Keys) (srtp.Sealer, error)) func(*Config) {
	return func(c *Config) { c.worker.NewSealer = f }
}
