// AES-128-GCM on vectors without masks: six registers to a group. Each kernel includes this with its own definitions of
//
//	CRYPT          the name of the function
//	LANES          the number of blocks in a register, one or two
//	V0-V14         the registers of that width
//	KEY(n)         sets every lane of V13 to round key n
//	SPREAD(x, v)   sets every lane of v to x, which is its first
//	SUM            sets HASH to the sum of HIGH's lanes
//	REST           sets V10 to the DX bytes at BX, less than a register, and zeros; as short does, it changes BX and DX
//	LOWER          writes V0's first lane if more follows, and moves the other there
//
// avx512_amd64.s explains how GHASH is computed and how powers of H are kept. There are 16 registers only. So this
// differs:
//
//   - Round keys and powers are read from memory where they are used.
//   - Blocks to hash are read again. A group that is opened comes from the source, before it is overwritten in place. A
//     group that is sealed comes from the destination, while the next is encrypted.
//   - A product takes three multiplications instead of four (Karatsuba), as many processors are slow at them. MID is
//     the product of the sums of halves: LOW and HIGH too much.
//   - At the end the key stream lies on the stack, and blocks are hashed a register at a time.
//
// Six registers and not four: a round's latency is that of eight, and the processor looks ahead less than a group.
//
// Nothing branches on or addresses memory by anything secret; lengths are public.
//
// Registers, all through this file; Xn is the first lane of Vn:
//
//	V0-V5   blocks: counters, key stream
//	V6      COUNTER: the next counter blocks, bytes reversed
//	V7-V9   LOW, MID, HIGH
//	V10     blocks to hash
//	V11-V12 temporary
//	V13     a round key
//	V14     HASH: GHASH so far, bytes reversed, in the first lane; zero in the other
//	X15     MASK: the encrypted first counter block, which hides the tag
//
//	AX  the expanded key     DI  destination             SI  source       CX  bytes left of it
//	R8  the group to hash    R9  additional data         R10 bytes left of it
//	R11 the next powers      R12 the next key stream     BX, DX, R13, R14 temporary

#include "textflag.h"

#define COUNTER V6
#define LOW V7
#define MID V8
#define HIGH V9
#define HASH V14
#define REVERSE reverse<>(SB)

// Lengths in bytes.
#define WIDTH (16*LANES)
#define GROUP (6*WIDTH)

// Offsets in the expanded key: the round keys, then up to H^1.
#define ROUNDS 0
#define LAST 368

// The shuffle that reverses the bytes of each lane.
DATA reverse<>+0(SB)/8, $0x08090A0B0C0D0E0F
DATA reverse<>+8(SB)/8, $0x0001020304050607
DATA reverse<>+16(SB)/8, $0x08090A0B0C0D0E0F
DATA reverse<>+24(SB)/8, $0x0001020304050607
GLOBL reverse<>(SB), RODATA|NOPTR, $32

DATA field<>+0(SB)/8, $1
DATA field<>+8(SB)/8, $0xC200000000000000
DATA field<>+16(SB)/8, $1
DATA field<>+24(SB)/8, $0xC200000000000000
GLOBL field<>(SB), RODATA|NOPTR, $32

// The counters of the first blocks, less the tag's.
DATA first<>+0(SB)/8, $1
DATA first<>+8(SB)/8, $0
DATA first<>+16(SB)/8, $2
DATA first<>+24(SB)/8, $0
GLOBL first<>(SB), RODATA|NOPTR, $32

// How far a register's counters are from the next register's.
DATA step<>+0(SB)/8, $LANES
DATA step<>+8(SB)/8, $0
DATA step<>+16(SB)/8, $LANES
DATA step<>+24(SB)/8, $0
GLOBL step<>(SB), RODATA|NOPTR, $32

// The register at 32-n keeps n bytes.
DATA keep<>+0(SB)/8, $-1
DATA keep<>+8(SB)/8, $-1
DATA keep<>+16(SB)/8, $-1
DATA keep<>+24(SB)/8, $-1
DATA keep<>+32(SB)/8, $0
DATA keep<>+40(SB)/8, $0
DATA keep<>+48(SB)/8, $0
DATA keep<>+56(SB)/8, $0
GLOBL keep<>(SB), RODATA|NOPTR, $64

