//go:build !purego

#define CRYPT ·cryptEOR3

#define XOR3(a, b, sum) \
	VEOR3 a.B16, b.B16, sum.B16, sum.B16

#include "crypt_arm64.h"
