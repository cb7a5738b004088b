package main

import (
	"path/filepath"
	"strings"
)

// look finds the worker's program. PATH is the pool's own: another one of the worker's would
// be searched by other rules than the system's.
func (w *watchdog) look(name string) (string, error) {
	if w.dir != "" && strings.ContainsAny(name, `\/`) && !filepath.IsAbs(name) {
		name = filepath.Join(w.dir, name)
	}
	return lookPath(name)
}
