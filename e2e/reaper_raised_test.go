//go:build linux

package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"leash/internal/testkit"
)

// A set-user-ID program becomes root for good and executes another, with the
// environment of the user who called it. That one names a dead owner for a run of
// root's that has none: what root runs lives on.
func TestReaperAndAProgramThatWasRaised(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		python, err := filepath.EvalSymlinks(testkit.NeedPython(t))
		if err != nil {
			t.Fatal(err)
		}
		home := testkit.Start(t, exec.Command(python, "-c", `import sys; print(f"{sys.prefix}\n", end="")`)).Stdout.Await("")
		dir, err := os.MkdirTemp("", "leash-raised") // t.TempDir may be closed to others
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		b, err := os.ReadFile(python)
		if err != nil {
			t.Fatal(err)
		}
		program := filepath.Join(dir, "raise")
		if err := errors.Join(os.WriteFile(program, b, 0o755), os.Chmod(program, 0o755|os.ModeSetuid), os.Chmod(dir, 0o755)); err != nil {
			t.Fatal(err)
		}

		run := newRunID()
		unclaimed := root().labelled(t, "LEASH_RUN_ID="+run)
		own := root().labelled(t, "LEASH_RUN_ID="+newRunID(), "LEASH_RUN_OWNER="+deadOwner(t))
		cmd := ordinary(t, alice).as(exec.Command(program, "-c", `
import os
os.setresgid(0, 0, 0)
os.setresuid(0, 0, 0)
os.write(1, b"raised\n")
os.execv("/bin/sh", ["sh", "-c", "echo executed; exec sleep 1000000"])
`))
		cmd.Env = append(cmd.Env, "PYTHONHOME="+home, "LEASH_RUN_ID="+run, "LEASH_RUN_OWNER="+deadOwner(t))
		raised := testkit.Start(t, cmd)
		raised.Stdout.Await("executed")

		r := reap(t)
		testkit.StillAlive(t, unclaimed.Ident)
		r.expectEnded(t, own.Ident)
		reap(t, "--run-id", run)
		testkit.AwaitGone(t, unclaimed.Ident)
	})
}
