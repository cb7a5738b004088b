//go:build linux

package linux

import (
	"encoding/binary"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Signals that are only forwarded are held back from the second execve on: they are blocked,
// and read from a signalfd. Package os/signal would switch threads twice for each of some
// forty, which took 3 of 45 ms of "run -- true".

// holdable reports whether a signal can be held back: if it is blocked when the program starts,
// the Go runtime leaves it so in every thread (blockableSig in runtime/signal_unix.go), and
// nothing is done with it but to forward it.
func holdable(s syscall.Signal) bool {
	switch s {
	case unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGVTALRM, unix.SIGXCPU, unix.SIGXFSZ,
		unix.SIGWINCH, unix.SIGIO, unix.SIGPWR:
		return true
	}
	return s > 34 && s <= 64
}

// signalSet is the kernel's, of 64 signals.
type signalSet uint64

func (s *signalSet) add(n syscall.Signal)     { *s |= 1 << (n - 1) }
func (s signalSet) has(n syscall.Signal) bool { return s&(1<<(n-1)) != 0 }

// holdables are all that holdable names.
func holdables() (set signalSet) {
	for n := syscall.Signal(1); n <= 64; n++ {
		if holdable(n) {
			set.add(n)
		}
	}
	return set
}

// setMask sets which signals this thread blocks, and returns which it blocked.
func setMask(set *signalSet) (was signalSet, err error) {
	_, _, e := unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(set)),
		uintptr(unsafe.Pointer(&was)), unsafe.Sizeof(was), 0, 0)
	if e != 0 {
		return 0, os.NewSyscallError("rt_sigprocmask", e)
	}
	return was, nil
}

// hold has the loop read the signals that are held back, and returns which they are. Every
// thread blocks what the first one did when the program started.
func (s *System) hold() signalSet {
	blocked, err := setMask(nil)
	held := blocked & holdables()
	if err != nil || held == 0 {
		return 0
	}
	fd, _, e := unix.Syscall6(unix.SYS_SIGNALFD4, ^uintptr(0), uintptr(unsafe.Pointer(&held)), unsafe.Sizeof(held),
		unix.SFD_CLOEXEC|unix.SFD_NONBLOCK, 0, 0)
	if e != 0 {
		return 0
	}
	token := s.loop.token()
	if s.loop.add(int(fd), token) != nil {
		unix.Close(int(fd))
		return 0
	}
	s.ready[token] = func() { s.readHeld(int(fd)) }
	return held
}

// readHeld records some of the signals that have come. The loop comes again for the others.
func (s *System) readHeld(fd int) {
	const size = int(unsafe.Sizeof(unix.SignalfdSiginfo{}))
	var b [8 * size]byte
	n, _ := unix.Read(fd, b[:])
	for ; n >= size; n -= size {
		caught.Or(bit(syscall.Signal(binary.NativeEndian.Uint32(b[n-size:]))))
	}
	s.readCaught()
}
