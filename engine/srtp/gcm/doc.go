// Package gcm is AES-128-GCM (NIST SP 800-38D) for sealing very many short packets, each under one of very many keys.
// It has 12-byte nonces and 16-byte tags only.
//
// Words:
//
//   - A block is 16 bytes.
//   - Expanded, a key is its 11 round keys and powers H^1 to H^n of its hash key.
//   - A kernel is an implementation of keys. The standard one is crypto/cipher.
//
// The kernel is chosen at start, by the abilities of the processor:
//
//	avx512    amd64 with AES and carry-less products of AVX-512's vectors: Intel since Ice Lake, AMD since Zen 4
//	avx2      amd64 with those of AVX2's vectors: AMD Zen 3, Intel since Alder Lake
//	avx       amd64 with AES, PCLMULQDQ and AVX: Intel since Sandy Bridge, AMD since Bulldozer
//	eor3      arm64 with AES, PMULL and EOR3: Neoverse V1 and N2 and later, Apple M1 and later
//	pmull     arm64 with AES and PMULL: Neoverse N1
//	standard  all others
//
// All give the same bytes. GODEBUG=cpu.avx512bw=off hides the first, cpu.avx2=off the second too, cpu.avx=off also the
// third. On arm64 cpu.sha3=off hides the first, and cpu.pmull=off both. The build tag purego leaves the assembly out.
//
// In assembly a Key is one piece of memory without pointers to others. It is expanded, on a stack if need be, in less
// time than it takes to seal a full packet. So a key that is rarely used need not be kept expanded: that is a
// CompactKey. The standard kernel takes about that time too, and makes garbage of 1.3 KB.
//
// Why 17 powers for avx512: 16 blocks are hashed with one reduction, and up to 16 at a packet's end with the block of
// lengths. Half of them would make an expanded key two cache lines smaller than its seven, and double the reductions.
// avx2 has registers for 12 blocks, so 13 powers. avx has the same layout, and needs the last 7 of them. Those of arm64
// have registers for 8, so 9.
//
// Time depends on lengths, on nothing secret. The only bad input is a packet that does not authenticate.
//
// Concurrency: a key belongs to one thread, as on the standard implementation it has scratch of its own.
//
// Buffers: source and destination are either the same bytes or do not overlap. Nothing is read outside of source, nonce
// and additional data, nothing written outside of destination.
package gcm
