package main

import (
	"errors"
	"os"
	"os/exec"
)

// skipHere keeps exec.LookPath, like the system's own search, from searching the current
// folder ("NeedCurrentDirectoryForExePathW function").
const skipHere = "NoDefaultCurrentDirectoryInExePath"

// lookPath finds a command, in PATH before the current folder: a python.exe that others may
// write there, in a folder for downloads for example, must not come first. The error
// exec.ErrDot means that it is in the current folder only.
func lookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	if !errors.Is(err, exec.ErrDot) {
		return path, err
	}
	os.Setenv(skipHere, "1") // it is not set, or nothing had been found here
	defer os.Unsetenv(skipHere)
	if elsewhere, err := exec.LookPath(name); err == nil {
		return elsewhere, nil
	}
	return path, err
}
