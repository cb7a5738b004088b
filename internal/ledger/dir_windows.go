//go:build windows

package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/windows"
)

// Save writes the record's file, whole or not at all: a rename replaces what is
// there in one step ("MoveFileExW function", MOVEFILE_REPLACE_EXISTING). The
// directory is named, not held, so its opener has seen to it that nobody else
// can put another in its place.
func Save(dir *os.File, r *Record) error {
	if err := r.check(); err != nil {
		return fmt.Errorf("the record of worker %d: %w", r.Worker.PID, err)
	}
	b := r.Append(make([]byte, 0, 1024))
	if len(b) > maxSize {
		return fmt.Errorf("the record of worker %d is larger than %d bytes", r.Worker.PID, maxSize)
	}
	name := filepath.Join(dir.Name(), r.Name())
	if err := write(name+torn, b); err != nil {
		return err
	}
	err := os.Rename(name+torn, name)
	for n := 0; n < patience && inUse(err); n++ { // a reaper reads it just now
		pause()
		err = os.Rename(name+torn, name)
	}
	if err != nil {
		os.Remove(name + torn)
	}
	return err
}

// patience is how often a file that somebody has open is tried again: half a
// second in all. Some systems replace no file that is open, whatever its openers
// allow.
const patience = 50

var pause = func() { time.Sleep(10 * time.Millisecond) }

func inUse(err error) bool {
	return errors.Is(err, windows.ERROR_ACCESS_DENIED) || errors.Is(err, windows.ERROR_SHARING_VIOLATION)
}

func write(name string, b []byte) error {
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	f, err := os.OpenFile(name, flags, 0o600)
	if errors.Is(err, fs.ErrExist) { // of one that was killed while it wrote, and had our number
		os.Remove(name)
		f, err = os.OpenFile(name, flags, 0o600)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(name)
	}
	return err
}

// Remove deletes a record's file, or what is left of writing one.
func Remove(dir *os.File, name string) error {
	path := filepath.Join(dir.Name(), name)
	if info, err := os.Lstat(path); err == nil && info.IsDir() {
		return &os.PathError{Op: "remove", Path: path, Err: errors.New("it is a folder")}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
