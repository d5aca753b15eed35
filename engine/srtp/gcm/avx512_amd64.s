//go:build !purego

// AES-128-GCM on 512-bit vectors: four AES blocks to a register, four registers to a group. So 16 blocks of the
// counter mode are in flight, and 16 products of GHASH share one reduction. AES rounds keep one of the processor's two
// ports for such vectors busy, carry-less products the other. So while a group is encrypted, the one before is hashed,
// the instructions of both side by side.
//
// How GHASH is computed. A block is a polynomial over GF(2) whose x^0 is the first byte's highest bit. Reversing the
// bytes makes it a 128-bit integer whose bit i is x^(127-i). The 255-bit carry-less product of two of those is then the
// product of the polynomials, one bit short of its place in 256 bits. Each power of H is kept divided by x to make up
// for that. In an integer of 256 bits the high degrees are the low bits. Multiples of the field's polynomial, added,
// clear them:
//
//	1 + x + x^2 + x^7 + x^128, which in this order of bits is 2^128 + (0xC2 << 120) + 1
//
// The low 64 bits times the polynomial, added, clear the low 64 bits. Doing so twice leaves the sum in the upper 128.
//
// A lane is 128 bits of a register. Until REDUCE a product is kept in three parts, LOW, MID and HIGH, each with a share
// in every lane: value = LOW + MID<<64 + HIGH<<128.
//
// Nothing branches on or addresses memory by anything secret; lengths are public.
//
// Registers, all through this file:
//
//	Z0-Z3   four blocks each: counters, key stream, blocks to hash
//	Z4      COUNTER: the next four counter blocks, bytes reversed
//	Z5      REVERSE: the shuffle that reverses each lane's bytes
//	Z6      FOUR: 4 in each lane, to advance COUNTER
//	Z7      HASH: GHASH so far, bytes reversed, in the first lane; zero in the others
//	Z8-Z10  LOW, MID, HIGH
//	Z11-Z13 temporary, and Z31
//	Z14     MASK: the encrypted first counter block, which hides the tag
//	Z15     FIELD: 0xC2<<120 + 1 in each lane
//	Z16-Z26 round keys, each in all lanes
//	Z27-Z30 blocks read; blocks to hash, bytes reversed
//	Z31     powers of H
//
//	AX  the expanded key     DI  destination   SI  source        CX  bytes left of it
//	R9  additional data      R10 bytes left of it                R8  the next powers of H
//	BX, DX  temporary        R12 64               K1  the bytes of a vector that exist

#include "textflag.h"

#define COUNTER Z4
#define REVERSE Z5
#define FOUR Z6
#define HASH Z7
#define LOW Z8
#define MID Z9
#define HIGH Z10
#define FIELD Z15

// Offsets in the expanded key: H^17 to H^1, then the round keys. Vectors of powers are read up to three
// lanes past H^1; the excess is multiplied by zero.
#define POWERS 0
#define FIRST16 16
#define LAST 256
#define ROUNDS 272

DATA reverse<>+0(SB)/8, $0x08090A0B0C0D0E0F
DATA reverse<>+8(SB)/8, $0x0001020304050607
GLOBL reverse<>(SB), RODATA|NOPTR, $16

DATA field<>+0(SB)/8, $1
DATA field<>+8(SB)/8, $0xC200000000000000
GLOBL field<>(SB), RODATA|NOPTR, $16

DATA four<>+0(SB)/8, $4
DATA four<>+8(SB)/8, $0
GLOBL four<>(SB), RODATA|NOPTR, $16

// The counters of the first four blocks, less the tag's.
DATA first<>+0(SB)/8, $1
DATA first<>+8(SB)/8, $0
DATA first<>+16(SB)/8, $2
DATA first<>+24(SB)/8, $0
DATA first<>+32(SB)/8, $3
DATA first<>+40(SB)/8, $0
DATA first<>+48(SB)/8, $4
DATA first<>+56(SB)/8, $0
GLOBL first<>(SB), RODATA|NOPTR, $64

// COUNT makes the next four counter blocks in z and adds the first round key.
#define COUNT(z) \
	VPSHUFB REVERSE, COUNTER, z \
	VPADDD  FOUR, COUNTER, COUNTER \
	VPXORQ  Z16, z, z

#define COUNT4 \
	COUNT(Z0) \
	COUNT(Z1) \
	COUNT(Z2) \
	COUNT(Z3)

// ROUND4 is one round of AES for 16 blocks.
#define ROUND4(key) \
	VAESENC key, Z0, Z0 \
	VAESENC key, Z1, Z1 \
	VAESENC key, Z2, Z2 \
	VAESENC key, Z3, Z3

