// AES-128-GCM on 128-bit vectors: eight blocks to a group. Each kernel includes this with its own definitions of
//
//	CRYPT             the name of the function
//	XOR3(a, b, sum)   sum ^= a ^ b
//
// GHASH treats a block as a polynomial with its first bit as the coefficient of x^0. With the bytes of both halves
// reversed, the halves of a register are two integers, the higher one first. Powers of H are kept as H^n times x, as a
// product of such integers lacks that factor. A product takes three multiplications (Karatsuba): MIDDLE is that of the
// sums of halves, LOW and HIGH too much. Eight products are added and reduced once, by Montgomery's way: two
// multiplications with the field's polynomial.
//
// While one group is encrypted, the one before is hashed. Group 0 has counters 0 to 7. Counter 0 is not used, and
// counter 1 hides the tag. So group 0 has room for six blocks of the source. Two blocks of additional data take the
// place of the others where blocks are hashed. At the end the key stream lies on the stack, and blocks are hashed one by
// one with falling powers.
//
// A counter block is the nonce and a counter. The counters of a group differ in their last three bits. AESE begins with
// the sum of block and round key, so nonce, first counter and round key are added once for all eight.
//
// Nothing branches on or addresses memory by anything secret; lengths are public.
//
// Registers, all through this file:
//
//	X0-X7      V0-V7    counters, key stream; then the encrypted or decrypted blocks
//	C0-C7      V8-V15   blocks to hash; before that blocks of the source
//	LOW, HIGH, MIDDLE   a sum of products
//	T0-T2               temporary
//	HA, HB, HM          powers of H, sums of their halves
//	KA, KB              round keys
//	MASK                the encrypted counter 1, which hides the tag
//	HASH                GHASH so far
//	POLY                the field's polynomial
//	BASE, COUNT         round key 0 plus nonce; the first counter of a group
//
//	R0  the expanded key    R2 destination    R3 source             R4  bytes left of it
//	R5  additional data     R6 bytes left     R7 whether it opens   R10 the next counter
//	R11 counters            R12 the next power                      R13 the next key stream
//	R8, R9, R20, R21 temporary

#include "textflag.h"

// Offsets in the expanded key: the round keys, H^9 to H^1, then the sums of both halves of H^8 to H^1, two by two.
#define POWERS 192
#define LAST 304
#define HALVES 320

#define X0 V0
#define X1 V1
#define X2 V2
#define X3 V3
#define X4 V4
#define X5 V5
#define X6 V6
#define X7 V7
#define C0 V8
#define C1 V9
#define C2 V10
#define C3 V11
#define C4 V12
#define C5 V13
#define C6 V14
#define C7 V15
#define LOW V16
#define HIGH V17
#define MIDDLE V18
#define T0 V19
#define T1 V20
#define T2 V21
#define HA V22
#define HB V23
#define HM V24
#define KA V25
#define KB V26
#define MASK V27
#define HASH V28
#define POLY V29
#define BASE V30
#define COUNT V31

// Counters 0 to 7 in the last bytes of blocks.
DATA counters<>+0x00(SB)/8, $0
DATA counters<>+0x08(SB)/8, $0
DATA counters<>+0x10(SB)/8, $0
DATA counters<>+0x18(SB)/8, $0x0100000000000000
DATA counters<>+0x20(SB)/8, $0
DATA counters<>+0x28(SB)/8, $0x0200000000000000
DATA counters<>+0x30(SB)/8, $0
DATA counters<>+0x38(SB)/8, $0x0300000000000000
DATA counters<>+0x40(SB)/8, $0
DATA counters<>+0x48(SB)/8, $0x0400000000000000
DATA counters<>+0x50(SB)/8, $0
DATA counters<>+0x58(SB)/8, $0x0500000000000000
DATA counters<>+0x60(SB)/8, $0
DATA counters<>+0x68(SB)/8, $0x0600000000000000
DATA counters<>+0x70(SB)/8, $0
DATA counters<>+0x78(SB)/8, $0x0700000000000000
GLOBL counters<>(SB), (NOPTR+RODATA), $128

// 16 bytes of ones, 16 of zeros.
DATA ones<>+0x00(SB)/8, $-1
DATA ones<>+0x08(SB)/8, $-1
DATA ones<>+0x10(SB)/8, $0
DATA ones<>+0x18(SB)/8, $0
GLOBL ones<>(SB), (NOPTR+RODATA), $32

