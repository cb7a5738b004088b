//go:build unix

package platform

import (
	"os"

	"leash/platform/posix"
)

// OutputPipe makes a pipe for a worker's output. The reader's calls never block but Wait.
func OutputPipe() (r *posix.Pipe, w *os.File, err error) { return posix.NewPipe() }

// OpenOutput opens a file to which a worker appends its output.
func OpenOutput(path string) (*os.File, error) { return posix.OpenOutput(path) }

// HungUp reports whether the writers of a descriptor have gone, whatever is still in it.
func HungUp(fd int) bool { return posix.HungUp(fd) }
