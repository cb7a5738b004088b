//go:build linux || windows

package testkit

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// logsVar names the folder for the logs of tests that fail.
const logsVar = "LEASH_TEST_LOGS"

// logPath is the log of a test: what all its processes printed. It is written if the
// test fails.
func logPath(t testing.TB) string {
	dir := cmp.Or(os.Getenv(logsVar), filepath.Join(os.TempDir(), "leash-test-logs"))
	name := strings.Map(func(r rune) rune {
		if strings.ContainsRune(`/\:*?"<>| `, r) {
			return '_'
		}
		return r
	}, t.Name())
	return filepath.Join(dir, fmt.Sprintf("%s.%d.log", name, os.Getpid()))
}

func appendLog(t testing.TB, text string) error {
	path := logPath(t)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, text)
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}