// A register Fn is the same as Vn. Processors join AESE and AESMC if one follows the other.
#define ROUND(K) \
	AESE  K.B16, X0.B16 \
	AESMC X0.B16, X0.B16 \
	AESE  K.B16, X1.B16 \
	AESMC X1.B16, X1.B16 \
	AESE  K.B16, X2.B16 \
	AESMC X2.B16, X2.B16 \
	AESE  K.B16, X3.B16 \
	AESMC X3.B16, X3.B16 \
	AESE  K.B16, X4.B16 \
	AESMC X4.B16, X4.B16 \
	AESE  K.B16, X5.B16 \
	AESMC X5.B16, X5.B16 \
	AESE  K.B16, X6.B16 \
	AESMC X6.B16, X6.B16 \
	AESE  K.B16, X7.B16 \
	AESMC X7.B16, X7.B16

#define LASTROUND(K) \
	AESE K.B16, X0.B16 \
	AESE K.B16, X1.B16 \
	AESE K.B16, X2.B16 \
	AESE K.B16, X3.B16 \
	AESE K.B16, X4.B16 \
	AESE K.B16, X5.B16 \
	AESE K.B16, X6.B16 \
	AESE K.B16, X7.B16

// COUNTUP sets X0-X7 to the next eight counters, and KA to round key 0 plus all that their blocks have in common.
#define COUNTUP \
	REVW  R10, R8 \
	VMOV  R8, COUNT.S[3] \
	VEOR  COUNT.B16, BASE.B16, KA.B16 \
	FLDPQ (R11), (F0, F1) \
	FLDPQ 32(R11), (F2, F3) \
	FLDPQ 64(R11), (F4, F5) \
	FLDPQ 96(R11), (F6, F7) \
	ADDW  $8, R10

// PRODUCTS multiplies pair i of a group, A and B, by their powers of H. T0 + T2 is the high part, T1 + B the low one. A
// becomes the sums of halves, HM those of the powers.
#define PRODUCTS(A, B, i) \
	FLDPQ   (POWERS+32*i)(R0), (F22, F23) \
	FMOVQ   (HALVES+16*i)(R0), F24 \
	VPMULL  HA.D1, A.D1, T0.Q1 \
	VPMULL2 HA.D2, A.D2, T1.Q1 \
	VTRN1   B.D2, A.D2, T2.D2 \
	VTRN2   B.D2, A.D2, A.D2 \
	VEOR    T2.B16, A.B16, A.B16 \
	VPMULL  HB.D1, B.D1, T2.Q1 \
	VPMULL2 HB.D2, B.D2, B.Q1

// FIRSTPAIR begins the sum of products, PAIR adds to it.
#define FIRSTPAIR(A, B, i) \
	PRODUCTS(A, B, i) \
	VEOR    T0.B16, T2.B16, HIGH.B16 \
	VEOR    T1.B16, B.B16, LOW.B16 \
	VPMULL  HM.D1, A.D1, MIDDLE.Q1 \
	VPMULL2 HM.D2, A.D2, T1.Q1 \
	VEOR    T1.B16, MIDDLE.B16, MIDDLE.B16

#define PAIR(A, B, i) \
	PRODUCTS(A, B, i) \
	XOR3(T0, T2, HIGH) \
	XOR3(T1, B, LOW) \
	VPMULL  HM.D1, A.D1, T0.Q1 \
	VPMULL2 HM.D2, A.D2, T1.Q1 \
	XOR3(T0, T1, MIDDLE)

// MULTIPLY makes the product of A and B, MIDDLE without LOW and HIGH. MULTIPLYADD adds one.
#define MULTIPLY(A, B) \
	VEXT    $8, B.B16, B.B16, T2.B16 \
	VPMULL  A.D1, B.D1, HIGH.Q1 \
	VPMULL2 A.D2, B.D2, LOW.Q1 \
	VPMULL  A.D1, T2.D1, MIDDLE.Q1 \
	VPMULL2 A.D2, T2.D2, T1.Q1 \
	VEOR    T1.B16, MIDDLE.B16, MIDDLE.B16

