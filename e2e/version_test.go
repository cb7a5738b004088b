//go:build linux

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"leash/internal/testkit"
)

// Programs built without a word of the commit say so.
func TestVersionIsOneLine(t *testing.T) {
	for _, name := range []string{"watchdog", "reaper"} {
		binary := map[string]func(testing.TB) string{"watchdog": testkit.Watchdog, "reaper": testkit.Reaper}[name](t)
		line := regexp.MustCompile(`^` + name + ` \S+ \(commit \S+, go1\.\S+, linux/\w+\)$`)
		commands := map[string][]string{"watchdog": {"", "run", "guard"}, "reaper": {"", "reap", "list", "id"}}[name]
		for _, command := range commands {
			for _, more := range []string{"", "--help", "--log-level=loud"} {
				args := strings.Fields(command + " --version " + more)
				status, stdout, stderr := testkit.Run(t, exec.Command(binary, args...))
				if status != 0 || stderr != "" || !line.MatchString(stdout) {
					t.Errorf("%s %q: status %d, stderr %q, stdout %q", name, args, status, stderr, stdout)
				}
			}
		}
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(binary, "--version")
		cmd.Stdout = full
		p := testkit.Start(t, cmd)
		full.Close()
		if status := p.Wait(); status != 125 {
			t.Errorf("%s --version >/dev/full: status %d", name, status)
		}
	}
}

// What make puts into the programs: the tag at the commit, else the commit. A
// copy without a repository is known by what git writes into its archives.
func TestVersionOfTheSources(t *testing.T) {
	testkit.Need(t, "git")
	script, err := os.ReadFile(filepath.Join(testkit.Root(t), "scripts/version.sh"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	run := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
			"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org")
		status, stdout, stderr := testkit.Run(t, cmd)
		if status != 0 {
			t.Fatalf("%s %q: %d, %s", name, args, status, stderr)
		}
		return stdout
	}
	put := func(name, text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	says := func(in, want string) {
		t.Helper()
		if got := run("sh", filepath.Join(in, "scripts/version.sh")); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	os.Mkdir(filepath.Join(dir, "scripts"), 0o755)
	put("scripts/version.sh", string(script), 0o755)
	put(".gitattributes", ".commit export-subst\n", 0o644)
	put(".commit", "$Format:%H %D$\n", 0o644)
	says(dir, "") // no repository yet
	run("git", "init", "-q")
	run("git", "add", "-A")
	run("git", "commit", "-q", "-m", "x")
	head := run("git", "rev-parse", "HEAD")
	commit, tag := "-X leash/internal/version.commit="+head, " -X leash/internal/version.tag="
	says(dir, commit)
	run("git", "tag", "v1.2.3-rc.1")
	run("git", "tag", "v1.2.3")
	run("git", "tag", "vague")
	says(dir, commit+tag+"v1.2.3")
	copied := filepath.Join(t.TempDir(), "copied")
	run("sh", "-c", `mkdir "$1" && git archive HEAD | tar -x -C "$1"`, "sh", copied)
	says(copied, commit+tag+"v1.2.3")
	put("changed", "", 0o644)
	says(dir, commit+"+dirty")
	os.Remove(filepath.Join(dir, "changed"))
	run("git", "commit", "-q", "--allow-empty", "-m", "y")
	says(dir, "-X leash/internal/version.commit="+run("git", "rev-parse", "HEAD"))
}
