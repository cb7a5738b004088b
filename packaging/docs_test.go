//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"leash/internal/testkit"
)

// Pages render without a warning, and name every command, flag and variable that the
// programs have.
func TestManPages(t *testing.T) {
	testkit.Need(t, "mandoc", "groff", "man")
	dir := unpacked(t)
	for _, name := range []string{"man1/watchdog.1", "man1/reaper.1", "man7/leash.7"} {
		page := filepath.Join(dir, "share/man", name)
		for _, args := range [][]string{
			{"mandoc", "-T", "lint", "-W", "warning", page},
			{"groff", "-ww", "-man", "-Tutf8", "-z", page},
			{"env", "LC_ALL=C.UTF-8", "MANWIDTH=80", "man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", page},
		} {
			cmd := exec.Command(args[0], args[1:]...)
			status, stdout, stderr := testkit.Run(t, cmd)
			stderr = strings.ReplaceAll(stderr, "man: can't set the locale; make sure $LC_* and $LANG are correct\n", "")
			if status != 0 || stderr != "" || args[0] == "mandoc" && stdout != "" {
				t.Errorf("%q: status %d\n%s%s", args, status, stdout, stderr)
			}
		}
	}
	for _, program := range programs {
		text := must(t, "env", "LC_ALL=C.UTF-8", "MANWIDTH=1000", "GROFF_NO_SGR=1", "man", "-l", "-Tutf8", filepath.Join(dir, "share/man/man1", program+".1"))
		c, err := readGrammar(sources, t.TempDir(), program)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"leash-" + program}
		each(c, func(_ string, o *option) {
			want = append(want, "--"+o.Name)
			want = append(want, o.Envs...)
		})
		for _, sub := range c.Commands {
			want = append(want, program+" "+sub.Name)
		}
		plain := overstrike(text)
		for _, word := range want {
			if !strings.Contains(plain, word) {
				t.Errorf("%s(1) does not name %s", program, word)
			}
		}
	}
}

// overstrike removes what a terminal shows as bold and underlined: X, backspace, X.
func overstrike(text string) string {
	var plain []rune
	for _, r := range text {
		if r == '\b' && len(plain) > 0 {
			plain = plain[:len(plain)-1]
		} else {
			plain = append(plain, r)
		}
	}
	return string(plain)
}

// The grammar is that of the programs: a build with the tag says no more than --help.
func TestGrammar(t *testing.T) {
	c, err := readGrammar(sources, t.TempDir(), "watchdog")
	if err != nil {
		t.Fatal(err)
	}
	if got := subNames(c); !slices.Contains(got, "guard") || !slices.Contains(got, "run") {
		t.Errorf("commands are %q", got)
	}
	grace := c.Flags[slices.IndexFunc(c.Flags, func(o option) bool { return o.Name == "grace" })]
	if grace.Default != "3s" || !slices.Equal(grace.Envs, []string{"LEASH_GRACE"}) || strings.Contains(grace.Help, "$") {
		t.Errorf("--grace is %+v", grace)
	}
	program := filepath.Join(crossOf(t, tag), "watchdog-linux-amd64")
	if strings.Contains(read(t, program), "internal/helptext/grammar.go") {
		t.Error("the program holds what prints the grammar")
	}
	plain := must(t, program, "--help")
	if got := must(t, "env", "COMP_LINE=watchdog r", "COMP_POINT=10", "COMP_TYPE=9", program, "--help"); got != plain {
		t.Errorf("variables of a completing shell change what is printed:\n%s", got)
	}
}

// askBash completes a line as bash does, with the words that it makes of it.
const askBash = `
set -u
PATH=$1:$PATH
source "$2/completions/bash/watchdog"
source "$2/completions/bash/reaper"
shift 2
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
COMP_LINE="$*" COMP_POINT=${#COMP_LINE}
_leash_${1#leash-}
printf '%s\n' "${COMPREPLY[@]+"${COMPREPLY[@]}"}"
`

