//go:build windows

package windows

import (
	"errors"
	"fmt"
	"syscall"

	win "golang.org/x/sys/windows"
)

// CheckPID says what is wrong with a PID that we were given, if anything. A
// process that does not exist (any more) is no mistake.
func CheckPID(pid int) error {
	switch {
	case pid < 1:
		return errors.New("a PID is a number above 0")
	case uint64(pid) > maxPID:
		return fmt.Errorf("no process can have the PID %d here: the highest is %d", pid, uint32(maxPID))
	}
	return nil
}

// handleOf reads a descriptor: 0 to 2 are the standard streams, and any other
// number is the value of a handle that we inherited.
func handleOf(fd int) win.Handle {
	switch fd {
	case 0:
		return win.Handle(syscall.Stdin)
	case 1:
		return win.Handle(syscall.Stdout)
	case 2:
		return win.Handle(syscall.Stderr)
	}
	return win.Handle(fd)
}

// CheckFD says what is wrong with a descriptor that we were given. What it
// may be used for cannot be read.
func CheckFD(fd int, _ bool) error {
	if fd < 0 {
		return errors.New("a descriptor is 0, 1, 2 or the value of an inherited handle")
	}
	if !open(fd) {
		return fmt.Errorf("descriptor %d is not open", fd)
	}
	return nil
}

// CheckKeptFD says what is wrong with a descriptor that the worker is to keep.
func CheckKeptFD(fd int) error {
	if fd < 3 {
		return fmt.Errorf("%d is not above 2", fd)
	}
	if !open(fd) {
		return fmt.Errorf("handle %d is not open", fd)
	}
	return nil
}

// open reports whether it is a file, a pipe or a console ("GetFileType function").
func open(fd int) bool {
	kind, err := win.GetFileType(handleOf(fd))
	return kind != win.FILE_TYPE_UNKNOWN || err == nil
}
