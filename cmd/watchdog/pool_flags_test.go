//go:build linux

package main

import (
	"slices"
	"testing"

	"github.com/alecthomas/kong"

	"leash/internal/flagvalue"
	"leash/internal/rpc"
)

// Every flag of run and guard is a parameter of that method, but for those that a pool has for
// all its workers.
func TestEveryFlagIsAParameter(t *testing.T) {
	p, err := newParameters()
	if err != nil {
		t.Fatal(err)
	}
	var f flags
	k, err := kong.New(&f, append(flagvalue.Strict(), groups)...)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range k.Model.Children {
		table := map[string]map[string]*kong.Flag{"run": p.run, "guard": p.guard}[n.Name]
		if table == nil {
			continue
		}
		for _, flag := range slices.Concat(k.Model.Flags, n.Flags) {
			_, is := table[snake(flag.Name)]
			own := slices.Contains(notParameters, flag.Name) || slices.Contains(elsewhere, flag.Name) || flag.Name == "version"
			if is == own {
				t.Errorf("%s: flag --%s: parameter %t", n.Name, flag.Name, is)
			}
		}
	}
	if p.guard["restart"] != nil || p.guard["close_fds"] != nil {
		t.Error("guard takes parameters of run")
	}
}

// Defaults are the pool's, and one request does not change those of the next.
func TestParametersStandOverTheDefaults(t *testing.T) {
	p, err := newParameters()
	if err != nil {
		t.Fatal(err)
	}
	defaults := &flags{}
	defaults.Grace, defaults.StopSignal, defaults.Pool.Restart = 7, "INT", "always"
	v, _ := rpc.Parse([]byte(`{"worker_id":"a","grace":"2s","max_missed":5}`))
	f, given, failed := p.read(&v, defaults, true, "worker_id")
	if failed != nil || f.Grace.String() != "2s" || f.MaxMissed != 5 || f.StopSignal != "INT" || f.Run.Restart != "always" ||
		!given["--grace"] || !given["--max-missed"] || len(given) != 2 {
		t.Errorf("%+v, %v, %v", f, given, failed)
	}
	if f, _, _ = p.read(&rpc.Value{Kind: rpc.Object}, defaults, false); f.Grace != 7 || f.MaxMissed != 0 || f.Run.Restart != "never" {
		t.Errorf("%+v", f)
	}
}
