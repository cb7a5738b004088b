package testkit

import (
	"os"
	"path/filepath"
	"testing"
)

// noSkipVar turns each skip into a failure, for machines where every tool must
// be there.
const noSkipVar = "LEASH_TEST_NO_SKIP"

// binDirVar names a directory with binaries to test. Here they are built
// beforehand: where these tests run there may be no Go.
const binDirVar = "LEASH_BIN_DIR"

// Watchdog returns the path of the watchdog binary.
func Watchdog(t testing.TB) string { t.Helper(); return binary(t, "watchdog.exe") }

// Reaper returns the path of the reaper binary.
func Reaper(t testing.TB) string { t.Helper(); return binary(t, "reaper.exe") }

func binary(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv(binDirVar)
	if dir == "" {
		Skip(t, "this test needs binaries, in a directory that "+binDirVar+" names")
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%s=%s: %v", binDirVar, dir, err)
	}
	return path
}

// Skip skips the test loudly, or fails it where skipping is forbidden.
func Skip(t testing.TB, why string) {
	t.Helper()
	if os.Getenv(noSkipVar) == "1" {
		t.Fatalf("%s, and %s=1 allows no skip", why, noSkipVar)
	}
	t.Skipf("SKIPPED: %s", why)
}
