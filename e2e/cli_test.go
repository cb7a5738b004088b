//go:build linux || windows || darwin

package e2e

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"leash/internal/testkit"
)

// Scripts are cases of the command line, played with the programs themselves: see
// testdata/script/README.md for their commands.
func TestCommandLine(t *testing.T) { playScripts(t, "portable", nil) }

// updateVar has the scripts written anew with what the programs print now.
const updateVar = "LEASH_UPDATE_SCRIPTS"

// stage is what one script has beside its own folder.
type stage struct {
	t     testing.TB
	env   []string
	names []string // of variables with numbers that a session shows by their names
	more  map[string]func(s *stage, ts *testscript.TestScript, args []string)
}

// playScripts runs the scripts of a folder. What else prepare puts into a stage are
// variables and commands.
func playScripts(t *testing.T, folder string, prepare func(s *stage, e *testscript.Env)) {
	t.Helper()
	watchdog, reaper := testkit.Watchdog(t), testkit.Reaper(t)
	type key struct{}
	of := func(ts *testscript.TestScript) *stage { return ts.Value(key{}).(*stage) }
	commands := map[string]func(ts *testscript.TestScript, neg bool, args []string){
		"session": func(ts *testscript.TestScript, _ bool, args []string) { of(ts).session(ts, args) },
		"status":  func(ts *testscript.TestScript, _ bool, args []string) { of(ts).status(ts, args) },
	}
	for _, name := range []string{"start", "await", "signal", "ends", "alive"} {
		commands[name] = func(ts *testscript.TestScript, _ bool, args []string) {
			command := of(ts).more[name]
			if command == nil {
				ts.Fatalf("%s is no command of the scripts of this folder", name)
			}
			command(of(ts), ts, args)
		}
	}
	testscript.Run(t, testscript.Params{
		Dir:                filepath.Join("testdata", "script", folder),
		RequireUniqueNames: true,
		UpdateScripts:      os.Getenv(updateVar) == "1",
		Cmds:               commands,
		Setup: func(e *testscript.Env) error {
			s := &stage{t: e.T().(testing.TB), more: map[string]func(*stage, *testscript.TestScript, []string){}}
			path := filepath.Dir(watchdog) + string(os.PathListSeparator)
			if filepath.Dir(reaper) != filepath.Dir(watchdog) {
				path += filepath.Dir(reaper) + string(os.PathListSeparator)
			}
			e.Setenv("PATH", path+e.Getenv("PATH"))
			e.Setenv("root", testkit.Root(t))
			e.Setenv("GOOS", runtime.GOOS)
			e.Setenv("GOARCH", runtime.GOARCH)
			e.Setenv("LEASH_STATE_DIR", filepath.Join(e.WorkDir, "state"))
			if prepare != nil {
				prepare(s, e)
			}
			s.env = slices.Clone(e.Vars)
			e.Values[key{}] = s
			return nil
		},
	})
}

// command is a program with its arguments, and before it NAME=VALUE for its
// environment.
func (s *stage) command(ts *testscript.TestScript, words []string) *exec.Cmd {
	n := slices.IndexFunc(words, func(w string) bool { return !assignment.MatchString(w) })
	if n < 0 {
		ts.Fatalf("no program in %q", words)
	}
	path := map[string]func(testing.TB) string{"watchdog": testkit.Watchdog, "reaper": testkit.Reaper}[words[n]]
	cmd := exec.Command(words[n], words[n+1:]...)
	if path != nil {
		cmd = exec.Command(path(s.t), words[n+1:]...)
	}
	cmd.Dir = ts.Getenv("WORK")
	cmd.Env = slices.Concat(s.env, words[:n])
	return cmd
}

var assignment = regexp.MustCompile(`^[A-Z_]+=`)

// status N PROGRAM: it ends with this status.
func (s *stage) status(ts *testscript.TestScript, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: status N [NAME=VALUE...] PROGRAM [ARG...]")
	}
	status, stdout, stderr := testkit.Run(s.t, s.command(ts, args[1:]))
	s.printed(ts, stdout, stderr)
	if strconv.Itoa(status) != args[0] {
		ts.Fatalf("expected status %s of %q, but it ended with %d", args[0], args[1:], status)
	}
}

// printed is what stdout and stderr of the script check next.
func (s *stage) printed(ts *testscript.TestScript, stdout, stderr string) {
	for w, text := range map[io.Writer]string{ts.Stdout(): stdout, ts.Stderr(): stderr} { // empty ones too: else those of before stay
		if text != "" {
			fmt.Fprintln(w, text)
		}
	}
}

