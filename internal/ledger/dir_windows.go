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

// Save writes the record's file atomically: a rename replaces an older file in one step
// ("MoveFileExW function", MOVEFILE_REPLACE_EXISTING). The directory is used by name, not
// by handle: when it was opened it was made sure that no other user can replace it.
func Save(dir *os.File, r *Record) error {
	if err := r.check(); err != nil {
		return fmt.Errorf("the record of worker %d: %w", r.Worker.PID, err)
	}
	b := r.Append(make([]byte, 0, 1024))
	if len(b) > maxSize {
		return fmt.Errorf("the record of worker %d is larger than %d bytes", r.Worker.PID, maxSize)
	}
	return replace(dir, r.Name(), b)
}

// replace writes a file of the directory atomically.
func replace(dir *os.File, file string, b []byte) error {
	name := filepath.Join(dir.Name(), file)
	if err := write(name+torn, b); err != nil {
		return err
	}
	err := os.Rename(name+torn, name)
	for n := 0; n < patience && inUse(err); n++ { // a reaper is reading it
		pause()
		err = os.Rename(name+torn, name)
	}
	if err != nil {
		os.Remove(name + torn)
	}
	return err
}

// patience is how often a file that another process has open is tried again, half a second
// in all. Some systems do not replace an open file, whatever sharing its handles allow.
const patience = 50

var pause = func() { time.Sleep(10 * time.Millisecond) }

func inUse(err error) bool {
	return errors.Is(err, windows.ERROR_ACCESS_DENIED) || errors.Is(err, windows.ERROR_SHARING_VIOLATION)
}

func write(name string, b []byte) error {
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	f, err := os.OpenFile(name, flags, 0o600)
	if errors.Is(err, fs.ErrExist) { // of a watchdog with this PID that was killed while it wrote
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

// Remove deletes a record's file, or an unfinished one.
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
