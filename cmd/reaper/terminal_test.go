//go:build linux

package main

import (
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"leash/internal/testkit"
)

func itoa(n int) string { return strconv.Itoa(n) }

// terminal makes a pseudo terminal of so many columns: the end for the program, and the lines
// of its output, which a carriage return ends too.
func terminal(t *testing.T, columns int) (*os.File, *testkit.Lines) {
	t.Helper()
	master, tty := testkit.Terminal(t)
	testkit.SetWidth(t, tty, columns)
	return tty, testkit.Collect(t, returns{master})
}

// returns reads carriage returns as line feeds.
type returns struct{ io.Reader }

func (r returns) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	for i := range b[:n] {
		if b[i] == '\r' {
			b[i] = '\n'
		}
	}
	return n, err
}

// onTerminal runs the reaper on a terminal to its end.
func onTerminal(t *testing.T, columns int, env string, args ...string) string {
	t.Helper()
	tty, lines := terminal(t, columns)
	cmd := exec.Command(testkit.Reaper(t), args...)
	cmd.Env = environ(t, env)
	cmd.Stdout, cmd.Stderr = tty, tty
	p := testkit.Start(t, cmd)
	tty.Close()
	if status := p.Wait(); status != 0 {
		t.Fatalf("status %d: %s", status, p.Stderr.AwaitEnd())
	}
	return lines.AwaitEnd()
}

var colour = regexp.MustCompile("\x1b\\[[0-9]*m")

// On a terminal the state has a colour, no line is longer than the terminal is wide, and the
// arguments of a process cannot contain escape sequences.
func TestListOnATerminal(t *testing.T) {
	id := newID(t)
	worker(t, id, "\x1b[41mred\x07", "\x9b41m", strings.Repeat("漢字", 100))
	for _, width := range []int{50, 120} {
		text := onTerminal(t, width, "TERM=xterm", "list")
		if want := "run " + id + "  \x1b[33munclaimed\x1b[0m  age "; !strings.Contains(text, want) {
			t.Errorf("no %q in\n%q", want, text)
		}
		shown := colour.ReplaceAllString(text, "")
		if strings.ContainsAny(shown, "\x1b\x07\u009b") || strings.Contains(text, "\x1b[41m") {
			t.Errorf("a process wrote to the terminal: %q", text)
		}
		for line := range strings.SplitSeq(shown, "\n") {
			wide := strings.Count(line, "漢") + strings.Count(line, "字")
			if n := utf8.RuneCountInString(line) + wide; n > width {
				t.Errorf("%d columns of %d: %q", n, width, line)
			}
		}
	}
	// The width is not known: nothing is cut.
	if text := onTerminal(t, 0, "TERM=xterm", "list"); !strings.Contains(text, strings.Repeat("漢字", 100)) || !colour.MatchString(text) {
		t.Errorf("%q", text)
	}
	for _, env := range []string{"TERM=dumb", "NO_COLOR=1"} {
		if text := onTerminal(t, 80, env, "list"); strings.Contains(text, "\x1b") || !strings.Contains(text, id+"  unclaimed") {
			t.Errorf("%s: %q", env, text)
		}
	}
	for _, args := range [][]string{{"list", "--json"}, {"explain", itoa(os.Getpid())}, {"id"}} {
		if text := onTerminal(t, 80, "TERM=xterm", args...); strings.Contains(text, "\x1b") {
			t.Errorf("%q: colours in %q", args, text)
		}
	}
}

// After a second a line says what is waited for. It is cleared before other output, and at
// the end.
func TestProgress(t *testing.T) {
	id := newID(t)
	p := worker(t, id)
	tty, lines := terminal(t, 30)
	cmd := exec.Command(testkit.Reaper(t), "reap", "--run-id", id, "--grace", "10m", "--log-level", "warn")
	cmd.Env = environ(t, "TERM=xterm")
	cmd.Stdout, cmd.Stderr = tty, tty
	reaper := testkit.Start(t, cmd)
	tty.Close()
	// 29 columns: a cursor in the last one would begin a line.
	lines.AwaitMatch(regexp.MustCompile("^\x1b\\[Kreaper: 1 of 1 process left …$"))
	testkit.StillAlive(t, p.Ident)
	p.Kill()
	if status := reaper.Wait(); status != 0 {
		t.Errorf("status %d", status)
	}
	all := lines.AwaitEnd()
	if end := "\n\x1b[K" + "run " + id + "  unclaimed, no ow…"; !strings.Contains(all, end) {
		t.Errorf("the progress is not cleared before the outcome: %q", all)
	}
}

// There is no such line without a terminal, or on one that does not handle escape sequences.
func TestNoProgress(t *testing.T) {
	for name, redirect := range map[string]bool{"TERM=dumb": false, "TERM=xterm": true} {
		id := newID(t)
		p := worker(t, id)
		tty, lines := terminal(t, 0)
		cmd := exec.Command(testkit.Reaper(t), "reap", "--run-id", id, "--grace", "1500ms", "--log-level", "warn")
		cmd.Env = environ(t, name)
		cmd.Stdout = tty
		if !redirect {
			cmd.Stderr = tty
		}
		reaper := testkit.Start(t, cmd)
		tty.Close()
		if status := reaper.Wait(); status != 0 {
			t.Errorf("status %d", status)
		}
		p.Wait()
		all := lines.AwaitEnd()
		if redirect {
			all += reaper.Stderr.AwaitEnd()
		}
		if strings.Contains(all, "\x1b") || strings.Contains(all, "left after") {
			t.Errorf("%s: %q", name, all)
		}
	}
}

// On a terminal only the outcome is shown, in a log the events.
func TestEventsOnATerminal(t *testing.T) {
	id := newID(t)
	shown := onTerminal(t, 80, "", "reap", "--run-id", id)
	if !strings.Contains(shown, "nothing to end") || strings.Contains(shown, "reaper.") {
		t.Errorf("on a terminal: %q", shown)
	}
	shown = onTerminal(t, 80, "", "reap", "--run-id", id, "--log-level", "info")
	if !strings.Contains(shown, "reaper.completed") {
		t.Errorf("when asked for: %q", shown)
	}
}
