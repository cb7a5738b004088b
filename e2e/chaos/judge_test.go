//go:build linux

package main

import (
	"reflect"
	"slices"
	"testing"
)

func TestPlanFollowsFromItsSeed(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(3000) {
		p := newPlan(seed, nil)
		if seed < 50 && !reflect.DeepEqual(p, newPlan(seed, nil)) {
			t.Fatalf("seed %d gives two plans", seed)
		}
		seen["user "+itoa(p.User)] = true
		seen["ledger "+p.Ledger] = true
		seen["cgroup "+p.Cgroup] = true
		for _, f := range p.Faults {
			seen[f.Target] = true
			if f.Resume > 0 {
				seen["resume"] = true
			}
		}
		for _, r := range p.Runs {
			if len(r.Units) > 6 || len(r.Units) == 0 {
				t.Fatalf("seed %d: %d workers", seed, len(r.Units))
			}
			seen["workers "+itoa(len(r.Units))] = true
			for _, u := range r.Units {
				if u.Guard && (u.Restart || u.Heartbeat) {
					t.Fatalf("seed %d: a wrong call", seed)
				}
			}
		}
	}
	for _, want := range []string{"parent", "aide", "worker", "child", "watchdog", "sentinel", "both", "group", "resume",
		"ledger removed", "ledger full", "ledger readonly", "cgroup ", "cgroup own", "user 0", "user 65534", "workers 1", "workers 6"} {
		if !seen[want] {
			t.Errorf("no plan of 3000 has: %s", want)
		}
	}
	for seed := range uint64(300) {
		for _, f := range newPlan(seed, []string{"watchdog", "parent"}).Faults {
			if f.Target == "watchdog" || f.Target == "parent" {
				t.Fatalf("seed %d has a %s all the same", seed, f.Target)
			}
		}
	}
}

func itoa(n int) string {
	const digits = "0123456789"
	if n < 10 {
		return digits[n : n+1]
	}
	return itoa(n/10) + digits[n%10:n%10+1]
}

func TestExcuse(t *testing.T) {
	worker, other := ident{10, 1}, ident{20, 1}
	guard := func() *unitFacts {
		return &unitFacts{Run: &run{ID: "abc"}, Unit: &unit{Guard: true, Leads: "session"}, Watchdog: ident{5, 1}, Worker: worker}
	}
	runs := func(hits ...string) *unitFacts {
		u := &unitFacts{Run: &run{}, Unit: &unit{}, Watchdog: ident{5, 1}}
		for _, h := range hits {
			u.Hits = append(u.Hits, hit{What: h, Signal: sigKILL})
		}
		return u
	}
	covered := runs("watchdog")
	covered.Covered = true
	coveredBoth := runs("watchdog", "sentinel")
	coveredBoth.Covered = true
	begun := unitLogFacts{Started: true}
	named := guard()
	named.Unit.Labels, named.Unit.LabelArgs = true, true
	unnamedParent := guard()
	unnamedParent.Unit.Labels, unnamedParent.Unit.LabelArgs, unnamedParent.Unit.Default = true, true, true
	unnamedParent.Hits = []hit{{What: "watchdog", Signal: sigTERM}}
	labelled := left{process: process{ident: other}, RunID: "abc", WorkerID: "w0", Mine: true}
	late := unitLogFacts{Started: true, Late: true, Parent: 7}
	lateOfInit := late
	lateOfInit.Parent, lateOfInit.Survivors, lateOfInit.Doubtful = 1, 1, 1
	lateUntold, lateOther := lateOfInit, lateOfInit
	lateUntold.Survivors, lateUntold.Doubtful = 0, 0
	lateOther.Survivors = 2
	killed := guard()
	killed.Hits = []hit{{What: "watchdog", Signal: sigKILL}}
	for name, c := range map[string]struct {
		u      *unitFacts
		p      left
		log    unitLogFacts
		ledger string
		reaped bool
		owed   bool
	}{
		"run":                           {runs(), left{process: process{ident: other}}, begun, "", false, true},
		"run, worker killed":            {runs("worker"), left{process: process{ident: other}}, begun, "", false, true},
		"run, sentinel killed":          {runs("sentinel"), left{process: process{ident: other}}, begun, "", false, true},
		"run, watchdog killed, covered": {covered, left{process: process{ident: other}}, begun, "", false, true},
		"run, covered, both killed":     {coveredBoth, left{process: process{ident: other}}, begun, "", false, false},
		"run, no sentinel":              {runs("watchdog"), left{process: process{ident: other}}, begun, "", false, false},
		"run, both killed":              {runs("watchdog", "sentinel"), left{process: process{ident: other}}, begun, "", false, false},
		"run, both, reaped, evident":    {runs("watchdog", "sentinel"), left{process: process{ident: other}, Evident: true}, begun, "", true, true},
		"run, both, reaped, below one":  {runs("watchdog", "sentinel"), left{process: process{ident: other}, BelowOne: true}, begun, "", true, true},
		"run, both, reaped, wiped":      {runs("watchdog", "sentinel"), left{process: process{ident: other}}, begun, "", true, false},
		"guard, in the session":         {guard(), left{process: process{ident: other, SID: 10}}, begun, "", false, true},
		"guard, below the worker":       {guard(), left{process: process{ident: other}, BelowMine: true}, begun, "", false, true},
		"guard, escaped":                {guard(), left{process: process{ident: other}}, begun, "", false, false},
		"guard, not begun":              {guard(), left{process: process{ident: worker}, Mine: true}, unitLogFacts{}, "", false, false},
		"guard, the watchdog itself":    {guard(), left{process: process{ident: ident{5, 1}}}, begun, "", false, true},
		"guard, late":                   {named, labelled, late, "", false, true},
		"guard, late, of PID 1":         {unnamedParent, labelled, lateOfInit, "", false, false},
		"guard, late, of PID 1, untold": {unnamedParent, labelled, lateUntold, "", false, true},
		"guard, late, of PID 1, more":   {unnamedParent, labelled, lateOther, "", false, true},
		"guard, late, PID 1 was named":  {named, labelled, lateOfInit, "", false, true},
		"guard, killed":                 {killed, left{process: process{ident: worker}, Mine: true}, begun, "", false, false},
		"guard, killed, reaped":         {killed, left{process: process{ident: worker}, Mine: true}, begun, "", true, true},
		"guard, killed, no ledger":      {killed, left{process: process{ident: worker}, Mine: true}, begun, "removed", true, false},
	} {
		if why := excuse(c.u, c.p, c.log, plan{Ledger: c.ledger}, c.reaped); (why == "") != c.owed {
			t.Errorf("%s: %q", name, why)
		}
	}
}

