package main

import (
	"os"
	"path/filepath"

	"leash/platform"
)

// beatVar has the address for a worker's heartbeats.
const beatVar = pipeVar

// checkSocket accepts an empty address, which means that none was given.
func checkSocket(pipe string) error {
	if pipe == "" {
		return nil
	}
	return platform.CheckBeatAddress(pipe)
}

// shell runs a command line of the user, whatever quotes are in it: cmd.exe removes the outer
// ones (/s), and runs no AutoRun command of the registry first (/d).
func shell(command string) platform.Command {
	path := os.Getenv("COMSPEC")
	if !filepath.IsAbs(path) {
		path = filepath.Join(os.Getenv("SystemRoot"), "System32", "cmd.exe")
	}
	return platform.Command{Path: path, Args: []string{"cmd.exe", "/d", "/s", "/c", `"` + command + `"`}}
}
