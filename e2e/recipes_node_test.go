//go:build linux

package e2e

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"leash/internal/testkit"
)

// How the program that uses Leash ends its worker, or ends itself.
const (
	closes  = "closes" // it does so itself, at a line on its standard input
	killed9 = "killed"
)

// familyOf reads the PIDs that a program told in one line, and has them ended with
// the test.
func familyOf(t *testing.T, line string) []testkit.Ident {
	t.Helper()
	var ids []testkit.Ident
	for _, pid := range strings.Fields(line) {
		ids = append(ids, testkit.Identify(t, atoi(t, pid)))
	}
	testkit.Adopt(t, ids...)
	return ids
}

// A server that is deaf to everything, behind the client of MCP's SDK. With a
// grace period longer than the SDK waits, the SDK kills the watchdog.
func TestRecipeMCP(t *testing.T) {
	for _, c := range []struct{ name, end, grace string }{
		{"closes", closes, "1s"},
		{"is killed", killed9, "1s"},
		{"kills the watchdog", closes, "5m"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			modules := nodeModules(t, "@modelcontextprotocol/sdk")
			r := newRecipe(t, "server.mjs")
			r.copy(peer(t, "recipes/mcp_client.mjs"), `"1s"`, strconv.Quote(c.grace))
			r.link(modules)
			cmd := r.cmd("node", "mcp_client.mjs")
			stdin := input(t, cmd)
			p := testkit.Start(t, cmd)
			told := familyOf(t, p.Stdout.Await("FAMILY "))
			family := append(r.family(p, 3), told...)

			if c.end == closes {
				tell(t, stdin, "close")
				p.Stdout.Await("CLOSED")
			} else {
				p.Kill()
			}
			r.nothingLeft(p, family...)
		})
	}
}

// browserFlags let Chromium run as root, without a screen, and talk to nobody.
var browserFlags = []string{"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
	"--disable-background-networking", "--disable-component-update", "--disable-sync"}

// newBrowserRecipe has a wrapper script beside the program.
func newBrowserRecipe(t *testing.T, module, file string) *recipe {
	t.Helper()
	modules := nodeModules(t, module)
	r := newRecipe(t, file)
	r.link(modules)
	r.write("chromium", onPage(t, "file chromium", "/usr/bin/chromium", needBrowser(t))+"\n", 0o755)
	return r
}

func needBrowser(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	testkit.Skip(t, "this test needs chromium")
	return ""
}

// A browser that is driven by a socket stays without Puppeteer.
func TestRecipePuppeteerKilled(t *testing.T) {
	t.Parallel()
	newBrowserRecipe(t, "puppeteer-core", "puppeteer.mjs").puppeteer("socket", killed9)
}

// puppeteer opens the browser by a pipe or a socket and ends what shows it.
func (r *recipe) puppeteer(way, end string) {
	r.t.Helper()
	args := append([]string{"puppeteer.mjs", way}, browserFlags...)
	r.browse(append(args, "--user-data-dir="+filepath.Join(r.dir, "profile")), end)
}

// browse waits for a page and ends what shows it.
func (r *recipe) browse(args []string, end string) {
	r.t.Helper()
	cmd := r.cmd("node", args...)
	stdin := input(r.t, cmd)
	p := testkit.Start(r.t, cmd)
	if title := p.Stdout.Await("TITLE "); title != "it works" {
		r.t.Errorf("the title is %q", title)
	}
	family := r.family(p, 4)
	switch end {
	case closes:
		tell(r.t, stdin, "close")
		p.Stdout.Await("CLOSED")
	case killed9:
		p.Kill()
	default:
		p.Signal(syscall.SIGINT)
	}
	r.nothingLeft(p, family...)
}
