//go:build linux && (amd64 || arm64) && !portable

package linux

import "syscall"

// handlerPC and returnPC are where the handler, and the return from it, begin
// (the assembly beside this file).
var handlerPC, returnPC uintptr

// The handler runs on the signal stack that each thread of the runtime has. It
// touches nothing of the runtime, and the kernel restores all registers
// (sigreturn(2)), so it may interrupt anything. Nothing else of the program sets
// these signals (package os/signal would), and execve(2) resets them in children.
func install(s syscall.Signal) {
	const siginfo, onstack, restart, restorer, nocldstop = 4, 0x08000000, 0x10000000, 0x04000000, 1 // asm-generic/signal-defs.h
	setAction(s, sigaction{handler: handlerPC, flags: siginfo | onstack | restart | restorer | nocldstop,
		restorer: returnPC, mask: ^uint64(0)})
}

const handlerIsOurs = true