// ROUNDS9 is all rounds but the last for one register, whose round keys are k1 to k9.
#define ROUNDS9(x, k1, k2, k3, k4, k5, k6, k7, k8, k9) \
	VAESENC k1, x, x \
	VAESENC k2, x, x \
	VAESENC k3, x, x \
	VAESENC k4, x, x \
	VAESENC k5, x, x \
	VAESENC k6, x, x \
	VAESENC k7, x, x \
	VAESENC k8, x, x \
	VAESENC k9, x, x

// MULTIPLY sets the product to x times h, lane by lane.
#define MULTIPLY(x, h) \
	VPCLMULQDQ $0x01, h, x, MID \
	VPCLMULQDQ $0x10, h, x, Z11 \
	VPCLMULQDQ $0x00, h, x, LOW \
	VPCLMULQDQ $0x11, h, x, HIGH \
	VPXORQ     Z11, MID, MID

// MULTIPLYADD adds x times h to the product, lane by lane.
#define MULTIPLYADD(x, h) \
	VPCLMULQDQ $0x01, h, x, Z11 \
	VPCLMULQDQ $0x10, h, x, Z12 \
	VPTERNLOGQ $0x96, Z12, Z11, MID \
	VPCLMULQDQ $0x00, h, x, Z13 \
	VPXORQ     Z13, LOW, LOW \
	VPCLMULQDQ $0x11, h, x, Z11 \
	VPXORQ     Z11, HIGH, HIGH

// REDUCE leaves the product modulo the field's polynomial in HIGH, lane by lane. Each of the two steps
// adds the lowest 64 bits times 2^128 + 0xC2<<120, the first to MID and the second to HIGH.
#define REDUCE \
	VPCLMULQDQ $0x10, FIELD, LOW, Z11 \
	VPSHUFD    $0x4E, LOW, LOW \
	VPTERNLOGQ $0x96, Z11, LOW, MID \
	VPCLMULQDQ $0x10, FIELD, MID, Z11 \
	VPSHUFD    $0x4E, MID, MID \
	VPTERNLOGQ $0x96, Z11, MID, HIGH

// SUM adds the four lanes of HIGH up to HASH.
#define SUM \
	VEXTRACTI64X4 $1, Z10, Y11 \
	VPXOR         Y11, Y10, Y10 \
	VEXTRACTI128  $1, Y10, X11 \
	VPXOR         X11, X10, X7

// BYTES sets BX to the smaller of n and 64, and K1 to that many bits.
#define BYTES(n) \
	MOVQ    n, BX \
	CMPQ    BX, $64 \
	CMOVQGT R12, BX \
	MOVQ    $-1, DX \
	BZHIQ   BX, DX, DX \
	KMOVQ   DX, K1

// func cryptAVX512(k *expanded, nonce *[NonceLen]byte, dst, src, aad []byte, tag *[TagLen]byte, open bool)
TEXT ·cryptAVX512(SB), NOSPLIT, $0-97
	MOVQ k+0(FP), AX
	MOVQ nonce+8(FP), BX
	MOVQ dst_base+16(FP), DI
	MOVQ src_base+40(FP), SI
	MOVQ src_len+48(FP), CX
	MOVQ aad_base+64(FP), R9
	MOVQ aad_len+72(FP), R10
	MOVQ $64, R12

	// Stage 1: constants and round keys.
	VBROADCASTI32X4 reverse<>(SB), REVERSE
	VBROADCASTI32X4 four<>(SB), FOUR
	VBROADCASTI32X4 field<>(SB), FIELD
	VBROADCASTI32X4 (ROUNDS+0)(AX), Z16
	VBROADCASTI32X4 (ROUNDS+16)(AX), Z17
	VBROADCASTI32X4 (ROUNDS+32)(AX), Z18
	VBROADCASTI32X4 (ROUNDS+48)(AX), Z19
	VBROADCASTI32X4 (ROUNDS+64)(AX), Z20
	VBROADCASTI32X4 (ROUNDS+80)(AX), Z21
	VBROADCASTI32X4 (ROUNDS+96)(AX), Z22
	VBROADCASTI32X4 (ROUNDS+112)(AX), Z23
	VBROADCASTI32X4 (ROUNDS+128)(AX), Z24
	VBROADCASTI32X4 (ROUNDS+144)(AX), Z25
	VBROADCASTI32X4 (ROUNDS+160)(AX), Z26

	// Stage 2: the first counter block, nonce and 1, hides the tag; the others count on from it.
	VMOVQ      (BX), X14
	VPINSRD    $2, 8(BX), X14, X14
	MOVL       $0x01000000, DX
	VPINSRD    $3, DX, X14, X14
	VPSHUFB    X5, X14, X4
	VSHUFI64X2 $0, COUNTER, COUNTER, COUNTER
	VPADDD     first<>(SB), COUNTER, COUNTER
	VPXORQ     X16, X14, X14
	ROUNDS9(X14, X17, X18, X19, X20, X21, X22, X23, X24, X25)
	VAESENCLAST X26, X14, X14

	// Stage 3: hash the additional data, four blocks at a time: n blocks are multiplied by H^n to
	// H^1. An RTP header takes one turn.
	VPXOR X7, X7, X7

