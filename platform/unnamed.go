//go:build unix

package platform

import "leash/platform/posix"

// WriteUnnamed writes text to a new file without a name, and returns its descriptor.
func WriteUnnamed(text []byte) (fd int, err error) { return posix.WriteUnnamed(text) }

// ReadUnnamed returns the content of such a file, and reads no other file.
func ReadUnnamed(fd int) ([]byte, error) { return posix.ReadUnnamed(fd) }
