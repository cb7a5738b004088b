//go:build unix

package ledger

import (
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// appendTo appends a line to the totals. A shared lock keeps others from putting the lines
// together meanwhile, and is not waited for long: the process that holds it may be stopped.
func appendTo(dir *os.File, line []byte) error {
	fail := func(err error) error { return &os.PathError{Op: "write", Path: dir.Name() + "/" + totals, Err: err} }
	for {
		fd, err := openTotals(dir, unix.LOCK_SH)
		if err != nil {
			return fail(err)
		}
		var st unix.Stat_t
		if err = unix.Fstat(fd, &st); err == nil && st.Nlink == 0 { // it was replaced just now
			unix.Close(fd)
			continue
		}
		if err == nil && st.Size > maxTotals-int64(len(line)) {
			err = unix.EFBIG
		}
		if err == nil {
			_, err = unix.Write(fd, line)
		}
		unix.Close(fd)
		if err != nil {
			return fail(err)
		}
		if st.Size > manyTotals {
			foldAll(dir)
		}
		return nil
	}
}

func openTotals(dir *os.File, lock int) (fd int, err error) {
	fd, err = unix.Openat(int(dir.Fd()), totals, unix.O_RDWR|unix.O_APPEND|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil {
		err = acceptable(&st, maxTotals)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	for range lockTries {
		if err = unix.Flock(fd, lock|unix.LOCK_NB); err == nil || lock == unix.LOCK_EX {
			break
		}
		time.Sleep(lockRest)
	}
	if err != nil && lock == unix.LOCK_EX {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

const (
	lockTries = 20
	lockRest  = 5 * time.Millisecond
)

// foldAll puts the lines of workers without a record together, unless another does.
func foldAll(dir *os.File) {
	fd, err := openTotals(dir, unix.LOCK_EX)
	if err != nil {
		return
	}
	f := os.NewFile(uintptr(fd), totals)
	defer f.Close()
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Nlink == 0 {
		return
	}
	// Before the totals, as in Total: a record that is removed meanwhile keeps its line.
	lives := recordedLives(dir)
	unix.SetNonblock(fd, false)
	b, err := io.ReadAll(io.NewSectionReader(f, 0, maxTotals))
	if err == nil {
		replace(dir, totals, together(parseTotals(b), lives))
	}
}

// recordedLives lists the workers that have a record in a folder.
func recordedLives(dir *os.File) map[life]bool {
	entries, _, _ := Read(dir)
	lives := make(map[life]bool, len(entries))
	for i := range entries {
		lives[entries[i].life()] = true
	}
	return lives
}
