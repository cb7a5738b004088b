package runid

import (
	"regexp"
	"strings"
	"testing"
)

// What follows is the same again, written plainly: regular expressions and
// whole strings.

var (
	validForm  = regexp.MustCompile(`\A(?:[0-9a-z]{7}|[0-9]{10,20}_[0-9]{1,10})\z`)
	joinedFlag = regexp.MustCompile(`(?s)\A--(?:snakepit-)?run-id=(.*)\z`)
)

func FuzzValid(f *testing.F) {
	f.Add("abc1234")
	f.Add("1760151234493767_621181")
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := Valid(s), validForm.MatchString(s); got != want {
			t.Errorf("Valid(%q) is %t", s, got)
		}
	})
}

func plainFromArgs(cmdline string) string {
	args := strings.Split(cmdline, "\x00")
	for i := 1; i < len(args); i++ {
		var value string
		if m := joinedFlag.FindStringSubmatch(args[i]); m != nil {
			value = m[1]
		} else if (args[i] == "--run-id" || args[i] == "--snakepit-run-id") && i+1 < len(args) {
			value = args[i+1]
		}
		if validForm.MatchString(value) {
			return value
		}
	}
	return ""
}

func FuzzFromArgs(f *testing.F) {
	f.Add([]byte("python3\x00worker.py\x00--run-id\x00abc1234\x00"))
	f.Add([]byte("python3\x00--snakepit-run-id=1760151234493767_621181\x00"))
	f.Fuzz(func(t *testing.T, cmdline []byte) {
		if got, want := FromArgs(cmdline), plainFromArgs(string(cmdline)); got != want {
			t.Errorf("%q gives %q, want %q", cmdline, got, want)
		}
	})
}

func plainFromEnviron(env string) (run, worker string) {
	first := func(name string, ok func(string) bool) string {
		for entry := range strings.SplitSeq(env, "\x00") {
			if v, found := strings.CutPrefix(entry, name+"="); found && ok(v) {
				return v
			}
		}
		return ""
	}
	run = first("LEASH_RUN_ID", validForm.MatchString)
	if run == "" {
		run = first("SNAKEPIT_RUN_ID", validForm.MatchString)
	}
	return run, first("LEASH_WORKER_ID", func(v string) bool { return v != "" })
}

func FuzzFromEnviron(f *testing.F) {
	f.Add([]byte("A=1\x00LEASH_RUN_ID=abc1234\x00LEASH_WORKER_ID=w1\x00"))
	f.Add([]byte("SNAKEPIT_RUN_ID=xyz9876\x00LEASH_RUN_ID=bad\x00"))
	f.Fuzz(func(t *testing.T, env []byte) {
		run, worker := FromEnviron(env)
		wantRun, wantWorker := plainFromEnviron(string(env))
		if run != wantRun || worker != wantWorker {
			t.Errorf("%q gives %q and %q, want %q and %q", env, run, worker, wantRun, wantWorker)
		}
	})
}
