//go:build !purego

// AES-128-GCM on 256-bit vectors: two AES blocks to a register.

#define CRYPT ·cryptAVX2
#define LANES 2

#define V0 Y0
#define V1 Y1
#define V2 Y2
#define V3 Y3
#define V4 Y4
#define V5 Y5
#define V6 Y6
#define V7 Y7
#define V8 Y8
#define V9 Y9
#define V10 Y10
#define V11 Y11
#define V12 Y12
#define V13 Y13
#define V14 Y14

#define KEY(n) VBROADCASTI128 (ROUNDS+16*n)(AX), Y13

#define SPREAD(x, v) VINSERTI128 $1, x, v, v

#define SUM \
	VEXTRACTI128 $1, Y9, X11 \
	VPXOR        X9, X11, X14

#define REST CALL rest<>(SB)

#define LOWER \
	TESTL        $16, CX \
	JEQ          quads \
	VMOVDQU      X0, (DI) \
	ADDQ         $16, DI \
	VEXTRACTI128 $1, Y0, X0

#include "crypt_amd64.h"

// rest sets Y10 to the DX bytes at BX, 1 to 31 of them, and zeros. It changes BX, DX, R13, R14 and X11.
TEXT rest<>(SB), NOSPLIT|NOFRAME, $0-0
	CMPQ    DX, $16
	JLT     short
	VMOVDQU (BX), X10
	ADDQ    $16, BX
	SUBQ    $16, DX
	CALL    short<>(SB)
	VINSERTI128 $1, X11, Y10, Y10
	RET

short:
	CALL    short<>(SB)
	VMOVDQA X11, X10
	RET
