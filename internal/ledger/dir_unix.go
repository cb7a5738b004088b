//go:build unix

package ledger

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Save writes the record's file atomically.
func Save(dir *os.File, r *Record) error {
	if err := r.check(); err != nil {
		return fmt.Errorf("the record of worker %d: %w", r.Worker.PID, err)
	}
	name, b := r.Name(), r.Append(make([]byte, 0, 1024))
	if len(b) > maxSize {
		return fmt.Errorf("the record of worker %d is larger than %d bytes", r.Worker.PID, maxSize)
	}
	return replace(dir, name, b)
}

// replace writes a file of the directory atomically.
func replace(dir *os.File, name string, b []byte) error {
	at := int(dir.Fd())
	flags := unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(at, name+torn, flags, 0o600)
	if errors.Is(err, unix.EEXIST) { // of a watchdog with this PID that was killed while it wrote
		unix.Unlinkat(at, name+torn, 0)
		fd, err = unix.Openat(at, name+torn, flags, 0o600)
	}
	if err == nil {
		var n int
		if n, err = unix.Write(fd, b); err == nil && n < len(b) {
			err = unix.ENOSPC
		}
		unix.Close(fd)
		if err == nil {
			err = unix.Renameat(at, name+torn, at, name)
		}
		if err != nil {
			unix.Unlinkat(at, name+torn, 0)
		}
	}
	if err != nil {
		return &os.PathError{Op: "write", Path: dir.Name() + "/" + name, Err: err}
	}
	return nil
}

// Remove deletes a record's file, or an unfinished one.
func Remove(dir *os.File, name string) error {
	if err := unix.Unlinkat(int(dir.Fd()), name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "remove", Path: dir.Name() + "/" + name, Err: err}
	}
	return nil
}

// rewound is the directory, to be listed from its beginning.
func rewound(dir *os.File) (*os.File, error) {
	_, err := dir.Seek(0, io.SeekStart)
	return dir, err
}

// foreign reports whether a directory belongs, or may belong, to another user, and its
// owner.
func foreign(dir *os.File) (owner uint32, is bool) {
	var st unix.Stat_t
	err := unix.Fstat(int(dir.Fd()), &st)
	return st.Uid, err != nil || int(st.Uid) != os.Geteuid()
}

// openFile opens a file of at most so many bytes, and returns its owner.
func openFile(dir *os.File, name string, most int64) (f *os.File, uid uint32, err error) {
	var st unix.Stat_t
	// Checked before it is opened: opening a device may have side effects.
	if err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return nil, 0, err
	}
	if err := acceptable(&st, most); err != nil {
		return nil, 0, err
	}
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, 0, err
	}
	unix.SetNonblock(fd, false) // else the runtime would poll it, for which it needs epoll
	f = os.NewFile(uintptr(fd), name)
	if err = unix.Fstat(fd, &st); err == nil {
		err = acceptable(&st, most)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, st.Uid, nil
}

func acceptable(st *unix.Stat_t, most int64) error {
	me := uint32(os.Geteuid())
	switch {
	case uint32(st.Mode)&unix.S_IFMT != unix.S_IFREG:
		return errNotRegular
	case st.Mode&0o022 != 0:
		return errors.New("others may write it")
	case st.Uid != me && me != 0:
		return errForeign
	}
	return tooLarge(st.Size, most)
}
