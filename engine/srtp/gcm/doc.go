// Package gcm is AES-128-GCM (NIST SP 800-38D) for sealing very many short packets, each under one of very many keys.
// It has 12-byte nonces and 16-byte tags only.
//
// Words:
//
//   - A block is 16 bytes.
//   - Expanded, a key is its 11 round keys and the powers H^1 to H^17 of its hash key.
//   - The standard implementation is crypto/cipher's.
//
// On amd64 with AVX-512 and its AES and carry-less products (Intel since Ice Lake, AMD since Zen 4) keys work in
// assembly. Otherwise they use the standard implementation. GODEBUG=cpu.avx512bw=off chooses the latter at start, the
// build tag purego leaves the assembly out. Both give the same bytes.
//
// In assembly a Key is one piece of memory without pointers to others. It is expanded, on a stack if need be, in less
// time than it takes to seal a full packet. So a key that is rarely used need not be kept expanded: that is a
// CompactKey.
//
// Why 17 powers: 16 blocks are hashed with one reduction, and up to 16 at a packet's end with the block of lengths.
// Half of them would make an expanded key two cache lines smaller than its seven, and double the reductions.
//
// Time depends on lengths, on nothing secret. The only bad input is a packet that does not authenticate.
//
// Concurrency: a key belongs to one thread, as on the standard implementation it has scratch of its own.
//
// Buffers: source and destination are either the same bytes or do not overlap. Nothing is read outside of source, nonce
// and additional data, nothing written outside of destination.
package gcm
