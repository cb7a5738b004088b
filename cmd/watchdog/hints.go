package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"leash/internal/flagvalue"
)

// wrongCall adds to the error of a call that kong refused what the user most likely meant.
// mine are the arguments before --, command those after it (nil without --).
func wrongCall(err error, k *kong.Kong, mine, command []string) error {
	text := err.Error()
	switch {
	case strings.HasPrefix(text, "missing flags: --worker-pid") && len(command) > 0 && !slices.Contains(mine, "guard"):
		return errors.New("guard, the default command, needs --worker-pid; to start a worker: " + runLine(command))
	case strings.HasPrefix(text, "missing flags: --worker-pid") && command == nil && len(mine) == 0:
		return fmt.Errorf("%w; to start a worker: %s", err, runLine(nil))
	case strings.HasPrefix(text, "unexpected argument ") && !strings.Contains(text, ", did you mean "):
		if hint := unexpected(text, mine, command); hint != nil {
			return hint
		}
	}
	return flagvalue.Explain(err, allFlags(k), nil)
}

// unexpected is the error for an argument that guard does not take.
func unexpected(text string, mine, command []string) error {
	i := slices.IndexFunc(mine, func(word string) bool { return text == "unexpected argument "+word })
	named := slices.ContainsFunc(mine, func(word string) bool { return strings.HasPrefix(word, "--worker-pid") })
	if i < 0 || named {
		return nil
	}
	word := mine[i]
	if n, err := flagvalue.Int(word); err == nil && n > 0 {
		return fmt.Errorf("unexpected argument %s: name the worker by its flag: watchdog guard --worker-pid %s", word, word)
	}
	what := "is not a command of watchdog (guard, run, pool, doctor)"
	if slices.Contains(mine[:i], "guard") {
		what = "is not an argument of guard"
	}
	return fmt.Errorf("%s %s; to start a worker: %s", word, what, runLine(slices.Concat(mine[i:], command)))
}

// misplaced is the error for an argument before --, or where the command should begin.
func misplaced(k *kong.Kong, word string) error {
	if !strings.HasPrefix(word, "-") {
		return fmt.Errorf("unexpected argument %q before --", word)
	}
	flags := slices.Clone(k.Model.Flags)
	name, _, _ := strings.Cut(word, "=")
	for _, n := range k.Model.Children {
		if n.Name == "run" {
			flags = append(flags, n.Flags...)
		} else if slices.ContainsFunc(n.Flags, func(f *kong.Flag) bool { return "--"+f.Name == name }) {
			return fmt.Errorf("unknown flag %s: it is a flag of %s, not of run", name, n.Name)
		}
	}
	return flagvalue.Unknown(word, flags)
}

func allFlags(k *kong.Kong) []*kong.Flag {
	flags := slices.Clone(k.Model.Flags)
	for _, n := range k.Model.Children {
		flags = append(flags, n.Flags...)
	}
	return flags
}

// most bounds how many words and letters of a command are repeated: enough to recognize it,
// few because its arguments may hold secrets.
const (
	mostWords   = 3
	mostLetters = 60
)

// runLine is the call that starts the command, as a user would type it.
func runLine(command []string) string {
	if len(command) == 0 {
		return "watchdog run [flags] -- COMMAND [ARG...]"
	}
	line := "watchdog run --"
	for i, word := range command {
		if i == mostWords || len(line)+len(word) > mostLetters {
			return line + " ..."
		}
		line += " " + typed(word)
	}
	return line
}

// typed quotes a word for the shell if necessary.
func typed(word string) string {
	const plain = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_./:=,+@%"
	if word != "" && strings.Trim(word, plain) == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// quoted is the hint for a command that is not found because it is a whole line in one
// argument.
func quoted(name string) string {
	words := strings.Fields(name)
	if len(words) < 2 {
		return ""
	}
	return "; it is one word with spaces in it: leave out the quotes: " + runLine(words)
}
