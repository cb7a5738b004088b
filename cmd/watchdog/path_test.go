//go:build linux

package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"leash/internal/testkit"
)

// A command is found exactly where env(1) finds it, with the same exit status.
func TestCommandsAreFoundAsEnvDoes(t *testing.T) {
	testkit.Need(t, "env")
	env, err := exec.LookPath("env")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(folders(t))
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	const unset = "(unset)"
	for _, c := range []struct {
		path, name string
		found      string // empty: not found
		status     int
	}{
		{"$/good", "x", "$/good/x", 0},
		{"$/plain", "x", "", exitCannot},
		{"$/folder", "x", "", exitCannot},
		{"$/plain:$/good", "x", "$/good/x", 0},
		{"$/folder:$/good:$/plain", "x", "$/good/x", 0},
		{"$/plain:$/none", "x", "", exitCannot},
		{"$/none:$/plain", "x", "", exitCannot},
		{"$/none:$/good/x:$/empty", "x", "", exitNotFound},
		{"$/dangling", "x", "", exitNotFound},
		{"$/dangling:$/good", "x", "$/good/x", 0},
		{"$/loop", "x", "", exitCannot},
		{"$/empty", "x", "", exitNotFound},
		{"$/empty", strings.Repeat("x", 300), "", exitCannot},
		{unset, "true", "/bin/true", 0},
		{unset, "x", "", exitNotFound},
		{"", "true", "", exitNotFound},
		{"", "here", "./here", 0},
		{":$/none", "here", "./here", 0},
		{"$/none:", "here", "./here", 0},
		{"good", "x", "good/x", 0},
		{".", "here", "./here", 0},
		{"$/none", "$/good/x", "$/good/x", 0},
		{"$/good", "./x", "", exitNotFound},
		{"$/good", "plain/x", "", exitCannot},
		{"$/good", "folder/x", "", exitCannot},
		{"$/good", "good/x/y", "", exitCannot},
	} {
		path, name := strings.ReplaceAll(c.path, "$", here), strings.ReplaceAll(c.name, "$", here)
		setPath(t, path, path != unset)
		cmd := exec.Command(env, name)
		if cmd.Run(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != c.status {
			t.Errorf("PATH=%q %.20s: env ends with %v, this test expects %d", c.path, c.name, cmd.ProcessState, c.status)
		}
		got, err := lookPath(name)
		status := 0
		if err != nil {
			status = statusOf(t, name, err)
		}
		if want := strings.ReplaceAll(c.found, "$", here); status != c.status || err == nil && got != want {
			t.Errorf("PATH=%q %.20s: found %q, %v, status %d; want %q, %d", c.path, c.name, got, err, status, want, c.status)
		}
	}
}

// A file that was found but cannot be executed is named.
func TestWhatCannotBeExecutedIsNamed(t *testing.T) {
	dir := folders(t)
	setPath(t, filepath.Join(dir, "plain")+":"+filepath.Join(dir, "folder"), true)
	_, err := lookPath("x")
	want := "run: x: " + filepath.Join(dir, "plain", "x") + ": permission denied"
	if err = commandFailed("x", err); err.Error() != want {
		t.Errorf("%v; want %s", err, want)
	}
	setPath(t, filepath.Join(dir, "folder"), true)
	if _, err := lookPath("x"); !errors.Is(err, syscall.EISDIR) || !strings.Contains(err.Error(), dir) {
		t.Errorf("a folder: %v", err)
	}
	if _, err := lookPath("nobody"); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("nothing: %v", err)
	}
}

func statusOf(t *testing.T, name string, err error) int {
	t.Helper()
	var c *commandError
	if !errors.As(commandFailed(name, err), &c) {
		t.Fatalf("%v has no status", err)
	}
	return c.status
}

// folders makes several folders, most with a file x of different kinds.
func folders(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{"good", "plain", "folder/x", "dangling", "loop", "empty"} {
		must(os.MkdirAll(at(d), 0o755))
	}
	script := []byte("#!/bin/sh\n")
	must(os.WriteFile(at("good/x"), script, 0o755))
	must(os.WriteFile(at("here"), script, 0o755))
	must(os.WriteFile(at("plain/x"), script, 0o644))
	must(os.Symlink("nowhere", at("dangling/x")))
	must(os.Symlink("x", at("loop/x")))
	return dir
}

// setPath sets PATH, or unsets it, until the test ends.
func setPath(t *testing.T, path string, set bool) {
	t.Helper()
	t.Setenv("PATH", path)
	if !set {
		os.Unsetenv("PATH")
	}
}
