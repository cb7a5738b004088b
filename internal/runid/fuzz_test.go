package runid

import (
	"reflect"
	"regexp"
	"slices"
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

func plainFromArgs(cmdline string) string { return append(plainAllFromArgs(cmdline), "")[0] }

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

func plainAllFromArgs(cmdline string) (all []string) {
	args := strings.Split(cmdline, "\x00")
	for i := 1; i < len(args); i++ {
		var value string
		if m := joinedFlag.FindStringSubmatch(args[i]); m != nil {
			value = m[1]
		} else if (args[i] == "--run-id" || args[i] == "--snakepit-run-id") && i+1 < len(args) {
			value = args[i+1]
		}
		if validForm.MatchString(value) && !slices.Contains(all, value) {
			all = append(all, value)
		}
	}
	return all
}

func FuzzAllFromArgs(f *testing.F) {
	f.Add([]byte("p\x00--run-id\x00abc1234\x00--\x00--run-id=xyz9876\x00"))
	f.Add([]byte("--run-id=abc1234\x00--snakepit-run-id\x00--run-id\x001760151234493767_621181"))
	f.Add([]byte("--run-id\x00abc1234\x00"))
	f.Fuzz(func(t *testing.T, cmdline []byte) {
		all := AllFromArgs(cmdline)
		if want := plainAllFromArgs(string(cmdline)); !slices.Equal(all, want) {
			t.Errorf("%q gives %q, want %q", cmdline, all, want)
		}
		args := strings.Split(string(cmdline), "\x00")
		for _, id := range all {
			if !Valid(id) {
				t.Errorf("%q gives %q, which is none", cmdline, id)
			}
			// It is a whole argument, or the whole value of a flag, and not the first.
			if !slices.ContainsFunc(args[1:], func(a string) bool {
				return a == id || a == "--run-id="+id || a == "--snakepit-run-id="+id
			}) {
				t.Errorf("%q gives %q, which is part of something", cmdline, id)
			}
		}
		// What the program calls itself changes nothing.
		for _, name := range []string{"", "--run-id", "--run-id=abc1234", "--snakepit-run-id=1760151234493767_621181"} {
			args[0] = name
			if got := AllFromArgs([]byte(strings.Join(args, "\x00"))); !slices.Equal(got, all) {
				t.Errorf("%q gives %q with the name %q, else %q", cmdline, got, name, all)
			}
		}
		// Nor does a -- before all arguments, which ends the options of others.
		dashed := slices.Insert(slices.Clone(args), 1, "--")
		if got := AllFromArgs([]byte(strings.Join(dashed, "\x00"))); !slices.Equal(got, all) {
			t.Errorf("%q gives %q behind --, else %q", cmdline, got, all)
		}
	})
}

func FuzzReadEnviron(f *testing.F) {
	f.Add([]byte("LEASH_RUN_ID=abc1234\x00SNAKEPIT_RUN_ID=xyz9876\x00LEASH_HANDOVER=1\x00LEASH_RUN_OWNER=1:2:b:3"))
	f.Add([]byte("SNAKEPIT_RUN_ID=1760151234493767_621181\x00LEASH_RUN_ID=abc1234\x00LEASH_RUN_ID=\x00LEASH_WORKER_ID=\x00"))
	f.Fuzz(func(t *testing.T, env []byte) {
		l := ReadEnviron(env)
		entries := strings.Split(string(env), "\x00")
		values := func(name string) (list []string) {
			for _, e := range entries {
				if v, ok := strings.CutPrefix(e, name+"="); ok && v != "" {
					list = append(list, v)
				}
			}
			return list
		}
		var runs []string
		for _, v := range append(values("LEASH_RUN_ID"), values("SNAKEPIT_RUN_ID")...) {
			if validForm.MatchString(v) && !slices.Contains(runs, v) {
				runs = append(runs, v)
			}
		}
		first := func(list []string) string { return append(list, "")[0] }
		want := Labels{Runs: runs, Worker: first(values("LEASH_WORKER_ID")), Owner: first(values("LEASH_RUN_OWNER"))}
		if !reflect.DeepEqual(l, want) {
			t.Errorf("%q gives %+v, want %+v", env, l, want)
		}
	})
}
