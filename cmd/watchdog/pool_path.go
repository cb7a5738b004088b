//go:build !windows

package main

import "strings"

// look finds the worker's program as its own environment and folder say, as env(1) does.
func (w *watchdog) look(name string) (string, error) {
	path, set := "", false
	for _, e := range w.env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			path, set = v, true
		}
	}
	return lookIn(name, w.dir, path, set)
}

// isVariable reports whether an entry of an environment is the variable of that name.
func isVariable(entry, name string) bool { return strings.HasPrefix(entry, name+"=") }