header:
	CMPQ       R10, $0
	JLE        hashed
	BYTES(R10)
	VMOVDQU8.Z (R9), K1, Z0
	VPSHUFB    REVERSE, Z0, Z0
	VPXORQ     HASH, Z0, Z0
	ADDQ       $15, BX
	ANDQ       $-16, BX
	LEAQ       (LAST+16)(AX), R8
	SUBQ       BX, R8
	VMOVDQU64  (R8), Z31
	MULTIPLY(Z0, Z31)
	REDUCE
	SUM
	ADDQ       $64, R9
	SUBQ       $64, R10
	JMP        header

	// Stage 4: groups of 16 whole blocks. While one is encrypted the one before is hashed.
hashed:
	CMPQ CX, $256
	JLT  tail
	COUNT4
	ROUND4(Z17)
	ROUND4(Z18)
	ROUND4(Z19)
	ROUND4(Z20)
	ROUND4(Z21)
	ROUND4(Z22)
	ROUND4(Z23)
	ROUND4(Z24)
	ROUND4(Z25)

finish:
	// The last round adds its key; adding the source to that key first saves doing it afterwards.
	VMOVDQU64   (SI), Z27
	VMOVDQU64   64(SI), Z28
	VMOVDQU64   128(SI), Z29
	VMOVDQU64   192(SI), Z30
	VPXORQ      Z27, Z26, Z11
	VAESENCLAST Z11, Z0, Z0
	VPXORQ      Z28, Z26, Z12
	VAESENCLAST Z12, Z1, Z1
	VPXORQ      Z29, Z26, Z13
	VAESENCLAST Z13, Z2, Z2
	VPXORQ      Z30, Z26, Z31
	VAESENCLAST Z31, Z3, Z3
	VMOVDQU64   Z0, (DI)
	VMOVDQU64   Z1, 64(DI)
	VMOVDQU64   Z2, 128(DI)
	VMOVDQU64   Z3, 192(DI)
	ADDQ        $256, SI
	ADDQ        $256, DI
	SUBQ        $256, CX

	// The hash is that of the ciphertext: the bytes read if they are opened, else the bytes written.
	CMPB    open+96(FP), $0
	JEQ     sealed
	VPSHUFB REVERSE, Z27, Z27
	VPSHUFB REVERSE, Z28, Z28
	VPSHUFB REVERSE, Z29, Z29
	VPSHUFB REVERSE, Z30, Z30
	JMP     hash

sealed:
	VPSHUFB REVERSE, Z0, Z27
	VPSHUFB REVERSE, Z1, Z28
	VPSHUFB REVERSE, Z2, Z29
	VPSHUFB REVERSE, Z3, Z30

hash:
	VPXORQ  HASH, Z27, Z27
	CMPQ    CX, $256
	JLT     last
	COUNT4
	ROUND4(Z17)
	VMOVDQU64 (FIRST16)(AX), Z31
	MULTIPLY(Z27, Z31)
	ROUND4(Z18)
	VMOVDQU64 (FIRST16+64)(AX), Z31
	MULTIPLYADD(Z28, Z31)
	ROUND4(Z19)
	VMOVDQU64 (FIRST16+128)(AX), Z31
	MULTIPLYADD(Z29, Z31)
	ROUND4(Z20)
	VMOVDQU64 (FIRST16+192)(AX), Z31
	MULTIPLYADD(Z30, Z31)
	ROUND4(Z21)
	ROUND4(Z22)
	REDUCE
	ROUND4(Z23)
	ROUND4(Z24)
	SUM
	ROUND4(Z25)
	JMP finish

last:
	VMOVDQU64 (FIRST16)(AX), Z31
	MULTIPLY(Z27, Z31)
	VMOVDQU64 (FIRST16+64)(AX), Z31
	MULTIPLYADD(Z28, Z31)
	VMOVDQU64 (FIRST16+128)(AX), Z31
	MULTIPLYADD(Z29, Z31)
	VMOVDQU64 (FIRST16+192)(AX), Z31
	MULTIPLYADD(Z30, Z31)
	REDUCE
	SUM

	// Stage 5: up to 16 blocks, the last of which may be short, and the block that tells the lengths
	// in bits. The latter is multiplied by H^1, so n blocks before it by H^(n+1) to H^2. With none,
	// the hash so far takes the place of the first.
tail:
	MOVQ       src_len+48(FP), BX
	MOVQ       aad_len+72(FP), DX
	SHLQ       $3, BX
	SHLQ       $3, DX
	VMOVQ      BX, X0
	VPINSRQ    $1, DX, X0, X0
	VMOVDQU    LAST(AX), X1
	MULTIPLY(Z0, Z1)
	LEAQ       15(CX), BX
	ANDQ       $-16, BX
	LEAQ       LAST(AX), R8
	SUBQ       BX, R8

