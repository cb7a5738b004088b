//go:build !windows

package main

import (
	"io/fs"
	"syscall"
)

// openLogFile opens it for appending. Go's own way would have the runtime poll
// the file, which takes epoll; the descriptor stays open for good.
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
