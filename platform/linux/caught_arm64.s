//go:build linux && !portable

#include "textflag.h"

// The kernel calls it with the signal's number in R0, and its siginfo_t in R1.
TEXT ·handler(SB), NOSPLIT|NOFRAME, $0
	CMPW $31, R0           // SIGSYS
	BNE  tell
	MOVW 8(R1), R9         // si_code: above 0 a filter (seccomp(2)) refused our own system call,
	CMPW $0, R9            // and nobody would be told of it
	BGT  refused
tell:
	MOVD $·caught(SB), R9
	MOVD $1, R10
	LSL  R0, R10
again:
	LDAXR (R9), R11
	ORR   R10, R11
	STLXR R11, (R9), R12
	CBNZ  R12, again
	MOVW ·bell(SB), R0
	MOVD $·strike(SB), R1
	MOVD $8, R2
	MOVD $64, R8           // write(2)
	SVC
	RET
refused:
	BRK                    // blocked here, so it ends us

TEXT ·whereToReturn(SB), NOSPLIT|NOFRAME, $0
	MOVD $139, R8          // rt_sigreturn(2)
	SVC
	BRK

// Addresses as data: Go's own would be those of wrappers, which need a goroutine.
DATA ·handlerPC(SB)/8, $·handler(SB)
GLOBL ·handlerPC(SB), NOPTR, $8
DATA ·returnPC(SB)/8, $·whereToReturn(SB)
GLOBL ·returnPC(SB), NOPTR, $8
