//go:build linux

package e2e

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

const recipesPage = "docs/recipes.md"

// recipe is a folder in which a recipe of docs/recipes.md is tried. Every process
// that is started there has the folder as its home.
type recipe struct {
	t   *testing.T
	dir string
}

// newRecipe copies files of testdata/peers/recipes into a folder of its own.
func newRecipe(t *testing.T, files ...string) *recipe {
	t.Helper()
	r := &recipe{t, t.TempDir()}
	for _, name := range files {
		r.copy(peer(t, "recipes/"+name))
	}
	t.Cleanup(r.end)
	return r
}

// copy copies a file, with some words replaced.
func (r *recipe) copy(path string, replace ...string) {
	r.t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		r.t.Fatal(err)
	}
	r.write(filepath.Base(path), strings.NewReplacer(replace...).Replace(string(text)), 0o644)
}

func (r *recipe) write(name, text string, mode os.FileMode) {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		r.t.Fatal(err)
	}
}

// fifo makes a FIFO.
func (r *recipe) fifo(name string) {
	r.t.Helper()
	if err := unix.Mkfifo(filepath.Join(r.dir, name), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// open waits for a reader of the FIFO and lets it read its end.
func (r *recipe) open(gate string) {
	r.t.Helper()
	opened := make(chan error, 1)
	go func() {
		f, err := os.OpenFile(filepath.Join(r.dir, gate), os.O_WRONLY, 0)
		if err == nil {
			err = f.Close()
		}
		opened <- err
	}()
	select {
	case err := <-opened:
		if err != nil {
			r.t.Fatal(err)
		}
	case <-time.After(testkit.Patience):
		r.t.Fatalf("no process reads %s", gate)
	}
}

// cmd is a command in the folder of the recipe. The watchdog is in its PATH, and
// so are the programs of the distribution, before any others.
func (r *recipe) cmd(name string, args ...string) *exec.Cmd {
	r.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = r.dir
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { // make test is a make, too
		return strings.HasPrefix(v, "MAKE") || strings.HasPrefix(v, "MFLAGS=")
	})
	cmd.Env = append(cmd.Env, "HOME="+r.dir, "TMPDIR="+r.dir, "PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1",
		"PATH="+filepath.Dir(realPath(r.t, testkit.Watchdog(r.t)))+":/usr/bin:/bin:"+os.Getenv("PATH"))
	return cmd
}

// parent runs a command of the page in a shell that keeps running beside it, and
// prints the PID of the watchdog and its status.
func (r *recipe) parent(command string) *exec.Cmd {
	return r.cmd("sh", "-c", "exec 2>&1; "+command+" & echo WATCHDOG $!; wait $!; echo STATUS $?; read line")
}

// family lists what is below the process, and has it ended with the test.
func (r *recipe) family(p *testkit.Proc, atLeast int) []testkit.Ident {
	r.t.Helper()
	family := testkit.Descendants(r.t, p.PID)
	testkit.Adopt(r.t, family...)
	if len(family) < atLeast {
		r.t.Fatalf("%d processes below %v, want %d at least: %v", len(family), p.Ident, atLeast, family)
	}
	return family
}

// nothingLeft waits until the family has ended and checks that no other process of this
// folder is there but the one that started it.
func (r *recipe) nothingLeft(p *testkit.Proc, family ...testkit.Ident) {
	r.t.Helper()
	testkit.AwaitGone(r.t, family...)
	left := slices.DeleteFunc(r.all(), func(id testkit.Ident) bool { return id == p.Ident })
	testkit.AwaitGone(r.t, left...)
}

// all lists the live processes that have the folder as their home.
func (r *recipe) all() []testkit.Ident {
	r.t.Helper()
	return living(r.t, func(_, env []byte) bool { return has(env, "HOME="+r.dir) })
}

func (r *recipe) end() {
	left := r.all()
	for _, id := range left {
		_ = id.Signal(unix.SIGKILL)
	}
	testkit.AwaitGone(r.t, left...)
}

var pageBlock = regexp.MustCompile("(?s)(?:<!-- ([^\n]+) -->\n)?```[a-z]+\n(.*?)```\n")

// pageBlocks finds the code blocks of the page by their marks.
func pageBlocks(t *testing.T) map[string]string {
	t.Helper()
	text := readFile(t, filepath.Join(testkit.Root(t), recipesPage))
	blocks := map[string]string{}
	for _, m := range pageBlock.FindAllStringSubmatch(string(text), -1) {
		blocks[m[1]] = m[2]
	}
	return blocks
}

// onPage returns a block of the page, with some words replaced.
func onPage(t *testing.T, mark string, replace ...string) string {
	t.Helper()
	text, ok := pageBlocks(t)[mark]
	if !ok {
		t.Fatalf("%s has no block %q", recipesPage, mark)
	}
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(text, replace[i]) {
			t.Fatalf("%q of %s lacks %q:\n%s", mark, recipesPage, replace[i], text)
		}
	}
	return strings.TrimSuffix(strings.NewReplacer(replace...).Replace(text), "\n")
}

