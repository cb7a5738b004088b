//go:build unix

package posix

import "golang.org/x/sys/unix"

// TellManager sends a message to a NOTIFY_SOCKET: a path, or @name (sd_notify(3)). It does not
// wait.
func TellManager(address, text string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	unix.CloseOnExec(fd)
	return unix.Sendto(fd, []byte(text), unix.MSG_DONTWAIT, &unix.SockaddrUnix{Name: address})
}