// session FILE plays each line behind "$ " and prints what a console would show:
// the call, standard output, standard error behind "2> ", and a status that is not 0.
// A "cmp stdout FILE" compares it.
func (s *stage) session(ts *testscript.TestScript, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: session FILE")
	}
	var b strings.Builder
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		line = strings.TrimSuffix(line, "\n")
		call, ok := strings.CutPrefix(line, "$ ")
		if !ok {
			if strings.HasPrefix(line, "#") || line == "" {
				fmt.Fprintln(&b, line)
			}
			continue
		}
		words, err := shellWords(call, ts.Getenv)
		if err != nil {
			ts.Fatalf("%s: %v", call, err)
		}
		status, stdout, stderr := testkit.Run(s.t, s.command(ts, words))
		fmt.Fprintln(&b, line)
		for _, text := range []struct{ mark, lines string }{{"", stdout}, {"2> ", stderr}} {
			if text.lines != "" {
				for line := range strings.SplitSeq(text.lines, "\n") {
					fmt.Fprintf(&b, "%s%s\n", text.mark, s.named(ts, call, line))
				}
			}
		}
		if status != 0 {
			fmt.Fprintf(&b, "[%d]\n", status)
		}
	}
	s.printed(ts, strings.TrimSuffix(b.String(), "\n"), "")
}

// highestPID is the variable with the highest PID that this system can give.
const highestPID = "highest_pid"

// named puts the names of variables for their values, which differ from run to run:
// of those in the call, and of those that any answer may hold.
func (s *stage) named(ts *testscript.TestScript, call, line string) string {
	line = strings.ReplaceAll(line, ts.Getenv("WORK"), "$WORK")
	for _, name := range s.names {
		if name == highestPID || strings.Contains(call, "$"+name) {
			value := regexp.MustCompile(`\b` + regexp.QuoteMeta(ts.Getenv(name)) + `\b`)
			line = value.ReplaceAllLiteralString(line, "$"+name)
		}
	}
	return line
}

// shellWords splits a line as a shell does: '…' is as it is, $'…' has the escapes of
// Go, and in "…" and elsewhere $NAME is a variable.
func shellWords(line string, getenv func(string) string) (words []string, err error) {
	name := regexp.MustCompile(`^\$(\w+)`)
	var word strings.Builder
	begun := false
	for line != "" {
		switch {
		case line[0] == ' ':
			if begun {
				words = append(words, word.String())
			}
			word.Reset()
			begun, line = false, line[1:]
			continue
		case line[0] == '\'', strings.HasPrefix(line, "$'"):
			text, rest, ok := strings.Cut(line[strings.IndexByte(line, '\'')+1:], "'")
			if !ok {
				return nil, fmt.Errorf("a ' has no end")
			}
			if line[0] == '$' {
				if text, err = strconv.Unquote(`"` + text + `"`); err != nil {
					return nil, fmt.Errorf("$'%s': %w", text, err)
				}
			}
			word.WriteString(text)
			line = rest
		case line[0] == '"': // without words in it that need one of their own
			text, rest, ok := strings.Cut(line[1:], `"`)
			if !ok {
				return nil, fmt.Errorf(`a " has no end`)
			}
			word.WriteString(os.Expand(text, getenv))
			line = rest
		case name.MatchString(line):
			m := name.FindStringSubmatch(line)
			word.WriteString(getenv(m[1]))
			line = line[len(m[0]):]
		default:
			word.WriteByte(line[0])
			line = line[1:]
		}
		begun = true
	}
	if begun {
		words = append(words, word.String())
	}
	return words, nil
}

func TestShellWords(t *testing.T) {
	getenv := func(name string) string { return map[string]string{"A": "a value"}[name] }
	for line, want := range map[string][]string{
		"":                         nil,
		"one  two":                 {"one", "two"},
		`x='1 2' '' "$A-$B" $A 3$`: {"x=1 2", "", "a value-", "a value", "3$"},
		`'$A $$'b $'\n\x1b'`:       {"$A $$b", "\n\x1b"},
	} {
		if got, err := shellWords(line, getenv); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s gives %q, %v; want %q", line, got, err, want)
		}
	}
	for _, line := range []string{"'", `"`, `$'\z'`} {
		if got, err := shellWords(line, getenv); err == nil {
			t.Errorf("%s gives %q, and should be refused", line, got)
		}
	}
}
