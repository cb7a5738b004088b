package pool

import (
	"os"
	"path/filepath"
	"testing"
)

// The program's relative path is one from the worker's folder, however that is given.
func TestRelativeFolder(t *testing.T) {
	t.Parallel()
	c := start(t) // in /
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "worker.sh"), []byte("#!/bin/sh\npwd\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for id, cwd := range map[string]string{"absolute": dir, "relative": dir[1:]} {
		c.run(id, params{"cwd": cwd}, "./worker.sh")
		if got := c.line(id, ""); got != dir {
			t.Errorf("%s: %q", id, got)
		}
	}
}
