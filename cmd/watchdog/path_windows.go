package main

import (
	"errors"
	"os"
	"os/exec"
)

// skipHere keeps exec.LookPath, as the system's own search, from looking in the
// folder that we are in ("NeedCurrentDirectoryForExePathW function").
const skipHere = "NoDefaultCurrentDirectoryInExePath"

// lookPath finds a command, in PATH before the folder that we are in: whoever
// may write there, where downloads go say, must not give us his python.exe.
// exec.ErrDot: it is there and nowhere else.
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
