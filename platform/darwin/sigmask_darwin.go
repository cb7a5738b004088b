package darwin

import (
	"syscall"
	"unsafe"
)

// pthread_sigmask(3) is called as package unix calls libSystem without cgo: the
// numbers of raw system calls are nothing that macOS promises to keep. The Go
// runtime needs the same function, so that it is always there.

//go:cgo_import_dynamic libc_pthread_sigmask pthread_sigmask "/usr/lib/libSystem.B.dylib"

// pthreadSigmaskAddr is where it is (sigmask_darwin.s).
var pthreadSigmaskAddr uintptr

// rawSyscall is the runtime's; package unix links to it by the same name.
//
//go:linkname rawSyscall syscall.rawSyscall
func rawSyscall(fn, a1, a2, a3 uintptr) (r1, r2 uintptr, err syscall.Errno)

// setMask sets the calling thread's mask of blocked signals (sigset_t is 32 bits),
// and returns what it was. It fails only for a wrong call.
func setMask(set uint32) (old uint32) {
	const sigSetmask = 3 // SIG_SETMASK, sys/signal.h
	rawSyscall(pthreadSigmaskAddr, sigSetmask, uintptr(unsafe.Pointer(&set)), uintptr(unsafe.Pointer(&old)))
	return old
}
