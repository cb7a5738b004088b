//go:build linux

package clients

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"leash/internal/testkit"
)

func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "3"); err != nil { // they mostly wait
		panic(err)
	}
	testkit.Main(m)
}

// client is one of clients/.
type client struct {
	name, ext string
	needs     []string
	run       []string // before the file of an example
	tests     []string
	passed    string // what the tests say at their end
}

var all = []client{
	{"node", "mjs", []string{"node"}, []string{"node"}, []string{"node", "--test"}, "# fail 0"},
	{"python", "py", []string{"python3"}, []string{"python3"},
		[]string{"python3", "-X", "dev", "-m", "unittest", "discover", "-s", "pool_tests"}, "\nOK"},
	{"elixir", "exs", []string{"elixir", "erl", "mix"}, []string{"mix", "run"}, []string{"mix", "test"}, ", 0 failures"},
}

func (c client) dir(t *testing.T) string { return filepath.Join(testkit.Root(t), "clients", c.name) }

func (c client) cmd(t *testing.T, args []string) *exec.Cmd {
	t.Helper()
	testkit.Need(t, append(c.needs, "python3")...)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = c.dir(t)
	cmd.Env = append(os.Environ(),
		"LEASH_WATCHDOG="+testkit.Watchdog(t), "LEASH_REAPER="+testkit.Reaper(t),
		"PYTHONPATH="+c.dir(t), "PYTHONDONTWRITEBYTECODE=1",
		"MIX_BUILD_PATH="+filepath.Join(t.TempDir(), "build"), "HEX_OFFLINE=1",
		"ERL_CRASH_DUMP_SECONDS=0")
	return cmd
}

// The six scenes, the pool's death and the errors, as each client's own tests.
func TestScenes(t *testing.T) {
	for _, c := range all {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := testkit.Start(t, c.cmd(t, c.tests))
			select { // these are many tests, with a patience of their own
			case <-p.Done():
			case <-time.After(5 * testkit.Patience):
			}
			status, out, text := p.Wait(), p.Stdout.AwaitEnd(), p.Stderr.AwaitEnd()
			if status != 0 || !strings.Contains(out+text, c.passed) {
				t.Errorf("status %d\n%s\n%s", status, out, text)
			}
		})
	}
}

// The Python client is for 3.8 to 3.13: with each of them that pyenv has.
func TestPythons(t *testing.T) {
	home, _ := os.UserHomeDir()
	found, err := filepath.Glob(filepath.Join(home, ".pyenv/versions/3.*/bin/python3"))
	if err != nil {
		t.Fatal(err)
	}
	for _, python := range found {
		version := strings.Split(filepath.Base(filepath.Dir(filepath.Dir(python))), ".")
		if minor, err := strconv.Atoi(version[1]); err != nil || minor < 8 {
			continue
		}
		t.Run("3."+version[1], func(t *testing.T) {
			t.Parallel()
			status, out, text := testkit.Run(t, all[1].cmd(t, append([]string{python}, all[1].tests[1:]...)))
			if status != 0 || !strings.Contains(text, all[1].passed) {
				t.Errorf("status %d\n%s\n%s", status, out, text)
			}
		})
	}
}

// The programs of the READMEs, as they stand.
func TestExamples(t *testing.T) {
	for _, c := range all {
		for name, want := range map[string][]string{
			"first": {"it says READY", "ended: asked"},
			"hang":  {"ready", "silent for ", "ended: hung"},
		} {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				file := filepath.Join("examples", name+"."+c.ext)
				status, out, text := testkit.Run(t, c.cmd(t, append(append([]string{}, c.run...), file)))
				if status != 0 {
					t.Errorf("status %d\n%s", status, text)
				}
				for _, line := range want {
					if !strings.Contains("\n"+out, "\n"+line) {
						t.Errorf("no line begins with %q in:\n%s\n%s", line, out, text)
					}
				}
			})
		}
	}
}

var block = regexp.MustCompile("(?s)<!-- (clients/[^ ]+) -->\n```[a-z]*\n(.*?)```\n")

// Each README shows both examples, the first of them first.
func TestReadmes(t *testing.T) {
	for _, c := range all {
		text := read(t, filepath.Join(c.dir(t), "README.md"))
		shown := block.FindAllStringSubmatch(text, -1)
		if len(shown) != 2 || !strings.Contains(shown[0][1], "/first.") || !strings.Contains(shown[1][1], "/hang.") {
			t.Errorf("clients/%s/README.md shows %d examples, want first and hang", c.name, len(shown))
		}
		for _, m := range shown {
			if m[2] != read(t, filepath.Join(testkit.Root(t), m[1])) {
				t.Errorf("clients/%s/README.md differs from %s", c.name, m[1])
			}
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