// TestRecipesAreTested keeps the page and the tests alike: a command or file of the
// page is one that a test uses, and a part of a program stands in that program.
func TestRecipesAreTested(t *testing.T) {
	var tests strings.Builder
	files, err := filepath.Glob(filepath.Join(testkit.Root(t), "e2e", "recipes*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text := readFile(t, file)
		tests.Write(text)
	}
	for mark, block := range pageBlocks(t) {
		file, part := strings.CutPrefix(mark, "part of ")
		if !part {
			if !strings.Contains(tests.String(), `"`+mark+`"`) {
				t.Errorf("no test uses %q of %s", mark, recipesPage)
			}
			continue
		}
		text, err := os.ReadFile(peer(t, "recipes/"+file))
		if err != nil || !strings.Contains("\n"+unindented(string(text)), "\n"+unindented(block)) {
			t.Errorf("not in %s (%v):\n%s", file, err, block)
		}
	}
}

// unindented takes the spaces and tabs off the beginning of each line.
func unindented(text string) string {
	return regexp.MustCompile(`(?m)^[ \t]+`).ReplaceAllString(text, "")
}

// nodeModules is where scripts/test-deps.sh puts what npm has.
func nodeModules(t *testing.T, module string) string {
	t.Helper()
	testkit.Need(t, "node")
	dir := os.Getenv("LEASH_NODE_DIR")
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(cache, "leash-node")
	}
	dir = filepath.Join(dir, "node_modules")
	if _, err := os.Stat(filepath.Join(dir, module)); err != nil {
		testkit.Skip(t, "this test needs "+module+" of npm, which scripts/test-deps.sh installs: "+err.Error())
	}
	return dir
}

// link has programs of the folder find the modules of npm.
func (r *recipe) link(modules string) {
	r.t.Helper()
	if err := os.Symlink(modules, filepath.Join(r.dir, "node_modules")); err != nil {
		r.t.Fatal(err)
	}
}

var (
	taskBegun   = regexp.MustCompile(`BEGUN gate`)
	taskDone    = regexp.MustCompile(`Task tasks\.wait_for\[.*\] succeeded`)
	celeryStops = regexp.MustCompile(`worker: Warm shutdown`)
)

// Two tasks run when celery gets the stop signal, or when its parent dies: both are
// finished.
func TestRecipeCelery(t *testing.T) {
	for _, end := range []string{"terminated", killed9} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			testkit.Need(t, "/usr/bin/celery")
			python := testkit.NeedPython(t, "celery")
			r := newRecipe(t, "tasks.py")
			r.write("queue/.keep", "", 0o644)
			for _, gate := range []string{"gate1", "gate2"} {
				r.fifo(gate)
				send := r.cmd(python, "-c", "import sys, tasks; tasks.wait_for.delay(sys.argv[1])", gate)
				if status, _, stderr := testkit.Run(t, send); status != 0 {
					t.Fatalf("status %d of what sends a task: %s", status, stderr)
				}
			}
			p, watchdog := r.startParent(onPage(t, "run celery"))
			p.Stdout.AwaitMatch(taskBegun)
			p.Stdout.AwaitMatch(taskBegun)
			family := r.family(p, 4)

			if end == killed9 {
				p.Kill()
			} else if err := watchdog.Signal(unix.SIGTERM); err != nil {
				t.Fatal(err)
			}
			p.Stdout.AwaitMatch(celeryStops)
			for _, gate := range []string{"gate1", "gate2"} {
				r.open(gate)
				p.Stdout.AwaitMatch(taskDone)
			}
			if end != killed9 {
				if got := p.Stdout.Await("STATUS "); got != "0" {
					t.Errorf("status %s, want 0", got)
				}
			}
			r.nothingLeft(p, family...)
		})
	}
}

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
	// Which of the workers answers first, and whether both run by then, is open.
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

// A server that ignores every signal, behind the client of MCP's SDK. With a
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

// browserFlags let Chromium run as root, without a screen, and without connections of its own.
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

// A request is being answered when gunicorn gets the stop signal: the answer is whole.
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

// A kernel is interrupted and keeps running until its manager is killed.
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

// At Ctrl-C Puppeteer kills the process group of what it has started, which is the
// watchdog.
func TestRecipePuppeteerInterrupted(t *testing.T) {
	t.Parallel()
	newBrowserRecipe(t, "puppeteer-core", "puppeteer.mjs").puppeteer("socket", "interrupted")
}

// The manager of a kernel kills the watchdog.
func TestRecipeJupyterShutsDown(t *testing.T) { jupyter(t, closes) }

// Go kills the watchdog when a context ends.
func TestRecipeContextKills(t *testing.T) { goContext(t, "kill") }

// tree is a worker with children of two kinds.
const tree = `sleep 1000000 & setsid sleep 1000000 & echo READY; wait`

// A context of Go sends the stop signal to the watchdog.
func TestRecipeContextSendsTERM(t *testing.T) { goContext(t, "term") }

func goContext(t *testing.T, how string) {
	t.Parallel()
	testkit.Need(t, "setsid")
	r := newRecipe(t)
	cmd := r.cmd(testkit.Build(t, "./testdata/peers/golimit"), how,
		testkit.Watchdog(t), "run", "--", "sh", "-c", tree)
	stdin := input(t, cmd)
	p := testkit.Start(t, cmd)
	p.Stdout.Await("READY")
	family := r.family(p, 4)
	tell(t, stdin, "cancel")
	p.Stdout.Await("ENDED ")
	r.nothingLeft(p, family...)
}

// timeout(1) takes SIGALRM from any process for the end of its time.
func TestRecipeTimeout(t *testing.T) {
	t.Parallel()
	testkit.Need(t, "timeout", "python3")
	r := newRecipe(t)
	r.copy(filepath.Join(examplesDir(t), "worker.py"))
	cmd := r.cmd("sh", "-c", "exec "+onPage(t, "run timeout"))
	p := testkit.Start(t, cmd)
	p.Stdout.Await("READY")
	family := r.family(p, 2)
	p.Signal(syscall.SIGALRM)
	if got := p.Wait(); got != 124 {
		t.Errorf("status %d, want 124", got)
	}
	r.nothingLeft(p, family...)
}