func TestWrongStatus(t *testing.T) {
	u := func(set func(*unit), hits ...hit) *unitFacts {
		f := &unitFacts{Run: &run{}, Unit: &unit{StopSig: 15}, Hits: hits}
		if set != nil {
			set(f.Unit)
		}
		return f
	}
	none := unitLogFacts{Code: -1}
	beats := func(u *unit) { u.Heartbeat = true }
	for name, c := range map[string]struct {
		u      *unitFacts
		log    unitLogFacts
		status int
		wrong  bool
	}{
		"stop signal":                {u(nil), none, 143, false},
		"kill":                       {u(nil), none, 137, false},
		"its own":                    {u(nil), none, 7, false},
		"of no process":              {u(nil), none, 42, true},
		"a signal that was not sent": {u(nil), none, 129, true},
		"one that was sent":          {u(nil, hit{What: "worker", Signal: 1}), none, 129, false},
		"not what it told":           {u(nil), unitLogFacts{Code: -1, Stopped: true, Status: 0}, 143, true},
		"not its worker's":           {u(nil), unitLogFacts{Code: 6}, 7, true},
		"124 without heartbeats":     {u(nil), none, 124, true},
		"124 of one that beats":      {u(beats), none, 124, true},
		"124":                        {u(func(u *unit) { u.Heartbeat, u.Worker.Hang = true, 5 }), none, 124, false},
		"125":                        {u(nil), none, 125, true},
		"125, sentinel killed":       {u(nil, hit{What: "sentinel", Signal: 9}), none, 125, false},
		"killed by us":               {u(nil, hit{What: "watchdog", Signal: 9}), none, 1009, false},
		"killed by another":          {u(nil), none, 1009, true},
		"guard, 1":                   {u(func(u *unit) { u.Guard = true }), none, 1, true},
		"guard, 1, in doubt": {u(func(u *unit) { u.Guard, u.Default = true, true }),
			unitLogFacts{Code: -1, Late: true, Parent: 1, Survivors: 1, Doubtful: 1}, 1, false},
		"guard, 1, others left": {u(func(u *unit) { u.Guard, u.Default = true, true }),
			unitLogFacts{Code: -1, Late: true, Parent: 1, Survivors: 2, Doubtful: 1}, 1, true},
		"crashed":      {u(nil), none, 2, true},
		"guard failed": {u(func(u *unit) { u.Guard = true }), none, 1, true},
		"guard":        {u(func(u *unit) { u.Guard = true }), none, 0, false},
	} {
		if got := wrongStatus(c.u, c.log, c.status); (got != "") != c.wrong {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestReadLog(t *testing.T) {
	f := readLog(`sh: 1: Killed
panic: runtime error
goroutine 1 [running]:
{"time":"x","level":"INFO","event":"watchdog.started","process.parent_pid":1,"containment":"none"}
half a line{"time":"x","level":"INFO","event":"process.terminated","process.exit.code":7}
{"time":"x","level":"ERROR","event":"heartbeat.timeout"}
{"time":"x","level":"ERROR","event":"other"}
{"time":"x","level":"INFO","event":"process.cleanup_completed","success":false,"survivors":2,"survivor_pids":"7: it may be the next worker; 8: it was sent SIGKILL"}
{"time":"x","level":"INFO","event":"watchdog.stopped","exit_status":7,"outcome":"worker_exited"}
`)
	if !f.Started || !f.Late || f.Parent != 1 || f.Code != 7 || !f.Stopped || f.Status != 7 || len(f.Traces) != 2 || len(f.Errors) != 1 || f.Survivors != 2 || f.Doubtful != 1 || f.Failed == "" {
		t.Errorf("%+v", f)
	}
	if f := readLog("time=x msg=watching event=watchdog.started containment=none\n"); !f.Started || !f.Late {
		t.Errorf("text: %+v", f)
	}
	if !slices.Contains(columns, "left over") {
		t.Error("columns")
	}
}