// COUNT makes the next counter blocks in y, and adds the first round key.
#define COUNT(y) \
	VPSHUFB REVERSE, COUNTER, y \
	VPADDD  step<>(SB), COUNTER, COUNTER \
	VPXOR   V13, y, y

#define COUNT6 \
	KEY(0) \
	COUNT(V0) \
	COUNT(V1) \
	COUNT(V2) \
	COUNT(V3) \
	COUNT(V4) \
	COUNT(V5)

// ROUND6 is round n of AES for a group.
#define ROUND6(n) \
	KEY(n) \
	VAESENC V13, V0, V0 \
	VAESENC V13, V1, V1 \
	VAESENC V13, V2, V2 \
	VAESENC V13, V3, V3 \
	VAESENC V13, V4, V4 \
	VAESENC V13, V5, V5

// FINISH is the last round, which adds its key, for register n of a group. The source is added to that key first.
#define FINISH(y, n) \
	VPXOR       (n*WIDTH)(SI), V13, V12 \
	VAESENCLAST V12, y, y \
	VMOVDQU     y, (n*WIDTH)(DI)

#define FINISH6 \
	KEY(10) \
	FINISH(V0, 0) \
	FINISH(V1, 1) \
	FINISH(V2, 2) \
	FINISH(V3, 3) \
	FINISH(V4, 4) \
	FINISH(V5, 5) \
	ADDQ $GROUP, SI \
	ADDQ $GROUP, DI \
	SUBQ $GROUP, CX

// MULTIPLY sets the product to V10 times h, lane by lane, with MID uncorrected.
#define MULTIPLY(h) \
	VPSHUFD    $0x4E, h, V12 \
	VPSHUFD    $0x4E, V10, V11 \
	VPXOR      h, V12, V12 \
	VPXOR      V10, V11, V11 \
	VPCLMULQDQ $0x00, h, V10, LOW \
	VPCLMULQDQ $0x00, V12, V11, MID \
	VPCLMULQDQ $0x11, h, V10, HIGH

// MULTIPLYADD adds V10 times h to the product.
#define MULTIPLYADD(h) \
	VPSHUFD    $0x4E, h, V12 \
	VPSHUFD    $0x4E, V10, V11 \
	VPXOR      h, V12, V12 \
	VPXOR      V10, V11, V11 \
	VPCLMULQDQ $0x00, V12, V11, V12 \
	VPCLMULQDQ $0x00, h, V10, V11 \
	VPCLMULQDQ $0x11, h, V10, V10 \
	VPXOR      V12, MID, MID \
	VPXOR      V11, LOW, LOW \
	VPXOR      V10, HIGH, HIGH

// FOLD1 corrects MID and clears the low 64 bits, FOLD2 the next 64. The product modulo the field's polynomial is left
// in HIGH, lane by lane.
#define FOLD1 \
	VPXOR      LOW, MID, MID \
	VPXOR      HIGH, MID, MID \
	VPCLMULQDQ $0x10, field<>(SB), LOW, V11 \
	VPSHUFD    $0x4E, LOW, LOW \
	VPXOR      V11, MID, MID \
	VPXOR      LOW, MID, MID

#define FOLD2 \
	VPCLMULQDQ $0x10, field<>(SB), MID, V11 \
	VPSHUFD    $0x4E, MID, MID \
	VPXOR      V11, HIGH, HIGH \
	VPXOR      MID, HIGH, HIGH

// FIRST sets the product to the first register of the group to hash, and the hash so far, times their powers.
#define FIRST \
	VMOVDQU (R8), V10 \
	VPSHUFB REVERSE, V10, V10 \
	VPXOR   HASH, V10, V10 \
	MULTIPLY((LAST+16-GROUP)(AX))

// NEXT adds register n.
#define NEXT(n) \
	VMOVDQU (n*WIDTH)(R8), V10 \
	VPSHUFB REVERSE, V10, V10 \
	MULTIPLYADD((LAST+16-GROUP+n*WIDTH)(AX))

// ENCRYPT is all rounds but the last for a group.
#define ENCRYPT \
	COUNT6 \
	ROUND6(1) \
	ROUND6(2) \
	ROUND6(3) \
	ROUND6(4) \
	ROUND6(5) \
	ROUND6(6) \
	ROUND6(7) \
	ROUND6(8) \
	ROUND6(9)