func TestBash(t *testing.T) {
	dir := unpacked(t)
	ask := func(words ...string) []string {
		t.Helper()
		out := must(t, "bash", append([]string{"-c", askBash, "bash", filepath.Join(dir, "bin"), dir}, words...)...)
		return strings.Fields(strings.ReplaceAll(out, " (", "("))
	}
	sleeper := testkit.Start(t, exec.Command("sleep", "1000000"))
	for _, c := range []struct{ line, has, hasNot string }{
		{"watchdog ", "run --grace --worker-pid", "--restart"},
		{"watchdog r", "run", "guard"},
		{"watchdog run --re", "--restart", "--worker-pid"},
		{"watchdog run --restart ", "never on-failure always", "--grace"},
		{"watchdog run --restart = on", "on-failure", "never"},
		{"leash-watchdog guard --worker", "--worker-pid --worker-id", "--restart"},
		{"watchdog --kill-mode ", "mixed group", "run"},
		{"watchdog --stop-signal T", "TERM", "INT"},
		{"watchdog run -- mak", "make", "run"},
		{"watchdog --worker-pid " + pid(sleeper), pid(sleeper), ""},
		{"reaper ", "list explain --dry-run", "--worker-pid"},
		{"reaper explain " + pid(sleeper), pid(sleeper), ""},
		{"leash-reaper list --", "--json", "--dry-run"},
	} {
		words := strings.Split(c.line, " ")
		got := ask(words...)
		for _, want := range strings.Fields(c.has) {
			if !slices.Contains(got, want) {
				t.Errorf("%q: %q, without %s", c.line, got, want)
			}
		}
		for _, not := range strings.Fields(c.hasNot) {
			if slices.Contains(got, not) {
				t.Errorf("%q: %q, with %s", c.line, got, not)
			}
		}
	}
	several := ask("watchdog", "--worker-pid", "")
	if !slices.ContainsFunc(several, func(s string) bool { return strings.HasSuffix(s, "(sleep)") }) {
		t.Errorf("no process has its name beside it: %.300q", several)
	}
}

func pid(p *testkit.Proc) string { return strconv.Itoa(p.PID) }

