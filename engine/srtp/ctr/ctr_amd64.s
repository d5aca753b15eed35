//go:build !purego

// AES-128 in counter mode. A processor starts one or two AES rounds in each cycle, and ends each about four cycles
// later. Eight blocks in flight keep it busy.
//
// Nothing branches on or addresses memory by anything secret; lengths are public.
//
// Registers, all through this file:
//
//	X0-X7   the counter blocks of a group, then their key stream
//	X8      COUNTER: the next counter block, its bytes reversed: the number is its lowest 16 bits
//	X9      REVERSE: the shuffle that reverses a register's bytes
//	X10     ONE, to advance COUNTER
//	X11     a round key, or a block of the source
//
//	AX  the expanded key   DI  destination   SI  source   CX  bytes left of it   BX  temporary

#include "textflag.h"

#define COUNTER X8
#define REVERSE X9
#define ONE X10

DATA reverse<>+0(SB)/8, $0x08090A0B0C0D0E0F
DATA reverse<>+8(SB)/8, $0x0001020304050607
GLOBL reverse<>(SB), RODATA|NOPTR, $16

DATA one<>+0(SB)/8, $1
DATA one<>+8(SB)/8, $0
GLOBL one<>(SB), RODATA|NOPTR, $16

// COUNT makes the next counter block in x and adds the first round key, X11.
#define COUNT(x) \
	MOVO   COUNTER, x \
	PSHUFB REVERSE, x \
	PADDL  ONE, COUNTER \
	PXOR   X11, x

// ROUND8 is one round of AES for a group.
#define ROUND8(offset) \
	MOVOU  offset(AX), X11 \
	AESENC X11, X0 \
	AESENC X11, X1 \
	AESENC X11, X2 \
	AESENC X11, X3 \
	AESENC X11, X4 \
	AESENC X11, X5 \
	AESENC X11, X6 \
	AESENC X11, X7

// XOR writes a block of the source XORed with x.
#define XOR(offset, x) \
	MOVOU offset(SI), X11 \
	PXOR  x, X11 \
	MOVOU X11, offset(DI)

// func xorGroups(k *expanded, iv *[IVLen]byte, block int, dst, src []byte)
TEXT ·xorGroups(SB), NOSPLIT, $0-72
	MOVQ k+0(FP), AX
	MOVQ iv+8(FP), BX
	MOVQ dst_base+24(FP), DI
	MOVQ src_base+48(FP), SI
	MOVQ src_len+56(FP), CX

	// The first counter block: the IV's 14 bytes, then the number. The number of the last block fits its 16 bits, so
	// no addition carries into the IV.
	MOVOU  reverse<>(SB), REVERSE
	MOVOU  one<>(SB), ONE
	MOVQ   (BX), COUNTER
	PINSRD $2, 8(BX), COUNTER
	PINSRW $6, 12(BX), COUNTER
	PSHUFB REVERSE, COUNTER
	MOVQ   block+16(FP), BX
	PINSRW $0, BX, COUNTER

group:
	SUBQ  $128, CX
	JLT   done
	MOVOU (AX), X11
	COUNT(X0)
	COUNT(X1)
	COUNT(X2)
	COUNT(X3)
	COUNT(X4)
	COUNT(X5)
	COUNT(X6)
	COUNT(X7)
	ROUND8(16)
	ROUND8(32)
	ROUND8(48)
	ROUND8(64)
	ROUND8(80)
	ROUND8(96)
	ROUND8(112)
	ROUND8(128)
	ROUND8(144)
	MOVOU      160(AX), X11
	AESENCLAST X11, X0
	AESENCLAST X11, X1
	AESENCLAST X11, X2
	AESENCLAST X11, X3
	AESENCLAST X11, X4
	AESENCLAST X11, X5
	AESENCLAST X11, X6
	AESENCLAST X11, X7
	XOR(0, X0)
	XOR(16, X1)
	XOR(32, X2)
	XOR(48, X3)
	XOR(64, X4)
	XOR(80, X5)
	XOR(96, X6)
	XOR(112, X7)
	ADDQ $128, SI
	ADDQ $128, DI
	JMP  group

done:
	RET

// EXPAND makes the next round key of X0 (FIPS 197 section 5.2) and stores it.
#define EXPAND(constant, offset) \
	AESKEYGENASSIST constant, X0, X1 \
	PSHUFD          $0xFF, X1, X1 \
	MOVO            X0, X2 \
	PSLLO           $4, X2 \
	PXOR            X2, X0 \
	MOVO            X0, X2 \
	PSLLO           $8, X2 \
	PXOR            X2, X0 \
	PXOR            X1, X0 \
	MOVOU           X0, offset(AX)

// func expand(k *expanded, key *[KeyLen]byte)
TEXT ·expand(SB), NOSPLIT, $0-16
	MOVQ  k+0(FP), AX
	MOVQ  key+8(FP), BX
	MOVOU (BX), X0
	MOVOU X0, (AX)
	EXPAND($0x01, 16)
	EXPAND($0x02, 32)
	EXPAND($0x04, 48)
	EXPAND($0x08, 64)
	EXPAND($0x10, 80)
	EXPAND($0x20, 96)
	EXPAND($0x40, 112)
	EXPAND($0x80, 128)
	EXPAND($0x1B, 144)
	EXPAND($0x36, 160)
	RET
