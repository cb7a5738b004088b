package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"leash/internal/flagvalue"
)

// choices are the words that a flag takes, for a call that gave none.
var choices = map[string]string{
	"--log-format": "text or json",
	"--log-level":  "auto, debug, info, warn or error",
}

// wrongCall says of a call that the flag library refused what its caller most
// likely meant.
func wrongCall(err error, k *kong.Kong, args []string) error {
	word, ok := strings.CutPrefix(err.Error(), "unexpected argument ")
	if n, bad := flagvalue.Int(word); ok && bad == nil && n > 0 && slices.Index(args, word) == 0 {
		return fmt.Errorf("%w: to ask about a process: reaper explain %s", err, word)
	}
	return flagvalue.Explain(err, allFlags(k), choices, nil)
}

func allFlags(k *kong.Kong) []*kong.Flag {
	flags := slices.Clone(k.Model.Flags)
	for _, n := range k.Model.Children {
		flags = append(flags, n.Flags...)
	}
	return flags
}

// givenFlags are those on the command line, by name.
func givenFlags(ctx *kong.Context) map[string]bool {
	given := map[string]bool{}
	for _, p := range ctx.Path {
		if p.Flag != nil {
			given["--"+p.Flag.Name] = true
		}
	}
	return given
}