// A run ID is offered while something of the run lives.
func TestRunIDs(t *testing.T) {
	dir := unpacked(t)
	cmd := exec.Command("sleep", "1000000")
	cmd.Env = append(os.Environ(), "LEASH_RUN_ID=pack4ge")
	testkit.Start(t, cmd)
	out := must(t, "bash", "-c", askBash, "bash", filepath.Join(dir, "bin"), dir, "reaper", "--run-id", "pack")
	if strings.TrimSpace(out) != "pack4ge" {
		t.Errorf("bash offers %q", out)
	}
	if _, err := exec.LookPath("fish"); err == nil {
		out = must(t, "env", "HOME="+t.TempDir(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"), "fish", "--no-config", "-c",
			`source $argv[1]; complete -C 'reaper --run-id pack'`, filepath.Join(dir, "completions/fish/reaper.fish"))
		if !strings.HasPrefix(out, "pack4ge\t") {
			t.Errorf("fish offers %q", out)
		}
	}
}

func TestFish(t *testing.T) {
	testkit.Need(t, "fish")
	dir := unpacked(t)
	sleeper := testkit.Start(t, exec.Command("sleep", "1000000"))
	for _, c := range []struct{ line, has, hasNot string }{
		{"watchdog ", "run guard", "list"},
		{"leash-watchdog r", "run", "guard"},
		{"watchdog run --re", "--restart", "--worker-pid"},
		{"watchdog run --restart ", "never on-failure always", "run"},
		{"watchdog --worker-p", "--worker-pid", ""},
		{"watchdog --kill-mode=", "--kill-mode=mixed --kill-mode=group", ""},
		{"watchdog --worker-pid " + pid(sleeper), pid(sleeper), ""},
		{"reaper ", "list explain", "run"},
		{"reaper explain " + pid(sleeper), pid(sleeper), ""},
	} {
		program := strings.Fields(c.line)[0]
		out := must(t, "env", "HOME="+t.TempDir(), "fish", "--no-config", "-c", `source $argv[1]; complete -C $argv[2]`,
			filepath.Join(dir, "completions/fish", program+".fish"), c.line)
		var got []string
		for line := range strings.Lines(out) {
			word, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
			got = append(got, word)
		}
		for _, want := range strings.Fields(c.has) {
			if !slices.Contains(got, want) {
				t.Errorf("%q: %q, without %s", c.line, got, want)
			}
		}
		for _, not := range strings.Fields(c.hasNot) {
			if slices.Contains(got, not) {
				t.Errorf("%q: %q, with %s", c.line, got, not)
			}
		}
	}
}

// askZsh types a line into a zsh of its own and shows what it lists. compadd is what every
// completion ends in.
const askZsh = `
fpath=($1 $fpath)
autoload -Uz compinit && compinit -D -u
compadd() {
	local -a shown
	if [[ ${@[1,(i)(-|--)]} != *-(O|A|D)\ * ]]; then
		builtin compadd -O shown "$@"
		print -rl -- $shown >>$OUT
	fi
	builtin compadd "$@"
}
zle -C probe complete-word probe-body
probe-body() {
	_main_complete
	compstate[insert]='' compstate[list]=''
	print -n listed >$TTY
}
bindkey '^I' probe
unsetopt zle_bracketed_paste
PS1='ready%% '
`

func TestZsh(t *testing.T) {
	testkit.Need(t, "zsh")
	dir := unpacked(t)
	sleeper := testkit.Start(t, exec.Command("sleep", "1000000"))
	for _, c := range []struct{ line, has, hasNot string }{
		{"watchdog ", "run guard", "list"},
		{"leash-watchdog r", "run", "guard"},
		{"watchdog run --re", "--restart", "--worker-pid"},
		{"watchdog run --restart=", "never on-failure always", ""},
		{"watchdog run -- zsh", "zsh_scheduled_events", "run"},
		{"watchdog --worker-pid=", pid(sleeper), ""},
		{"reaper ", "list explain", "guard"},
		{"reaper explain ", pid(sleeper), ""},
	} {
		out := filepath.Join(t.TempDir(), "out")
		write(t, out, "", 0o644)
		script := filepath.Join(t.TempDir(), "ask.zsh")
		rc := filepath.Join(t.TempDir(), "rc")
		write(t, rc, askZsh, 0o644)
		write(t, script, `zmodload zsh/zpty
zpty shell "env OUT=`+out+` TERM=dumb zsh -f -i"
zpty -w shell "source `+rc+` `+filepath.Join(dir, "completions/zsh")+`"
zpty -r shell text '*ready*'
zpty -n -w shell "`+c.line+`"$'\t'
zpty -r shell text '*listed*'
zpty -n -w shell $'\x15exit\n'
while zpty -r shell text; do :; done
`, 0o644)
		mustIn(t, "", append(os.Environ(), "HOME="+t.TempDir()), "timeout", "60", "zsh", "-f", script)
		got := strings.Fields(read(t, out))
		for i, word := range got {
			got[i] = strings.TrimSuffix(word, "=")
		}
		for _, want := range strings.Fields(c.has) {
			if !slices.Contains(got, want) {
				t.Errorf("%q: %q, without %s", c.line, got, want)
			}
		}
		for _, not := range strings.Fields(c.hasNot) {
			if slices.Contains(got, not) {
				t.Errorf("%q: %q, with %s", c.line, got, not)
			}
		}
	}
}

// BenchmarkBash is what a user waits for at each press of the key, besides bash itself.
func BenchmarkBash(b *testing.B) {
	dir := os.Getenv("LEASH_UNPACKED")
	if dir == "" {
		b.Skip("LEASH_UNPACKED names the unpacked archive")
	}
	for range b.N {
		begin := time.Now()
		if err := exec.Command("bash", "-c", askBash, "bash", filepath.Join(dir, "bin"), dir, "watchdog", "--worker-pid", "").Run(); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(time.Since(begin).Milliseconds()), "ms")
	}
}
