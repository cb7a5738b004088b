//go:build linux

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"leash/internal/testkit"
)

// The pages whose sessions are played: blocks of ```console, with a command behind each "$ ",
// what it prints on both streams, and its status in brackets unless it is 0. "…" stands for
// anything within a line. LEASH_UPDATE_SCRIPTS=1 writes what is printed where it differs.
var played = map[string]int{"troubleshooting.md": 25, "migrating.md": 6, "runbook.md": 3}

func TestPages(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		testkit.Need(t, "bash", "unshare", "setpriv", "mount")
		testkit.NeedPython(t)
		for name, least := range played {
			t.Run(name, func(t *testing.T) {
				file := filepath.Join(testkit.Root(t), "docs", name)
				text := string(readFile(t, file))
				got, commands := playPage(t, text)
				if commands < least {
					t.Errorf("%d commands, want %d or more", commands, least)
				}
				if got != text && os.Getenv(updateVar) != "" {
					writeFile(t, file, got, 0o644)
				}
			})
		}
	})
}

// playPage plays every session of a page, each in a folder of its own.
func playPage(t *testing.T, text string) (played string, commands int) {
	var out strings.Builder
	for i, part := range strings.Split(text, "```console\n") {
		if i == 0 {
			out.WriteString(part)
			continue
		}
		session, rest, ok := strings.Cut(part, "```\n")
		if !ok {
			t.Fatal("a session has no end")
		}
		out.WriteString("```console\n")
		dir := publicDir(t)
		for _, c := range regexp.MustCompile(`(?m)^\$ `).Split(session, -1)[1:] {
			command, want, _ := strings.Cut(c, "\n")
			got := playCommand(t, dir, command)
			commands++
			if !fits(want, got) {
				t.Errorf("$ %s\nprints\n%s\nand the page says\n%s", command, got, want)
				want = got
			}
			out.WriteString("$ " + command + "\n" + want)
		}
		out.WriteString("```\n" + rest)
	}
	return out.String(), commands
}

func playCommand(t *testing.T, dir, command string) string {
	t.Helper()
	cmd := exec.Command("bash", "-c", command)
	cmd.Dir = dir
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "LEASH_") && !strings.HasPrefix(e, "PATH=") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Env = append(cmd.Env, "PATH="+filepath.Dir(testkit.Watchdog(t))+":"+os.Getenv("PATH"), "LEASH_STATE_DIR="+filepath.Join(dir, "state"))
	status, stdout, stderr := testkit.Run(t, cmd)
	text := ""
	for _, s := range []string{stdout, stderr} {
		if s != "" {
			text += s + "\n"
		}
	}
	if status != 0 {
		text += "[" + strconv.Itoa(status) + "]\n"
	}
	return text
}

// fits reports whether a text is what a page says.
func fits(want, got string) bool {
	pattern := strings.ReplaceAll(regexp.QuoteMeta(want), "…", ".*")
	return regexp.MustCompile("^" + pattern + "$").MatchString(got)
}

func TestFits(t *testing.T) {
	for _, c := range []struct {
		want, got string
		fits      bool
	}{{"a … c\n", "a b c\n", true}, {"a …\n", "a b\nc\n", false}, {"a\n", "a\n[1]\n", false}, {"", "", true}, {"a.c\n", "abc\n", false}} {
		if fits(c.want, c.got) != c.fits {
			t.Errorf("%q %q", c.want, c.got)
		}
	}
}
