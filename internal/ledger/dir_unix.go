//go:build unix

package ledger

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Save writes the record's file, whole or not at all.
func Save(dir *os.File, r *Record) error {
	if err := r.check(); err != nil {
		return fmt.Errorf("the record of worker %d: %w", r.Worker.PID, err)
	}
	name, b := r.Name(), r.Append(make([]byte, 0, 1024))
	if len(b) > maxSize {
		return fmt.Errorf("the record of worker %d is larger than %d bytes", r.Worker.PID, maxSize)
	}
	at := int(dir.Fd())
	flags := unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(at, name+torn, flags, 0o600)
	if errors.Is(err, unix.EEXIST) { // of one that was killed while it wrote, and had our number
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

// Remove deletes a record's file, or what is left of writing one.
func Remove(dir *os.File, name string) error {
	if err := unix.Unlinkat(int(dir.Fd()), name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "remove", Path: dir.Name() + "/" + name, Err: err}
	}
	return nil
}

// Entry is one file of the ledger.
type Entry struct {
	Record
	Dir  *os.File
	File string
}

const (
	// maxFiles bounds what is read of one directory.
	maxFiles = 20_000
	// maxForeign is the bound for a directory of another user, who may mean ill:
	// each record has root look for the processes that it names.
	maxForeign = 2_000
	// maxProblems bounds what is told of it.
	maxProblems = 50
)

// Read reads every record of a directory. What is no record is named among the
// problems and passed over: no link is followed, no device opened, and a FIFO
// does not block.
func Read(dir *os.File) (entries []Entry, unfinished []string, problems []error) {
	entries, unfinished, problems = readAll(dir)
	if more := len(problems) - maxProblems; more > 0 {
		problems = append(problems[:maxProblems], fmt.Errorf("%s: %d more files are passed over", dir.Name(), more))
	}
	return entries, unfinished, problems
}

func readAll(dir *os.File) (entries []Entry, unfinished []string, problems []error) {
	if _, err := dir.Seek(0, io.SeekStart); err != nil {
		return nil, nil, []error{err}
	}
	most := maxFiles
	var st unix.Stat_t
	if unix.Fstat(int(dir.Fd()), &st) != nil || int(st.Uid) != os.Geteuid() {
		most = maxForeign
	}
	for n := 0; ; {
		names, err := dir.Readdirnames(1000)
		for _, name := range names {
			if n++; n > most {
				return entries, unfinished, append(problems, fmt.Errorf("%s: more than %d files: the others are passed over", dir.Name(), most))
			}
			switch {
			case strings.HasSuffix(name, suffix):
				r, err := read(dir, name)
				if errors.Is(err, unix.ENOENT) { // its watchdog ended just now
					continue
				}
				if err != nil {
					problems = append(problems, fmt.Errorf("%s/%q is passed over: %w", dir.Name(), name, err))
					continue
				}
				entries = append(entries, Entry{Record: r, Dir: dir, File: name})
			case strings.HasSuffix(name, suffix+torn):
				unfinished = append(unfinished, name)
			case !Others(name):
				problems = append(problems, fmt.Errorf("%s/%q is passed over: no file of the ledger", dir.Name(), name))
			}
		}
		if err == io.EOF {
			return entries, unfinished, problems
		}
		if err != nil {
			return entries, unfinished, append(problems, err)
		}
	}
}

// Others reports whether a file of the state directory is known and no record.
func Others(name string) bool {
	return name == "table" || name == "table.new" || name == "table.lock"
}

func read(dir *os.File, name string) (Record, error) {
	var st unix.Stat_t
	// Looked at before it is opened: to open a device may do something.
	if err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return Record{}, err
	}
	if err := acceptable(&st); err != nil {
		return Record{}, err
	}
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return Record{}, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	if err := unix.Fstat(fd, &st); err != nil {
		return Record{}, err
	}
	if err := acceptable(&st); err != nil {
		return Record{}, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return Record{}, err
	}
	r, err := Parse(b)
	if err == nil && r.Name() != name {
		err = fmt.Errorf("it holds the record %s: %w", r.Name(), errRecord)
	}
	r.UID = st.Uid
	return r, err
}

func acceptable(st *unix.Stat_t) error {
	me := uint32(os.Geteuid())
	switch {
	case uint32(st.Mode)&unix.S_IFMT != unix.S_IFREG:
		return errors.New("no regular file")
	case st.Mode&0o022 != 0:
		return errors.New("others may write it")
	case st.Uid != me && me != 0:
		return errors.New("it belongs to another user")
	case st.Size > maxSize:
		return fmt.Errorf("larger than %d bytes", maxSize)
	}
	return nil
}