#define MULTIPLYADD(A, B) \
	VEXT    $8, B.B16, B.B16, T2.B16 \
	VPMULL  A.D1, B.D1, T0.Q1 \
	VPMULL2 A.D2, B.D2, T1.Q1 \
	VEOR    T0.B16, HIGH.B16, HIGH.B16 \
	VEOR    T1.B16, LOW.B16, LOW.B16 \
	VPMULL  A.D1, T2.D1, T0.Q1 \
	VPMULL2 A.D2, T2.D2, T1.Q1 \
	XOR3(T0, T1, MIDDLE)

// REDUCE sets HASH to the sum of products modulo the field's polynomial, MIDDLE without LOW and HIGH.
#define REDUCE \
	VPMULL POLY.D1, LOW.D1, T0.Q1 \
	VEXT   $8, LOW.B16, LOW.B16, LOW.B16 \
	XOR3(T0, LOW, MIDDLE) \
	VPMULL POLY.D1, MIDDLE.D1, T0.Q1 \
	VEOR   T0.B16, HIGH.B16, HIGH.B16 \
	VEXT   $8, HIGH.B16, HIGH.B16, HIGH.B16 \
	VEOR   MIDDLE.B16, HIGH.B16, HASH.B16

// func CRYPT(k *expanded, nonce *[NonceLen]byte, dst, src, aad []byte, tag *[TagLen]byte, open bool)
TEXT CRYPT(SB), 0, $128-97
	MOVD    k+0(FP), R0
	MOVD    nonce+8(FP), R1
	MOVD    dst_base+16(FP), R2
	MOVD    src_base+40(FP), R3
	MOVD    src_len+48(FP), R4
	MOVD    aad_base+64(FP), R5
	MOVD    aad_len+72(FP), R6
	MOVBU   open+96(FP), R7
	MOVD    $counters<>(SB), R11
	MOVD    $0xC200000000000000, R8
	FMOVD   R8, F29
	VEOR    COUNT.B16, COUNT.B16, COUNT.B16
	VEOR    HASH.B16, HASH.B16, HASH.B16
	MOVD    (R1), R8
	MOVWU   8(R1), R9
	FMOVD   R8, F30
	VMOV    R9, BASE.S[2]
	FMOVQ   (R0), F25
	VEOR    KA.B16, BASE.B16, BASE.B16
	MOVD    ZR, R10

	// Group 0: the key stream.
	COUNTUP
	ROUND(KA)
	FLDPQ   16(R0), (F25, F26)
	ROUND(KA)
	ROUND(KB)
	FLDPQ   48(R0), (F25, F26)
	ROUND(KA)
	ROUND(KB)
	FLDPQ   80(R0), (F25, F26)
	ROUND(KA)
	ROUND(KB)
	FLDPQ   112(R0), (F25, F26)
	ROUND(KA)
	ROUND(KB)
	FLDPQ   144(R0), (F25, F26)
	LASTROUND(KA)
	VEOR    KB.B16, X1.B16, MASK.B16

	// Additional data: block by block while there are more than two. The last two, the second of which may be short, go
	// to C0 and C1.
	FMOVQ   LAST(R0), F22
	CMP     $32, R6
	BLS     pair

single:
	FMOVQ.P 16(R5), F8
	VREV64  C0.B16, C0.B16
	VEOR    HASH.B16, C0.B16, C0.B16
	MULTIPLY(HA, C0)
	REDUCE
	SUB     $16, R6
	CMP     $32, R6
	BHI     single

pair:
	VEOR    C0.B16, C0.B16, C0.B16
	CMP     $16, R6
	BLS     second
	FMOVQ.P 16(R5), F8
	VREV64  C0.B16, C0.B16
	SUB     $16, R6

second:
	VEOR    HASH.B16, C0.B16, C0.B16
	ADD     R6, R5, R20
	MOVD    R6, R21
	CALL    part<>(SB)
	VREV64  T0.B16, C1.B16

	// Group 0: six blocks of the source.
	CMP     $96, R4
	BLO     few
	SUB     $96, R4
	FLDPQ.P 32(R3), (F10, F11)
	FLDPQ.P 32(R3), (F12, F13)
	FLDPQ.P 32(R3), (F14, F15)
	XOR3(C2, KB, X2)
	XOR3(C3, KB, X3)
	XOR3(C4, KB, X4)
	XOR3(C5, KB, X5)
	XOR3(C6, KB, X6)
	XOR3(C7, KB, X7)
	FSTPQ.P (F2, F3), 32(R2)
	FSTPQ.P (F4, F5), 32(R2)
	FSTPQ.P (F6, F7), 32(R2)
	CBNZ    R7, opensix
	VREV64  X2.B16, C2.B16
	VREV64  X3.B16, C3.B16
	VREV64  X4.B16, C4.B16
	VREV64  X5.B16, C5.B16
	VREV64  X6.B16, C6.B16
	VREV64  X7.B16, C7.B16
	B       loop

