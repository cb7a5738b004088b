//go:build linux

package e2e

import (
	"context"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"leash/internal/testkit"
)

func TestRecipePuppeteerPipe(t *testing.T) {
	t.Parallel()
	newBrowserRecipe(t, "puppeteer-core", "puppeteer.mjs").puppeteer("pipe", closes)
}

func TestRecipePlaywright(t *testing.T) {
	t.Parallel()
	r := newBrowserRecipe(t, "playwright-core", "playwright.mjs")
	r.browse(append([]string{"playwright.mjs"}, browserFlags...), killed9)
}

func TestRecipeNodeMessages(t *testing.T) {
	t.Parallel()
	testkit.Need(t, "node")
	r := newRecipe(t, "ipc_parent.mjs", "ipc_worker.mjs")
	p := testkit.Start(t, r.cmd("node", "ipc_parent.mjs"))
	if got := p.Stdout.Await("ANSWER "); got != "42" {
		t.Errorf("the worker answers %q", got)
	}
	family := r.family(p, 2)
	p.Kill()
	r.nothingLeft(p, family...)
}

// Two jobs of an inner make wait for each other. With a jobserver they run at the
// same time.
func TestRecipeMake(t *testing.T) {
	t.Parallel()
	testkit.Need(t, "make")
	r := newRecipe(t, "Makefile")
	r.fifo("gate")
	status, stdout, stderr := testkit.Run(t, r.cmd("make", "-j2"))
	if status != 0 || !strings.Contains(stdout, "READ together") || strings.Contains(stderr, "jobserver") {
		t.Errorf("status %d\n%s\n%s", status, stdout, stderr)
	}
}

// The first request to a socket starts the watchdog with it, and gunicorn takes it
// from there.
func TestRecipeActivation(t *testing.T) {
	t.Parallel()
	testkit.Need(t, gunicorn, "systemd-socket-activate")
	testkit.NeedPython(t, "gunicorn")
	r := newRecipe(t, "web.py")
	socket := filepath.Join(r.dir, "s")
	p, _ := r.startParent(onPage(t, "run activation", "8000", socket))
	p.Stdout.AwaitMatch(regexp.MustCompile(`Listening on .* as 3`))
	// Whose worker answers first, and whether both are there by then, is open.
	client := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
		DisableKeepAlives: true,
	}}
	resp, err := client.Get("http://web/now")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	checkAnswer(t, resp)
	family := r.family(p, 1+1+1)
	p.Kill()
	r.nothingLeft(p, family...)
}
