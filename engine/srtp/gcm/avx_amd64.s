//go:build !purego

// AES-128-GCM on 128-bit vectors, by AVX's instructions.

#define CRYPT ·cryptAVX
#define LANES 1

#define V0 X0
#define V1 X1
#define V2 X2
#define V3 X3
#define V4 X4
#define V5 X5
#define V6 X6
#define V7 X7
#define V8 X8
#define V9 X9
#define V10 X10
#define V11 X11
#define V12 X12
#define V13 X13
#define V14 X14

#define KEY(n) VMOVDQU (ROUNDS+16*n)(AX), X13

#define SPREAD(x, v)

#define SUM VMOVDQA X9, X14

#define REST \
	CALL    short<>(SB) \
	VMOVDQA X11, X10

#define LOWER

#include "crypt_amd64.h"

// H^13 in the expanded key.
#define POWERS 176

// EXPAND makes the next round key of X0 (FIPS 197 section 5.2), stores it, and encrypts X3 with it.
#define EXPAND(constant, n) \
	VAESKEYGENASSIST constant, X0, X1 \
	VPSHUFD          $0xFF, X1, X1 \
	VPSLLDQ          $4, X0, X2 \
	VPXOR            X2, X0, X0 \
	VPSLLDQ          $8, X0, X2 \
	VPXOR            X2, X0, X0 \
	VPXOR            X1, X0, X0 \
	VMOVDQU          X0, (ROUNDS+16*n)(AX)

// func expandAVX(k *expanded, key *[KeyLen]byte)
TEXT ·expandAVX(SB), NOSPLIT, $0-16
	MOVQ k+0(FP), AX
	MOVQ key+8(FP), BX

	// Round keys in X0, and with each of them a round of encrypting the zero block in X3.
	VMOVDQU     (BX), X0
	VMOVDQU     X0, ROUNDS(AX)
	VMOVDQA     X0, X3
	EXPAND($0x01, 1)
	VAESENC     X0, X3, X3
	EXPAND($0x02, 2)
	VAESENC     X0, X3, X3
	EXPAND($0x04, 3)
	VAESENC     X0, X3, X3
	EXPAND($0x08, 4)
	VAESENC     X0, X3, X3
	EXPAND($0x10, 5)
	VAESENC     X0, X3, X3
	EXPAND($0x20, 6)
	VAESENC     X0, X3, X3
	EXPAND($0x40, 7)
	VAESENC     X0, X3, X3
	EXPAND($0x80, 8)
	VAESENC     X0, X3, X3
	EXPAND($0x1B, 9)
	VAESENC     X0, X3, X3
	EXPAND($0x36, 10)
	VAESENCLAST X0, X3, X3

	// H, its bytes reversed, divided by x: a shift to the left, and what falls out of the integer comes back as the
	// field's polynomial.
	VPSHUFB reverse<>(SB), X3, X3
	VPSRAD  $31, X3, X1
	VPSHUFD $0xFF, X1, X1
	VPAND   field<>(SB), X1, X1
	VPSRLQ  $63, X3, X2
	VPSLLDQ $8, X2, X2
	VPSLLQ  $1, X3, X3
	VPXOR   X2, X3, X3
	VPXOR   X1, X3, X0
	VMOVDQU X0, LAST(AX)

	// H^2 to H^13, one after the other.
	VMOVDQA X0, X10
	LEAQ    LAST(AX), R11
	LEAQ    POWERS(AX), BX

power:
	MULTIPLY(X0)
	FOLD1
	FOLD2
	VMOVDQA X9, X10
	SUBQ    $16, R11
	VMOVDQU X9, (R11)
	CMPQ    R11, BX
	JNE     power
	RET
