#include "textflag.h"

// See sigmask_darwin.go.
TEXT pthreadSigmask<>(SB), NOSPLIT, $0-0
	JMP libc_pthread_sigmask(SB)

GLOBL ·pthreadSigmaskAddr(SB), RODATA, $8
DATA ·pthreadSigmaskAddr(SB)/8, $pthreadSigmask<>(SB)
