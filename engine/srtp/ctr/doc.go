// Package ctr is AES-128 in counter mode (NIST SP 800-38A section 6.5) as SRTP uses it (RFC 3711 section 4.1.1). It is
// made for very many short packets, each under one of very many keys.
//
// Words:
//
//   - A block is 16 bytes. A group is eight of them, which are encrypted side by side.
//   - A counter block is the 14 bytes of a packet's IV, then the 16-bit number of the block.
//   - The key stream is the encrypted counter blocks. A packet is XORed with it, to seal it as well as to open it.
//
// On amd64 with AES-NI keys work in assembly. Elsewhere, and with the build tag purego, they use crypto/cipher. Both
// give the same bytes. GODEBUG=cpu.aes=off chooses the latter at start.
//
// With crypto/cipher each packet needs a stream of its own, which is 512 bytes of garbage. Encrypting block by block
// would need none, but takes far longer: 1,700 ns for 1,200 bytes. A stream takes 300 ns with its share of garbage
// collection, the assembly 130 ns (AMD EPYC with AVX-512).
//
// Nothing authenticates here: the caller must.
//
// Concurrency: a key belongs to one thread, as with crypto/cipher it has scratch of its own.
//
// Buffers: source and destination are either the same bytes or do not overlap. Nothing is read outside of source and
// IV, nothing written outside of destination.
package ctr
