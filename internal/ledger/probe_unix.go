//go:build unix

package ledger

import "golang.org/x/sys/unix"

// Probe returns an error if no file can be written in the directory.
func Probe(dir int) error {
	fd, err := unix.Openat(dir, probe, unix.O_WRONLY|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	if _, err = unix.Write(fd, []byte("x")); err == nil {
		err = unix.Unlinkat(dir, probe, 0)
	} else {
		unix.Unlinkat(dir, probe, 0)
	}
	unix.Close(fd)
	return err
}
