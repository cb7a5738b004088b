//go:build linux && !portable

#include "textflag.h"

// The kernel calls it with the signal's number in DI.
TEXT ·handler(SB), NOSPLIT|NOFRAME, $0
	MOVQ DI, CX
	MOVL $1, AX
	SHLQ CX, AX
	LOCK
	ORQ  AX, ·caught(SB)
	MOVL ·bell(SB), DI
	LEAQ ·strike(SB), SI
	MOVL $8, DX
	MOVL $1, AX            // write(2)
	SYSCALL
	RET                    // to whereToReturn

// x86 needs it (sigaction(2), SA_RESTORER).
TEXT ·whereToReturn(SB), NOSPLIT|NOFRAME, $0
	MOVL $15, AX           // rt_sigreturn(2)
	SYSCALL
	INT  $3

// Addresses as data: Go's own would be those of wrappers, which need a goroutine.
DATA ·handlerPC(SB)/8, $·handler(SB)
GLOBL ·handlerPC(SB), NOPTR, $8
DATA ·returnPC(SB)/8, $·whereToReturn(SB)
GLOBL ·returnPC(SB), NOPTR, $8
