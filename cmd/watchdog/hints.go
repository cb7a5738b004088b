package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"leash/internal/flagvalue"
)

// choices are the words that a flag takes, for a call that gave none.
var choices = map[string]string{
	"--backend":    "auto, event or poll",
	"--heartbeat":  "off or notify",
	"--kill-mode":  "mixed or group",
	"--log-format": "text or json",
	"--log-level":  "auto, debug, info, warn or error",
	"--restart":    "never, on-failure or always",
	"--sentinel":   "auto or off",
}

// wrongCall says of a call that the flag library refused what its caller most
// likely meant. mine are the arguments before --, command those behind it (nil
// without --).
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
	return flagvalue.Explain(err, allFlags(k), choices, nil)
}

// unexpected is for a word where guard takes none.
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
	what := "is no command of watchdog (guard, run)"
	if slices.Contains(mine[:i], "guard") {
		what = "is nothing that guard takes"
	}
	return fmt.Errorf("%s %s; to start a worker: %s", word, what, runLine(slices.Concat(mine[i:], command)))
}

// misplaced is for what stands before --, or where the command should begin.
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
			return fmt.Errorf("unknown flag %s: it is one of %s, and run has none of that name", name, n.Name)
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

// most words and letters of a command are repeated: it is to be recognized, and
// its arguments may hold secrets.
const (
	mostWords   = 3
	mostLetters = 60
)

// runLine is how the command is started, as it would be typed.
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

// typed quotes a word for the shell where it needs that.
func typed(word string) string {
	const plain = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_./:=,+@%"
	if word != "" && strings.Trim(word, plain) == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// quoted is for a command that is not found because it is a whole line in one
// word.
func quoted(name string) string {
	words := strings.Fields(name)
	if len(words) < 2 {
		return ""
	}
	return "; it is one word with blanks in it: leave out the quotes: " + runLine(words)
}

// usage writes run's command line as it is typed. The flag library does not
// know that everything behind -- is the command.
func usage(options kong.HelpOptions, ctx *kong.Context) error {
	var b strings.Builder
	out := ctx.Stdout
	ctx.Stdout = &b
	err := kong.DefaultHelpPrinter(options, ctx)
	ctx.Stdout = out
	if err != nil {
		return err
	}
	_, err = strings.NewReplacer(
		"run [<command> ...] [flags]", "run [flags] -- COMMAND [ARG...]",
		"[<command> ...]    ", "COMMAND [ARG...]   ",
	).WriteString(out, b.String())
	return err
}
