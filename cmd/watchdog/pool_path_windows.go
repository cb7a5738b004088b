package main

import (
	"os"
	"path/filepath"
	"strings"
)

// look finds the worker's program as its own environment and folder say. What it may be
// called (PATHEXT) is said by the pool's.
func (w *watchdog) look(name string) (string, error) {
	if strings.ContainsAny(name, `\/`) {
		if w.dir != "" && filepath.VolumeName(name) == "" && !os.IsPathSeparator(name[0]) {
			name = filepath.Join(w.dir, name)
		}
		return lookPath(name)
	}
	for _, e := range w.env {
		if isVariable(e, "PATH") {
			was := os.Getenv("PATH")
			defer os.Setenv("PATH", was)
			os.Setenv("PATH", e[len("PATH="):])
		}
	}
	return lookPath(name)
}

// isVariable reports whether an entry of an environment is the variable of that name, which
// is the same in capitals ("Environment Variables").
func isVariable(entry, name string) bool {
	return len(entry) > len(name) && entry[len(name)] == '=' && strings.EqualFold(entry[:len(name)], name)
}
