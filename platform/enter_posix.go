//go:build unix

package platform

import "golang.org/x/sys/unix"

// MayEnter returns an error if this process may not make a folder its working folder.
func MayEnter(dir string) error {
	return unix.Faccessat(unix.AT_FDCWD, dir, unix.X_OK, unix.AT_EACCESS)
}
