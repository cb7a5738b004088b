//go:build !windows

package main

import (
	"io/fs"
	"syscall"
)

// openLogFile opens the file for appending. With os.OpenFile the runtime would poll it, for
// which it needs epoll. The descriptor is never closed.
func openLogFile(name string) (int, error) {
	for {
		fd, err := syscall.Open(name, syscall.O_WRONLY|syscall.O_APPEND|syscall.O_CREAT|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0o600)
		if err == nil {
			return fd, nil
		}
		if err != syscall.EINTR {
			return -1, &fs.PathError{Op: "open", Path: name, Err: err}
		}
	}
}
