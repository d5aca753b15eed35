//go:build !purego

#define CRYPT ·cryptPMULL

#define XOR3(a, b, sum) \
	VEOR a.B16, sum.B16, sum.B16 \
	VEOR b.B16, sum.B16, sum.B16

#include "crypt_arm64.h"

// Makes all four columns the last word of a round key, rotated by a byte.
DATA rotate<>+0x00(SB)/8, $0x0c0f0e0d0c0f0e0d
DATA rotate<>+0x08(SB)/8, $0x0c0f0e0d0c0f0e0d
GLOBL rotate<>(SB), (NOPTR+RODATA), $16

// EXPAND makes the next round key of KA (FIPS 197 section 5.2) and stores it. With four equal columns and a round key
// of zeros AESE only substitutes bytes. MASK is zero.
#define EXPAND(constant, offset) \
	MOVD  $constant, R8 \
	VDUP  R8, T1.S4 \
	VTBL  KB.B16, [KA.B16], T0.B16 \
	AESE  MASK.B16, T0.B16 \
	VEXT  $12, KA.B16, MASK.B16, T2.B16 \
	VEOR  T2.B16, KA.B16, KA.B16 \
	VEXT  $8, KA.B16, MASK.B16, T2.B16 \
	XOR3(T2, T1, KA) \
	VEOR  T0.B16, KA.B16, KA.B16 \
	FMOVQ F25, offset(R0)

// ENCRYPT is a round of encrypting the block of zeros, which makes H.
#define ENCRYPT \
	AESE  KA.B16, X0.B16 \
	AESMC X0.B16, X0.B16

// POWER stores HASH as H^n.
#define POWER(n) \
	FMOVQ F28, (LAST+16-16*n)(R0)

// func expand(k *expanded, key *[KeyLen]byte)
TEXT ·expand(SB), NOSPLIT, $0-16
	MOVD  k+0(FP), R0
	MOVD  key+8(FP), R1
	MOVD  $rotate<>(SB), R2
	FMOVQ (R2), F26
	VEOR  MASK.B16, MASK.B16, MASK.B16
	VEOR  X0.B16, X0.B16, X0.B16
	FMOVQ (R1), F25
	FMOVQ F25, (R0)
	ENCRYPT
	EXPAND(0x01, 16)
	ENCRYPT
	EXPAND(0x02, 32)
	ENCRYPT
	EXPAND(0x04, 48)
	ENCRYPT
	EXPAND(0x08, 64)
	ENCRYPT
	EXPAND(0x10, 80)
	ENCRYPT
	EXPAND(0x20, 96)
	ENCRYPT
	EXPAND(0x40, 112)
	ENCRYPT
	EXPAND(0x80, 128)
	ENCRYPT
	EXPAND(0x1B, 144)
	AESE  KA.B16, X0.B16
	EXPAND(0x36, 160)
	VEOR  KA.B16, X0.B16, X0.B16

	// H times x: a shift by one bit, and the bit that falls out comes back as the field's polynomial.
	MOVD  $0xC200000000000000, R8
	FMOVD R8, F29
	MOVD  $1, R9
	VMOV  POLY.B16, T0.B16
	VMOV  R9, T0.D[1]
	VREV64 X0.B16, X0.B16
	VMOV  X0.D[0], R8
	ASR   $63, R8
	VDUP  R8, T1.D2
	VAND  T0.B16, T1.B16, T1.B16
	VUSHR $63, X0.D2, T2.D2
	VEXT  $8, MASK.B16, T2.B16, T2.B16
	VSHL  $1, X0.D2, X0.D2
	VEOR  T1.B16, X0.B16, X0.B16
	VEOR  T2.B16, X0.B16, X0.B16
	VMOV  X0.B16, HASH.B16
	POWER(1)
	MULTIPLY(X0, X0)
	REDUCE
	POWER(2)
	VMOV  HASH.B16, X1.B16
	MULTIPLY(X0, X1)
	REDUCE
	POWER(3)
	VMOV  HASH.B16, X2.B16
	MULTIPLY(X1, X1)
	REDUCE
	POWER(4)
	VMOV  HASH.B16, X3.B16
	MULTIPLY(X0, X3)
	REDUCE
	POWER(5)
	VMOV  HASH.B16, X4.B16
	MULTIPLY(X1, X3)
	REDUCE
	POWER(6)
	VMOV  HASH.B16, X5.B16
	MULTIPLY(X2, X3)
	REDUCE
	POWER(7)
	VMOV  HASH.B16, X6.B16
	MULTIPLY(X3, X3)
	REDUCE
	POWER(8)
	VMOV  HASH.B16, X7.B16
	MULTIPLY(X0, X7)
	REDUCE
	POWER(9)

	// Sums of halves.
	VTRN1 X6.D2, X7.D2, T0.D2
	VTRN2 X6.D2, X7.D2, T1.D2
	VEOR  T0.B16, T1.B16, T0.B16
	FMOVQ F19, HALVES(R0)
	VTRN1 X4.D2, X5.D2, T0.D2
	VTRN2 X4.D2, X5.D2, T1.D2
	VEOR  T0.B16, T1.B16, T0.B16
	FMOVQ F19, (HALVES+16)(R0)
	VTRN1 X2.D2, X3.D2, T0.D2
	VTRN2 X2.D2, X3.D2, T1.D2
	VEOR  T0.B16, T1.B16, T0.B16
	FMOVQ F19, (HALVES+32)(R0)
	VTRN1 X0.D2, X1.D2, T0.D2
	VTRN2 X0.D2, X1.D2, T1.D2
	VEOR  T0.B16, T1.B16, T0.B16
	FMOVQ F19, (HALVES+48)(R0)
	RET
