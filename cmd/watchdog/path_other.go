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
	path, set := os.LookupEnv("PATH")
	return lookIn(name, "", path, set)
}

// lookIn is lookPath for a process in the folder dir (empty: ours) with this PATH.
func lookIn(name, dir, path string, set bool) (string, error) {
	if strings.Contains(name, "/") {
		return exec.LookPath(under(dir, name))
	}
	if !set {
		path = defaultPath
	}
	failed := exec.ErrNotFound
	for folder := range strings.SplitSeq(path, ":") {
		if folder == "" { // by tradition the current folder
			folder = "."
		}
		file := under(dir, folder+"/"+name)
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

// under is a path as a process in the folder dir has it.
func under(dir, path string) string {
	if dir == "" || strings.HasPrefix(path, "/") {
		return path
	}
	return dir + "/" + path
}
