// Package runid makes run IDs and finds them in arguments and environments.
//
// A run ID is 7 characters of [0-9a-z], 36⁷ ≈ 7.8·10¹⁰ of them, drawn at
// random. The other scheme takes five of them from a clock, microseconds modulo 36⁵, and
// draws two. That is as good for runs that start at random times, and far worse for others:
// the clock part repeats every 60.466176 s, and runs that start together share it. How many
// of ten million draws repeated an earlier ID, and how many are expected by the birthday
// bound (TestCollisions):
//
//	runs that start                        clock and 2          7 at random
//	at any moment                          641 (638)            648 (638)
//	60.466176 s apart, late by up to 1 ms  8704613 (8704578)    616 (638)
//	100 within 1 ms, among these           392 (382)            0 (0.01)
//	10 in each microsecond                 34609 (34651)        592 (638)
package runid

import (
	"bytes"
	"io"
	"slices"
)

const (
	// Len is the length of an ID.
	Len    = 7
	digits = "0123456789abcdefghijklmnopqrstuvwxyz"
)

// New draws an ID from a source of random bytes.
func New(random io.Reader) (string, error) {
	var id [Len]byte
	var b [16]byte
	for n := 0; n < Len; {
		if _, err := io.ReadFull(random, b[:]); err != nil {
			return "", err
		}
		for _, c := range b {
			// 252 is 7·36: higher bytes would favour the low digits.
			if c < 252 && n < Len {
				id[n] = digits[c%36]
				n++
			}
		}
	}
	return string(id[:]), nil
}

// Valid reports whether s is a run ID, of the present or the older form
// (microseconds, underscore, number: read, never written).
func Valid(s string) bool { return current(s) || older(s) }

func current(s string) bool {
	if len(s) != Len {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

func older(s string) bool {
	left, right, ok := cut(s, '_')
	return ok && decimal(left, 10, 20) && decimal(right, 1, 10)
}

func cut(s string, sep byte) (string, string, bool) {
	for i := range len(s) {
		if s[i] == sep {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

func decimal(s string, least, most int) bool {
	if len(s) < least || len(s) > most {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

var flags = [][]byte{[]byte("--run-id"), []byte("--snakepit-run-id")}

// FromArgs finds the ID in an argument vector as in /proc/PID/cmdline: each argument ends
// with NUL. Only whole arguments count, never text inside one. The first argument is the
// program's name and is skipped.
func FromArgs(cmdline []byte) string {
	if all := AllFromArgs(cmdline); len(all) > 0 {
		return all[0]
	}
	return ""
}

// AllFromArgs finds every ID, each once; several contradict each other.
func AllFromArgs(cmdline []byte) (all []string) {
	_, rest, _ := bytes.Cut(cmdline, []byte{0})
	for len(rest) > 0 {
		var arg []byte
		arg, rest, _ = bytes.Cut(rest, []byte{0})
		for _, flag := range flags {
			if value, ok := flagValue(arg, rest, flag); ok {
				all = add(all, value)
			}
		}
	}
	return all
}

// enough bounds how many IDs are returned: two contradict each other already, and another
// user could keep the caller busy with a hundred thousand.
const enough = 8

func add(all []string, value []byte) []string {
	if len(all) == enough {
		return all
	}
	if s := string(value); Valid(s) && !slices.Contains(all, s) {
		return append(all, s)
	}
	return all
}

// flagValue is the value if arg is the flag, with = or with the next argument.
func flagValue(arg, rest, flag []byte) ([]byte, bool) {
	after, ok := bytes.CutPrefix(arg, flag)
	if !ok {
		return nil, false
	}
	if len(after) == 0 {
		value, _, _ := bytes.Cut(rest, []byte{0})
		return value, true
	}
	return bytes.CutPrefix(after, []byte("="))
}

// Labels are the values in an environment that concern a process's run.
type Labels struct {
	// Runs are the run IDs, each once, that of LEASH_RUN_ID before that of
	// SNAKEPIT_RUN_ID: more than one contradict each other.
	Runs []string
	// Worker and Owner are LEASH_WORKER_ID and LEASH_RUN_OWNER.
	Worker, Owner string
}

// ReadEnviron reads an environment block, each entry ended by NUL.
func ReadEnviron(env []byte) (l Labels) {
	var older []string
	for len(env) > 0 {
		var entry []byte
		entry, env, _ = bytes.Cut(env, []byte{0})
		// No string is allocated for other entries.
		if v, ok := bytes.CutPrefix(entry, []byte("LEASH_RUN_ID=")); ok {
			l.Runs = add(l.Runs, v)
		} else if v, ok := bytes.CutPrefix(entry, []byte("SNAKEPIT_RUN_ID=")); ok {
			older = add(older, v)
		} else if v, ok := bytes.CutPrefix(entry, []byte("LEASH_WORKER_ID=")); ok && l.Worker == "" {
			l.Worker = string(v)
		} else if v, ok := bytes.CutPrefix(entry, []byte("LEASH_RUN_OWNER=")); ok && l.Owner == "" {
			l.Owner = string(v)
		}
	}
	for _, id := range older {
		l.Runs = add(l.Runs, []byte(id))
	}
	return l
}

// FromEnviron finds run ID and worker ID in an environment block.
func FromEnviron(env []byte) (run, worker string) {
	l := ReadEnviron(env)
	if len(l.Runs) > 0 {
		run = l.Runs[0]
	}
	return run, l.Worker
}
