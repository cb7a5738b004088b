package main

import (
	"os"
	"path/filepath"

	"leash/platform"
)

// beatVar tells a worker where he is heard.
const beatVar = pipeVar

// checkSocket allows what is not given.
func checkSocket(pipe string) error {
	if pipe == "" {
		return nil
	}
	return platform.CheckBeatAddress(pipe)
}

// shell runs a command of the user's, whatever quotes are in it: cmd.exe takes
// the outer ones off (/s), and no command of the registry comes first (/d).
func shell(command string) platform.Command {
	path := os.Getenv("COMSPEC")
	if !filepath.IsAbs(path) {
		path = filepath.Join(os.Getenv("SystemRoot"), "System32", "cmd.exe")
	}
	return platform.Command{Path: path, Args: []string{"cmd.exe", "/d", "/s", "/c", `"` + command + `"`}}
}
