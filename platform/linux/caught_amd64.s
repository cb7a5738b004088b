//go:build linux && !portable

#include "textflag.h"

// The kernel calls it with the signal's number in DI, and its siginfo_t in SI.
TEXT ·handler(SB), NOSPLIT|NOFRAME, $0
	CMPL DI, $31           // SIGSYS
	JNE  tell
	CMPL 8(SI), $0         // si_code: above 0 a filter (seccomp(2)) refused our own system call,
	JGT  refused           // and nobody would be told of it
tell:
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
refused:
	INT  $3                // blocked here, so it ends us

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
