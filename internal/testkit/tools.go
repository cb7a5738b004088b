//go:build linux || windows || darwin

package testkit

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
)

// dirVar has the scratch directory of the run. If it is set the process runs inside Main
// already.
const dirVar = "LEASH_TESTKIT_DIR"

// noSkipVar turns each skip into a failure, for machines where every tool must
// be there.
const noSkipVar = "LEASH_TEST_NO_SKIP"

// binDirVar names a directory with binaries to test instead of new ones.
const binDirVar = "LEASH_BIN_DIR"

// Watchdog returns the path of the watchdog binary, built from this tree once
// in each test run.
func Watchdog(t testing.TB) string { t.Helper(); return binary(t, "./cmd/watchdog") }

// Reaper returns the path of the reaper binary.
func Reaper(t testing.TB) string { t.Helper(); return binary(t, "./cmd/reaper") }

// Need skips the test if one of the programs is missing.
func Need(t testing.TB, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			Skip(t, "this test needs the program "+tool)
		}
	}
}

// Skip skips the test with a visible message, or fails it where skips are not allowed.
func Skip(t testing.TB, why string) {
	t.Helper()
	if os.Getenv(noSkipVar) == "1" {
		t.Fatalf("%s, and %s=1 allows no skip", why, noSkipVar)
	}
	t.Skipf("SKIPPED: %s", why)
}

// Root returns the directory of the module.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for last := ""; dir != last; last, dir = dir, filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	t.Fatal("no go.mod above the working directory")
	return ""
}

var builds sync.Map // of package path to func() error

func binary(t testing.TB, pkg string) string {
	t.Helper()
	if dir := os.Getenv(binDirVar); dir != "" {
		path := filepath.Join(dir, filepath.Base(pkg)+suffix())
		if _, err := os.Stat(path); err != nil {
			t.Fatalf("%s=%s: %v", binDirVar, dir, err)
		}
		return path
	}
	return Build(t, pkg)
}

// suffix is that of a program's file.
func suffix() string {
	if runtime.GOOS == "windows" {
		return ".exe"
	}
	return ""
}

// Build compiles a package of this module, once in each test run, and returns
// the path of the binary. Its flags are those of a release.
func Build(t testing.TB, pkg string) string {
	t.Helper()
	dir, root := os.Getenv(dirVar), Root(t)
	if dir == "" {
		t.Fatal("this package needs testkit.Main in its TestMain")
	}
	out := filepath.Join(dir, filepath.Base(pkg)+suffix())
	once, _ := builds.LoadOrStore(pkg, sync.OnceValue(func() error {
		cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", out, pkg)
		cmd.Dir = root
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w\n%s", err, text)
		}
		return nil
	}))
	if err := once.(func() error)(); err != nil {
		t.Fatalf("build %s: %v", pkg, err)
	}
	return out
}

// NotAsRoot names a part of a test that root cannot run; it is empty for other users.
func NotAsRoot(part string) []string {
	if os.Geteuid() == 0 {
		return []string{part}
	}
	return nil
}
