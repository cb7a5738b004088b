//go:build unix

package posix

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// StateDir opens the folder for what watchdogs and reapers of one user share:
// LEASH_STATE_DIR; else $XDG_RUNTIME_DIR/leash, /run/leash for root, or leash
// in the user's cache folder, the first that is to be had. It is made with mode
// 0700 and must be ours: whoever else could write there could mislead us.
func StateDir() (*os.File, error) {
	if dir := os.Getenv("LEASH_STATE_DIR"); dir != "" {
		return openPrivate(dir)
	}
	var dirs []string
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		dirs = append(dirs, filepath.Join(dir, "leash"))
	}
	if os.Geteuid() == 0 {
		dirs = append(dirs, "/run/leash")
	}
	if dir, err := os.UserCacheDir(); err == nil {
		dirs = append(dirs, filepath.Join(dir, "leash"))
	}
	var errs []error
	for _, dir := range dirs {
		f, err := openPrivate(dir)
		if err == nil {
			return f, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func openPrivate(dir string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || int(st.Uid) != os.Geteuid() || st.Mode&0o077 != 0 {
		unix.Close(fd)
		return nil, fmt.Errorf("%s must be yours and of mode 0700: it is not used", dir)
	}
	return os.NewFile(uintptr(fd), dir), nil
}
