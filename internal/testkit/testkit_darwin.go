package testkit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// This file has only what the portable tests of the command line need.

// Main runs the tests of a package and exits.
func Main(m interface{ Run() int }) {
	dir, err := os.MkdirTemp("", "leash-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "testkit:", err)
		os.Exit(1)
	}
	os.Setenv(dirVar, dir)
	status := m.Run()
	os.RemoveAll(dir)
	os.Exit(status)
}

// Run runs the command to its end and returns its status and output.
func Run(t testing.TB, cmd *exec.Cmd) (status int, stdout, stderr string) {
	t.Helper()
	const patience = 3 * time.Minute
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	bounded := exec.CommandContext(ctx, cmd.Path)
	bounded.Args, bounded.Env, bounded.Dir = cmd.Args, cmd.Env, cmd.Dir
	var out, err bytes.Buffer
	bounded.Stdout, bounded.Stderr = &out, &err
	failed := bounded.Run()
	if exit := (*exec.ExitError)(nil); failed != nil && (!errors.As(failed, &exit) || ctx.Err() != nil) {
		t.Fatalf("expected %q to end within %v: %v\n%s%s", cmd.Args, patience, failed, &out, &err)
	}
	return bounded.ProcessState.ExitCode(), strings.TrimSuffix(out.String(), "\n"), strings.TrimSuffix(err.String(), "\n")
}
