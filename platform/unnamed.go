//go:build unix

package platform

import "leash/platform/posix"

// WriteUnnamed puts text into a file that no name leads to.
func WriteUnnamed(text []byte) (fd int, err error) { return posix.WriteUnnamed(text) }

// ReadUnnamed returns what is in such a file, and touches no other.
func ReadUnnamed(fd int) ([]byte, error) { return posix.ReadUnnamed(fd) }
