//go:build !windows

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// defaultPath is searched where PATH is not set ("execvp(3)").
const defaultPath = "/bin:/usr/bin"

// lookPath finds a command as execvp(3) does, and so env(1) and timeout(1). A file that
// cannot be executed is skipped for a later one, and is the error if there is none.
// exec.LookPath would say that no file was found.
func lookPath(name string) (string, error) {
	if strings.Contains(name, "/") {
		return exec.LookPath(name)
	}
	path, set := os.LookupEnv("PATH")
	if !set {
		path = defaultPath
	}
	failed := exec.ErrNotFound
	for dir := range strings.SplitSeq(path, ":") {
		if dir == "" { // by tradition the current folder
			dir = "."
		}
		file := dir + "/" + name
		_, err := exec.LookPath(file)
		if err == nil {
			return file, nil
		}
		if failed == exec.ErrNotFound && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			failed = fmt.Errorf("%s: %w", file, errors.Unwrap(err))
		}
	}
	return "", failed
}
