//go:build unix

package posix

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// ReplaceFile writes a file and puts it in the place of an older one in one step, readable for
// all. It replaces regular files only: as root a device would be lost. The file is written
// beside it, under a name that begins with a dot and has no ending that a reader may look for.
func ReplaceFile(path string, text []byte) error {
	fail := func(err error) error { return &os.PathError{Op: "write", Path: path, Err: err} }
	switch st, err := os.Lstat(path); {
	case err == nil && st.Mode()&os.ModeSymlink != 0:
		return fail(errors.New("it is a symbolic link: name the file itself"))
	case err == nil && !st.Mode().IsRegular():
		return fail(errors.New("it is no regular file"))
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return err
	}
	dir, name := filepath.Split(path)
	if name == "" || name == "." || name == ".." {
		return fail(errors.New("it names no file"))
	}
	temp := dir + "." + name + "." + strconv.Itoa(os.Getpid())
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Open(temp, flags, 0o644)
	if err == unix.EEXIST { // of a process with our PID that was killed
		unix.Unlink(temp)
		fd, err = unix.Open(temp, flags, 0o644)
	}
	if err != nil {
		return fail(err)
	}
	err = unix.Fchmod(fd, 0o644) // whatever the umask: another user reads it
	for len(text) > 0 && err == nil {
		var n int
		if n, err = unix.Write(fd, text); err == unix.EINTR {
			err = nil
			continue
		}
		text = text[max(n, 0):]
	}
	if e := unix.Close(fd); err == nil { // some file systems tell only then that they are full
		err = e
	}
	if err == nil {
		err = unix.Rename(temp, path)
	}
	if err != nil {
		unix.Unlink(temp)
		return fail(err)
	}
	return nil
}
