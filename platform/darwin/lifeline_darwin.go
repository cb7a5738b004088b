package darwin

import (
	"errors"

	"golang.org/x/sys/unix"
)

func (processes) Input(fd int) (inputKind, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return alwaysReady, err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFIFO, unix.S_IFSOCK:
		return waitable, nil
	case unix.S_IFCHR:
		if _, err := unix.IoctlGetTermios(fd, unix.TIOCGETA); err == nil {
			return waitable, nil
		}
	case unix.S_IFDIR:
		return alwaysReady, errors.New("it is a folder")
	}
	return alwaysReady, nil
}

const drainBound = 1 << 20

func (processes) Drain(fd int) (ends bool) {
	var b [4096]byte
	for range drainBound / len(b) {
		if n, err := unix.Read(fd, b[:]); n <= 0 && err != unix.EINTR {
			return true
		}
	}
	return false
}
