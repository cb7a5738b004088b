// Package runid makes run IDs and finds them in arguments and environments.
//
// A run ID is 7 characters of [0-9a-z], 36⁷ ≈ 7.8·10¹⁰ of them, drawn at
// random. Taking some of the characters from a clock would make IDs of runs
// that start a fixed period apart collide far more often.
package runid

import (
	"bytes"
	"io"
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
			// 252 is 7·36: what lies above would favour the low digits.
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

// FromArgs finds the ID in an argument vector as /proc/PID/cmdline shows it:
// each argument ended by NUL. Only whole arguments count, never text inside
// one. The first argument is the program's name and is passed over.
func FromArgs(cmdline []byte) string {
	_, rest, _ := bytes.Cut(cmdline, []byte{0})
	for len(rest) > 0 {
		var arg []byte
		arg, rest, _ = bytes.Cut(rest, []byte{0})
		for _, flag := range flags {
			value, ok := flagValue(arg, rest, flag)
			if ok && Valid(string(value)) {
				return string(value)
			}
		}
	}
	return ""
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

// FromEnviron finds run ID and worker ID in an environment block, each entry
// ended by NUL. LEASH_RUN_ID goes before SNAKEPIT_RUN_ID.
func FromEnviron(env []byte) (run, worker string) {
	older := ""
	for len(env) > 0 {
		var entry []byte
		entry, env, _ = bytes.Cut(env, []byte{0})
		// Few entries begin so, and no string is made of the others.
		if v, ok := bytes.CutPrefix(entry, []byte("LEASH_RUN_ID=")); ok && run == "" {
			run = valid(v)
		} else if v, ok := bytes.CutPrefix(entry, []byte("LEASH_WORKER_ID=")); ok && worker == "" {
			worker = string(v)
		} else if v, ok := bytes.CutPrefix(entry, []byte("SNAKEPIT_RUN_ID=")); ok && older == "" {
			older = valid(v)
		}
	}
	if run == "" {
		run = older
	}
	return run, worker
}

func valid(b []byte) string {
	if s := string(b); Valid(s) {
		return s
	}
	return ""
}
