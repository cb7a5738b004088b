package posix

import "golang.org/x/sys/unix"

const (
	unixFIONREAD = unix.TIOCINQ
	hangUp       = unix.POLLRDHUP
)

func openPipe(fds *[2]int) error { return unix.Pipe2(fds[:], unix.O_CLOEXEC) }
