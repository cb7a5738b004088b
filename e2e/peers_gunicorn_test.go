//go:build linux

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"testing"

	"leash/internal/testkit"
)

const gunicorn = "/usr/bin/gunicorn"

// gunicorn waits for requests in progress when it is asked to stop. A request
// that never ends must not keep it.
func TestGunicornKilledInMidRequest(t *testing.T) {
	p := startGunicorn(t, testkit.Watchdog(t), "run", "--log-format", "json", "--grace", "500ms", "--")
	port := gunicornPort(t, p)
	tree := treeOf(t, p)
	held := openRequest(t, p, port)
	defer held.Close()

	p.Kill()
	testkit.AwaitGone(t, tree...)
	portIsFree(t, port)
	p.Stderr.AwaitEnd()
	if ev := p.Stderr.AwaitEvent("process.cleanup_completed"); ev["success"] != true {
		t.Errorf("cleanup: %v", ev)
	}
}

// The same without a watchdog: gunicorn stays and still listens.
func TestGunicornStaysWithoutWatchdog(t *testing.T) {
	p := startGunicorn(t)
	port := gunicornPort(t, p)
	tree := treeOf(t, p)
	held := openRequest(t, p, port)
	defer held.Close()

	p.Kill()
	p.Wait()
	testkit.StillAlive(t, tree...)
	openRequest(t, p, port).Close()
}

// startGunicorn starts a shell that starts gunicorn with 4 workers, behind the
// command that is given.
func startGunicorn(t *testing.T, before ...string) *testkit.Proc {
	t.Helper()
	python := testkit.NeedPython(t, "gunicorn")
	testkit.Need(t, gunicorn)
	args := append([]string{"-c", `"$@" & wait`, "parent"}, before...)
	args = append(args, python, gunicorn, "--workers", "4", "--bind", "127.0.0.1:0",
		"--chdir", peer(t, ""), "web_app:app")
	cmd := exec.Command("sh", args...)
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	return testkit.Start(t, cmd)
}

var (
	listening = regexp.MustCompile(`Listening at: http://127\.0\.0\.1:(\d+)`)
	booting   = regexp.MustCompile(`Booting worker with pid`)
)

// gunicornPort waits until all is up and returns the port.
func gunicornPort(t *testing.T, p *testkit.Proc) int {
	t.Helper()
	for range 4 {
		p.Stderr.AwaitMatch(booting)
	}
	port, err := strconv.Atoi(p.Stderr.AwaitMatch(listening)[1])
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// treeOf lists what the shell has started, and has it ended with the test.
func treeOf(t *testing.T, p *testkit.Proc) []testkit.Ident {
	t.Helper()
	tree := testkit.Descendants(t, p.PID)
	testkit.Adopt(t, tree...)
	if len(tree) < 1+4 {
		t.Fatalf("gunicorn and 4 workers, but there are only %v", tree)
	}
	return tree
}

// openRequest returns when a worker is in the midst of a request.
func openRequest(t *testing.T, p *testkit.Proc, port int) io.Closer {
	t.Helper()
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/", port))
	if err != nil {
		t.Fatal(err)
	}
	p.Stderr.Await("REQUEST ")
	return resp.Body
}