// ENCRYPTHASH is that, and hashes a group. The hash begins late, as it waits for that group to be encrypted, and fills
// the pauses between rounds.
#define ENCRYPTHASH \
	COUNT6 \
	ROUND6(1) \
	ROUND6(2) \
	FIRST \
	ROUND6(3) \
	NEXT(1) \
	ROUND6(4) \
	NEXT(2) \
	ROUND6(5) \
	NEXT(3) \
	ROUND6(6) \
	NEXT(4) \
	ROUND6(7) \
	NEXT(5) \
	ROUND6(8) \
	FOLD1 \
	ROUND6(9) \
	FOLD2 \
	SUM

// SOME adds the blocks in V10 times the next powers to the product. Blocks of zeros may follow them.
#define SOME \
	VPSHUFB REVERSE, V10, V10 \
	VPXOR   HASH, V10, V10 \
	VPXOR   X14, X14, X14 \
	MULTIPLYADD((R11)) \
	ADDQ    $WIDTH, R11

#define CLEAR \
	VPXOR X7, X7, X7 \
	VPXOR X8, X8, X8 \
	VPXOR X9, X9, X9

// short sets X11 to the DX bytes at BX, up to 15 of them, and zeros.
TEXT short<>(SB), NOSPLIT|NOFRAME, $0-0
	ADDQ    DX, BX
	XORL    R13, R13
	TESTL   $1, DX
	JEQ     words
	DECQ    BX
	MOVBLZX (BX), R13

words:
	TESTL   $2, DX
	JEQ     longs
	SUBQ    $2, BX
	SHLQ    $16, R13
	MOVW    (BX), R13

longs:
	VPXOR X11, X11, X11
	TESTL $4, DX
	JEQ   quads
	SUBQ  $4, BX
	MOVL  (BX), R14
	SHLQ  $32, R13
	ORQ   R14, R13

quads:
	TESTL   $8, DX
	JEQ     alone
	VMOVQ   -8(BX), X11
	VPINSRQ $1, R13, X11, X11
	RET

alone:
	VMOVQ R13, X11
	RET

// func crypt(k *expanded, nonce *[NonceLen]byte, dst, src, aad []byte, tag *[TagLen]byte, open bool)
TEXT CRYPT(SB), 0, $192-97
	MOVQ k+0(FP), AX
	MOVQ nonce+8(FP), BX
	MOVQ dst_base+16(FP), DI
	MOVQ src_base+40(FP), SI
	MOVQ src_len+48(FP), CX
	MOVQ aad_base+64(FP), R9
	MOVQ aad_len+72(FP), R10

	// Stage 1: the first counter block, nonce and 1, hides the tag; the others count on from it.
	VMOVQ       (BX), X15
	VPINSRD     $2, 8(BX), X15, X15
	MOVL        $0x01000000, DX
	VPINSRD     $3, DX, X15, X15
	VPSHUFB     REVERSE, X15, X6
	SPREAD(X6, COUNTER)
	VPADDD      first<>(SB), COUNTER, COUNTER
	VPXOR       (ROUNDS+0)(AX), X15, X15
	VAESENC     (ROUNDS+16)(AX), X15, X15
	VAESENC     (ROUNDS+32)(AX), X15, X15
	VAESENC     (ROUNDS+48)(AX), X15, X15
	VAESENC     (ROUNDS+64)(AX), X15, X15
	VAESENC     (ROUNDS+80)(AX), X15, X15
	VAESENC     (ROUNDS+96)(AX), X15, X15
	VAESENC     (ROUNDS+112)(AX), X15, X15
	VAESENC     (ROUNDS+128)(AX), X15, X15
	VAESENC     (ROUNDS+144)(AX), X15, X15
	VAESENCLAST (ROUNDS+160)(AX), X15, X15

	// Stage 2: hash the additional data, a register at a time. The last powers are for it.
	VPXOR X14, X14, X14

header:
	TESTQ   R10, R10
	JEQ     hashed
	CLEAR
	LEAQ    (LAST+16-WIDTH)(AX), R11
	CMPQ    R10, $WIDTH
	JLT     headerrest
	VMOVDQU (R9), V10
	ADDQ    $WIDTH, R9
	SUBQ    $WIDTH, R10
	JMP     headerhash