opensix:
	VREV64  C2.B16, C2.B16
	VREV64  C3.B16, C3.B16
	VREV64  C4.B16, C4.B16
	VREV64  C5.B16, C5.B16
	VREV64  C6.B16, C6.B16
	VREV64  C7.B16, C7.B16

loop:
	// The key stream of one group, and the hash of the one before.
	COUNTUP
	ROUND(KA)
	FIRSTPAIR(C0, C1, 0)
	FLDPQ   16(R0), (F25, F26)
	ROUND(KA)
	PAIR(C2, C3, 1)
	ROUND(KB)
	PAIR(C4, C5, 2)
	FLDPQ   48(R0), (F25, F26)
	ROUND(KA)
	PAIR(C6, C7, 3)
	ROUND(KB)
	XOR3(LOW, HIGH, MIDDLE)
	FLDPQ   80(R0), (F25, F26)
	ROUND(KA)
	REDUCE
	ROUND(KB)
	FLDPQ   112(R0), (F25, F26)
	ROUND(KA)
	ROUND(KB)
	FLDPQ   144(R0), (F25, F26)
	LASTROUND(KA)
	SUBS    $128, R4
	BLO     tail
	FLDPQ.P 32(R3), (F8, F9)
	FLDPQ.P 32(R3), (F10, F11)
	FLDPQ.P 32(R3), (F12, F13)
	FLDPQ.P 32(R3), (F14, F15)
	XOR3(C0, KB, X0)
	XOR3(C1, KB, X1)
	XOR3(C2, KB, X2)
	XOR3(C3, KB, X3)
	XOR3(C4, KB, X4)
	XOR3(C5, KB, X5)
	XOR3(C6, KB, X6)
	XOR3(C7, KB, X7)
	FSTPQ.P (F0, F1), 32(R2)
	FSTPQ.P (F2, F3), 32(R2)
	FSTPQ.P (F4, F5), 32(R2)
	FSTPQ.P (F6, F7), 32(R2)
	CBNZ    R7, open
	VREV64  X0.B16, C0.B16
	VREV64  X1.B16, C1.B16
	VREV64  X2.B16, C2.B16
	VREV64  X3.B16, C3.B16
	VREV64  X4.B16, C4.B16
	VREV64  X5.B16, C5.B16
	VREV64  X6.B16, C6.B16
	VREV64  X7.B16, C7.B16
	VEOR    HASH.B16, C0.B16, C0.B16
	B       loop

open:
	VREV64  C0.B16, C0.B16
	VREV64  C1.B16, C1.B16
	VREV64  C2.B16, C2.B16
	VREV64  C3.B16, C3.B16
	VREV64  C4.B16, C4.B16
	VREV64  C5.B16, C5.B16
	VREV64  C6.B16, C6.B16
	VREV64  C7.B16, C7.B16
	VEOR    HASH.B16, C0.B16, C0.B16
	B       loop

few:
	// Fewer than six blocks: only the additional data can be hashed.
	FMOVQ   (LAST-16)(R0), F22
	FMOVQ   LAST(R0), F23
	MULTIPLY(HA, C0)
	MULTIPLYADD(HB, C1)
	REDUCE
	FSTPQ   (F2, F3), scratch-128(SP)
	FSTPQ   (F4, F5), scratch-96(SP)
	FSTPQ   (F6, F7), scratch-64(SP)
	B       rest

tail:
	ADD     $128, R4
	FSTPQ   (F0, F1), scratch-128(SP)
	FSTPQ   (F2, F3), scratch-96(SP)
	FSTPQ   (F4, F5), scratch-64(SP)
	FSTPQ   (F6, F7), scratch-32(SP)