quarter:
	BYTES(CX)
	COUNT(Z0)
	ROUNDS9(Z0, Z17, Z18, Z19, Z20, Z21, Z22, Z23, Z24, Z25)
	VMOVDQU8.Z  (SI), K1, Z27
	VPXORQ      Z27, Z26, Z11
	VAESENCLAST Z11, Z0, Z0
	VMOVDQU8    Z0, K1, (DI)
	CMPB        open+96(FP), $0
	JEQ         short
	VMOVDQA64   Z27, Z0

short:
	VMOVDQU8.Z Z0, K1, Z0
	VPSHUFB    REVERSE, Z0, Z0
	VPXORQ     HASH, Z0, Z0
	VPXOR      X7, X7, X7
	VMOVDQU64  (R8), Z31
	MULTIPLYADD(Z0, Z31)
	ADDQ       $64, SI
	ADDQ       $64, DI
	ADDQ       $64, R8
	SUBQ       $64, CX
	JGT        quarter
	REDUCE
	SUM

	// Stage 6: the tag.
	VPSHUFB X5, X7, X7
	VPXOR   X14, X7, X7
	MOVQ    tag+88(FP), BX
	VMOVDQU X7, (BX)
	VZEROUPPER
	RET

// EXPAND makes the next round key of X0 (FIPS 197 section 5.2) and stores it.
#define EXPAND(constant, offset) \
	VAESKEYGENASSIST constant, X0, X1 \
	VPSHUFD          $0xFF, X1, X1 \
	VPSLLDQ          $4, X0, X2 \
	VPXOR            X2, X0, X0 \
	VPSLLDQ          $8, X0, X2 \
	VPXOR            X2, X0, X0 \
	VPXOR            X1, X0, X0 \
	VMOVDQU          X0, (ROUNDS+offset)(AX) \
	VAESENC          X0, X3, X3

// func expandAVX512(k *expanded, key *[KeyLen]byte)
TEXT ·expandAVX512(SB), NOSPLIT, $0-16
	MOVQ            k+0(FP), AX
	MOVQ            key+8(FP), BX
	VBROADCASTI32X4 field<>(SB), FIELD

	// Round keys in X0, and with each of them a round of encrypting the zero block in X3. The last
	// round differs, so what EXPAND did to X3 there is not used.
	VMOVDQU     (BX), X0
	VMOVDQU     X0, ROUNDS(AX)
	VMOVDQA     X0, X3
	EXPAND($0x01, 16)
	EXPAND($0x02, 32)
	EXPAND($0x04, 48)
	EXPAND($0x08, 64)
	EXPAND($0x10, 80)
	EXPAND($0x20, 96)
	EXPAND($0x40, 112)
	EXPAND($0x80, 128)
	EXPAND($0x1B, 144)
	VMOVDQA     X3, X4
	EXPAND($0x36, 160)
	VAESENCLAST X0, X4, X4

	// H, its bytes reversed, divided by x: a shift to the left, and what falls out of the integer
	// comes back as the field's polynomial.
	VPSHUFB reverse<>(SB), X4, X4
	VPSRAD  $31, X4, X1
	VPSHUFD $0xFF, X1, X1
	VPAND   X15, X1, X1
	VPSRLQ  $63, X4, X2
	VPSLLDQ $8, X2, X2
	VPSLLQ  $1, X4, X4
	VPXOR   X2, X4, X4
	VPXOR   X1, X4, X0
	VMOVDQU X0, LAST(AX)

	// H^2 to H^4 one after the other; then four at a time, each the one four places below times H^4.
	MULTIPLY(Z0, Z0)
	REDUCE
	VMOVDQU    X10, (LAST-16)(AX)
	MULTIPLY(Z10, Z0)
	REDUCE
	VMOVDQU    X10, (LAST-32)(AX)
	MULTIPLY(Z10, Z0)
	REDUCE
	VMOVDQU    X10, (LAST-48)(AX)
	VSHUFI64X2 $0, Z10, Z10, Z1
	VMOVDQU64  (LAST-48)(AX), Z2
	MULTIPLY(Z2, Z1)
	REDUCE
	VMOVDQU64  Z10, (LAST-112)(AX)
	MULTIPLY(Z10, Z1)
	REDUCE
	VMOVDQU64  Z10, (LAST-176)(AX)
	MULTIPLY(Z10, Z1)
	REDUCE
	VMOVDQU64  Z10, (LAST-240)(AX)
	MULTIPLY(Z10, Z0)
	REDUCE
	VMOVDQU    X10, POWERS(AX)
	VZEROUPPER
	RET
