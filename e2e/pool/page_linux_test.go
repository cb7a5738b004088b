package pool

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"leash/internal/testkit"
)

// How the programs of docs/pool.md are run, by the language of their block.
var languages = map[string]struct {
	file    string
	command []string
}{
	"python":     {"pool.py", []string{"python3"}},
	"javascript": {"pool.mjs", []string{"node"}},
	"elixir":     {"pool.exs", []string{"elixir"}},
	"go":         {"pool.go", []string{"go", "run"}},
	"bash":       {"pool.sh", []string{"bash"}},
}

// Every program of the page runs as it stands.
func TestPage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(testkit.Root(t), "docs/pool.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```(\\w+)\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(blocks) != len(languages) {
		t.Errorf("%d programs, want %d", len(blocks), len(languages))
	}
	for _, b := range blocks {
		t.Run(b[1], func(t *testing.T) {
			t.Parallel()
			l, ok := languages[b[1]]
			if !ok {
				t.Fatal("nothing runs it")
			}
			testkit.Need(t, l.command[0])
			if b[1] == "bash" {
				testkit.Need(t, "jq")
			}
			dir := t.TempDir()
			file := filepath.Join(dir, l.file)
			if err := os.WriteFile(file, []byte(b[2]), 0o644); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(l.command[0], append(l.command[1:], file)...)
			cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(testkit.Watchdog(t))+":"+os.Getenv("PATH"), "LEASH_STATE_DIR="+filepath.Join(dir, "state"))
			status, stdout, stderr := testkit.Run(t, cmd)
			if status != 0 || stdout != "hello\nstatus 3" {
				t.Errorf("status %d\n%s\n%s", status, stdout, stderr)
			}
		})
	}
}
