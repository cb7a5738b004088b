//go:build linux

package clients

import (
	"regexp"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

var isReady = regexp.MustCompile(`^READY worker_\d pid=(\d+) port=\d+$`)

// A worker that is stopped is found, ended and replaced. The BEAM's SIGKILL ends them all.
func TestSnakepit(t *testing.T) {
	t.Parallel()
	p := testkit.Start(t, all[2].cmd(t, []string{"mix", "run", "../../examples/snakepit/demo.exs"}))
	next := func() testkit.Ident {
		t.Helper()
		pid, err := strconv.Atoi(p.Stdout.AwaitMatch(isReady)[1])
		if err != nil {
			t.Fatal(err)
		}
		return testkit.Identify(t, pid)
	}
	first := next()
	for range 3 {
		next()
	}
	testkit.Adopt(t, testkit.Descendants(t, p.PID)...)
	own := append(testkit.Descendants(t, first.PID), first)
	if len(own) != 2 {
		t.Errorf("the worker and its child are %v", own)
	}
	if err := first.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Log(p.Stdout.Await("HANG "))
	testkit.AwaitGone(t, own...)
	next() // the supervisor's new one
	family := testkit.Descendants(t, p.PID)
	testkit.Adopt(t, family...)
	p.Kill()
	testkit.AwaitGone(t, family...)
}
