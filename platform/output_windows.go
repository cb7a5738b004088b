package platform

import (
	"os"

	"leash/platform/windows"
)

// OutputPipe makes a pipe for a worker's output. The reader's calls never block but Wait.
func OutputPipe() (r *windows.OutputPipe, w *os.File, err error) { return windows.NewOutputPipe() }

// OpenOutput opens a file to which a worker appends its output.
func OpenOutput(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o666)
}

// HungUp reports whether the writers of a descriptor have gone, whatever is still in it.
func HungUp(fd int) bool { return windows.HungUp(fd) }
