//go:build linux

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
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
		r.t.Fatalf("nobody reads %s", gate)
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

// parent runs a command of the page in a shell that lives on beside it, and
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

// nothingLeft waits until the family is gone and sees that nobody else of this
// folder is there but the process that started it.
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
	text, err := os.ReadFile(filepath.Join(testkit.Root(t), recipesPage))
	if err != nil {
		t.Fatal(err)
	}
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
	files, err := filepath.Glob(filepath.Join(testkit.Root(t), "e2e", "recipes_*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
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