rest:
	// Up to eight blocks, the last of which may be short, and the block of lengths in bits. The latter is multiplied by
	// H^1, so n blocks before it by H^(n+1) to H^2, and the hash so far as the first block. Its product is added last,
	// as it is known last.
	ADD     $15, R4, R8
	AND     $~15, R8
	MOVD    $LAST, R12
	ADD     R0, R12
	SUB     R8, R12
	MOVD    $scratch-128(SP), R13
	FMOVQ   (R12), F23
	VEOR    LOW.B16, LOW.B16, LOW.B16
	VEOR    HIGH.B16, HIGH.B16, HIGH.B16
	VEOR    MIDDLE.B16, MIDDLE.B16, MIDDLE.B16
	CMP     $16, R4
	BLO     last

block:
	FMOVQ.P 16(R13), F0
	FMOVQ.P 16(R3), F8
	FMOVQ.P 16(R12), F22
	XOR3(C0, KB, X0)
	FMOVQ.P F0, 16(R2)
	CBNZ    R7, opened
	VREV64  X0.B16, C0.B16
	MULTIPLYADD(HA, C0)
	SUB     $16, R4
	CMP     $16, R4
	BHS     block
	B       last

opened:
	VREV64  C0.B16, C0.B16
	MULTIPLYADD(HA, C0)
	SUB     $16, R4
	CMP     $16, R4
	BHS     block

last:
	CBZ     R4, lengths
	FMOVQ   (R13), F0
	ADD     R4, R3, R20
	MOVD    R4, R21
	CALL    part<>(SB)
	XOR3(T0, KB, X0)
	MOVD    $ones<>+16(SB), R8
	SUB     R4, R8
	FMOVQ   (R8), F21
	VAND    T2.B16, X0.B16, X1.B16
	CBZ     R7, sealed
	VMOV    T0.B16, X1.B16

sealed:
	FMOVQ.P 16(R12), F22
	VREV64  X1.B16, C0.B16
	MULTIPLYADD(HA, C0)
	TBZ     $3, R4, store4
	FMOVD.P F0, 8(R2)
	VEXT    $8, X0.B16, X0.B16, X0.B16

store4:
	TBZ     $2, R4, store2
	FMOVS.P F0, 4(R2)
	VEXT    $4, X0.B16, X0.B16, X0.B16

store2:
	VMOV    X0.S[0], R8
	TBZ     $1, R4, store1
	MOVH.P  R8, 2(R2)
	LSR     $16, R8

store1:
	TBZ     $0, R4, lengths
	MOVB    R8, (R2)

lengths:
	MOVD    src_len+48(FP), R8
	MOVD    aad_len+72(FP), R9
	LSL     $3, R8
	LSL     $3, R9
	FMOVD   R9, F8
	VMOV    R8, C0.D[1]
	FMOVQ   (R12), F22
	MULTIPLYADD(HA, C0)
	MULTIPLYADD(HB, HASH)
	REDUCE
	VREV64  HASH.B16, HASH.B16
	VEOR    MASK.B16, HASH.B16, HASH.B16
	MOVD    tag+88(FP), R8
	FMOVQ   F28, (R8)
	RET

// part sets T0 to the R21 < 17 bytes before R20 and zeros. It changes R8 and R20.
TEXT part<>(SB), NOSPLIT|NOFRAME, $0-0
	TBNZ    $4, R21, whole
	VEOR    T0.B16, T0.B16, T0.B16
	VEOR    T1.B16, T1.B16, T1.B16
	TBZ     $0, R21, load2
	MOVBU.W -1(R20), R8
	VMOV    R8, T0.B[0]

load2:
	TBZ     $1, R21, load4
	MOVHU.W -2(R20), R8
	VEXT    $14, T0.B16, T1.B16, T0.B16
	VMOV    R8, T0.H[0]

load4:
	TBZ     $2, R21, load8
	MOVWU.W -4(R20), R8
	VEXT    $12, T0.B16, T1.B16, T0.B16
	VMOV    R8, T0.S[0]

load8:
	TBZ     $3, R21, loaded
	MOVD.W  -8(R20), R8
	VEXT    $8, T0.B16, T1.B16, T0.B16
	VMOV    R8, T0.D[0]

loaded:
	RET

whole:
	FMOVQ   -16(R20), F19
	RET
