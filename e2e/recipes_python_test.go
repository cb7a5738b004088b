//go:build linux

package e2e

import (
	"io"
	"net/http"
	"regexp"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

func atoi(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("no number: %q", text)
	}
	return n
}

// startParent starts a command of the page below a shell, and returns the watchdog.
func (r *recipe) startParent(command string) (p *testkit.Proc, watchdog testkit.Ident) {
	r.t.Helper()
	cmd := r.parent(command)
	input(r.t, cmd) // the shell waits for its end at last
	p = testkit.Start(r.t, cmd)
	return p, familyOf(r.t, p.Stdout.Await("WATCHDOG "))[0]
}

// A request is being answered when gunicorn is asked to stop: the answer is whole.
func TestRecipeGunicorn(t *testing.T) {
	t.Parallel()
	testkit.Need(t, gunicorn)
	testkit.NeedPython(t, "gunicorn")
	r := newRecipe(t, "web.py")
	r.fifo("gate")
	p, watchdog := r.startParent(onPage(t, "run gunicorn", ":8000", ":0"))
	port := p.Stdout.AwaitMatch(listening)[1]
	for range 4 {
		p.Stdout.AwaitMatch(booting)
	}
	resp, err := http.Get("http://127.0.0.1:" + port + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	p.Stdout.Await("REQUEST ")
	family := r.family(p, 1+1+4)

	if err := watchdog.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.Stdout.AwaitMatch(regexp.MustCompile(`Handling signal: term`))
	r.open("gate")
	checkAnswer(t, resp)
	if got := p.Stdout.Await("STATUS "); got != "0" {
		t.Errorf("status %s, want 0", got)
	}
	r.nothingLeft(p, family...)
	portIsFree(t, atoi(t, port))
}

func checkAnswer(t *testing.T, resp *http.Response) {
	t.Helper()
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "begun\nend\n" {
		t.Errorf("the answer is %q, %v", body, err)
	}
}

// A kernel is interrupted and lives on until its manager is killed.
func TestRecipeJupyterKilled(t *testing.T) { jupyter(t, killed9) }

func jupyter(t *testing.T, end string) {
	t.Parallel()
	python := testkit.NeedPython(t, "jupyter_client", "ipykernel")
	r := newRecipe(t, "jupyter_parent.py")
	r.write("kernels/leash/kernel.json", onPage(t, "file kernel.json"), 0o644)
	cmd := r.cmd(python, "jupyter_parent.py")
	cmd.Env = append(cmd.Env, "JUPYTER_PATH="+r.dir)
	stdin := input(t, cmd)
	p := testkit.Start(t, cmd)
	told := familyOf(t, p.Stdout.Await("FAMILY "))
	p.Stdout.Await("INTERRUPTED")
	p.Stdout.Await("READY")
	testkit.StillAlive(t, told...)
	family := append(r.family(p, 3), told...)

	if end == closes {
		tell(t, stdin, "down")
		p.Stdout.Await("DOWN")
	} else {
		p.Kill()
	}
	r.nothingLeft(p, family...)
}

// A nanny and its two workers end by SIGTERM to the watchdog, and with the parent.
func TestRecipeDask(t *testing.T) {
	for _, end := range []string{closes, killed9} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			testkit.Need(t, "dask")
			python := testkit.NeedPython(t, "distributed")
			r := newRecipe(t, "dask_parent.py")
			cmd := r.cmd(python, "dask_parent.py", onPage(t, "run dask"))
			stdin := input(t, cmd)
			p := testkit.Start(t, cmd)
			told := familyOf(t, p.Stdout.Await("FAMILY "))
			if len(told) != 2 {
				t.Errorf("%d workers, want 2", len(told))
			}
			family := append(r.family(p, 4), told...)

			if end == closes {
				tell(t, stdin, "end")
				if got := p.Stdout.Await("STATUS "); got != "0" {
					t.Errorf("status %s, want 0", got)
				}
			} else {
				p.Kill()
			}
			r.nothingLeft(p, family...)
		})
	}
}
