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
func wrongCall(err error, k *kong.Kong, args []string) error {
	if err.Error() == `expected "<pid>"` {
		return errors.New("explain: give the PID of a process: reaper explain PID")
	}
	if err.Error() == `expected "<target> ..."` {
		return errors.New("who: name what is held: " + targetForms)
	}
	word, ok := strings.CutPrefix(err.Error(), "unexpected argument ")
	if n, bad := flagvalue.Int(word); ok && bad == nil && n > 0 && slices.Index(args, word) == 0 {
		return fmt.Errorf("%w: to ask about a process: reaper explain %s", err, word)
	}
	return flagvalue.Explain(err, allFlags(k), nil)
}

func allFlags(k *kong.Kong) []*kong.Flag {
	flags := slices.Clone(k.Model.Flags)
	for _, n := range k.Model.Children {
		flags = append(flags, n.Flags...)
	}
	return flags
}