headerrest:
	LEAQ 15(R10), BX
	ANDQ $-16, BX
	LEAQ (LAST+16)(AX), R11
	SUBQ BX, R11
	MOVQ R9, BX
	MOVQ R10, DX
	REST
	XORL R10, R10

headerhash:
	SOME
	FOLD1
	FOLD2
	SUM
	JMP header

	// Stage 3: whole groups. The first that is sealed is encrypted before there is one to hash.
hashed:
	CMPB open+96(FP), $0
	JNE  opening
	CMPQ CX, $GROUP
	JLT  alone
	MOVQ DI, R8
	ENCRYPT
	FINISH6
	CMPQ CX, $GROUP
	JLT  both

group:
	ENCRYPTHASH
	FINISH6
	ADDQ $GROUP, R8
	CMPQ CX, $GROUP
	JGE  group
	CMPB open+96(FP), $0
	JEQ  both
	JMP  alone

opening:
	MOVQ SI, R8
	CMPQ CX, $GROUP
	JGE  group

	// Stage 4: less than a group, and the block that has the lengths in bits. The latter is multiplied by H^1, so n
	// blocks before it by H^(n+1) to H^2. Sealing has a group left to hash.
alone:
	TESTQ CX, CX
	JEQ   powers
	ENCRYPT
	JMP   stream

both:
	ENCRYPTHASH

stream:
	KEY(10)
	VAESENCLAST V13, V0, V0
	VAESENCLAST V13, V1, V1
	VAESENCLAST V13, V2, V2
	VAESENCLAST V13, V3, V3
	VAESENCLAST V13, V4, V4
	VAESENCLAST V13, V5, V5
	LEAQ        stream-192(SP), R12
	VMOVDQU     V0, (R12)
	VMOVDQU     V1, WIDTH(R12)
	VMOVDQU     V2, (2*WIDTH)(R12)
	VMOVDQU     V3, (3*WIDTH)(R12)
	VMOVDQU     V4, (4*WIDTH)(R12)
	VMOVDQU     V5, (5*WIDTH)(R12)

powers:
	LEAQ 15(CX), BX
	ANDQ $-16, BX
	LEAQ LAST(AX), R11
	SUBQ BX, R11
	CLEAR

whole:
	CMPQ    CX, $WIDTH
	JLT     some
	VMOVDQU (SI), V10
	VPXOR   (R12), V10, V0
	VMOVDQU V0, (DI)
	CMPB    open+96(FP), $0
	JNE     opened
	VMOVDQA V0, V10

opened:
	SOME
	ADDQ $WIDTH, SI
	ADDQ $WIDTH, DI
	ADDQ $WIDTH, R12
	SUBQ $WIDTH, CX
	JMP  whole

some:
	TESTQ CX, CX
	JEQ   lengths
	MOVQ  SI, BX
	MOVQ  CX, DX
	REST
	VPXOR (R12), V10, V0
	CMPB  open+96(FP), $0
	JNE   write
	LEAQ  keep<>+32(SB), BX
	SUBQ  CX, BX
	VPAND (BX), V0, V10

write:
	LOWER

quads:
	VMOVQ   X0, BX
	TESTL   $8, CX
	JEQ     longs
	MOVQ    BX, (DI)
	ADDQ    $8, DI
	VPEXTRQ $1, X0, BX

longs:
	TESTL $4, CX
	JEQ   words
	MOVL  BX, (DI)
	ADDQ  $4, DI
	SHRQ  $32, BX

words:
	TESTL $2, CX
	JEQ   bytes
	MOVW  BX, (DI)
	ADDQ  $2, DI
	SHRQ  $16, BX

bytes:
	TESTL $1, CX
	JEQ   written
	MOVB  BX, (DI)

written:
	SOME

lengths:
	MOVQ    src_len+48(FP), BX
	MOVQ    aad_len+72(FP), DX
	SHLQ    $3, BX
	SHLQ    $3, DX
	VMOVQ   BX, X10
	VPINSRQ $1, DX, X10, X10
	VPXOR   X14, X10, X10
	MULTIPLYADD(LAST(AX))
	FOLD1
	FOLD2
	SUM

	// Stage 5: the tag.
	VPSHUFB REVERSE, X14, X14
	VPXOR   X15, X14, X14
	MOVQ    tag+88(FP), BX
	VMOVDQU X14, (BX)
	VZEROUPPER
	RET
