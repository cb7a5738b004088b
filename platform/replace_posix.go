//go:build linux || darwin

package platform

import "leash/platform/posix"

// ReplaceFile writes a file and puts it in the place of an older one in one step.
func ReplaceFile(path string, text []byte) error { return posix.ReplaceFile(path, text) }
