//go:build unix && !linux

package posix

import "syscall"

const (
	unixFIONREAD = 0x4004667f // FIONREAD (sys/filio.h)
	hangUp       = 0
)

// openPipe makes the descriptors close-on-exec before another child can be started.
func openPipe(fds *[2]int) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := syscall.Pipe(fds[:]); err != nil {
		return err
	}
	syscall.CloseOnExec(fds[0])
	syscall.CloseOnExec(fds[1])
	return nil
}
