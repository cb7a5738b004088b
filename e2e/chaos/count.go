//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// trees lists what lives, by unit; what is in no unit's folder and is not ours
// either has the key -1, -1.
func (l *life) trees() map[[2]int][]process {
	found := map[[2]int][]process{}
	me := os.Getpid()
	all := scan()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range all {
		if p.PID == me || p.Dir == aside || l.own[p.PID] || slices.Contains(l.parents, p.ident) {
			continue
		}
		key := [2]int{-1, -1}
		rest, ok := strings.CutPrefix(p.Dir, filepath.Join(here, "tree-"))
		if !ok || !scanKey(rest, &key) {
			for k, u := range l.units { // a sentinel may be elsewhere
				if u.Watchdog == p.ident {
					key = k
				}
			}
		}
		found[key] = append(found[key], p)
	}
	return found
}

func scanKey(s string, key *[2]int) bool {
	n, _ := fmt.Sscanf(s, "%d-%d", &key[0], &key[1])
	return n == 2
}

// facts reads what the judge wants to know of the processes of one unit.
func facts(u *unitFacts, list []process) (found []left) {
	by := map[int]int{}
	for _, p := range list {
		by[p.PID] = len(found)
		found = append(found, left{process: p, RunID: p.environ("LEASH_RUN_ID"), WorkerID: p.environ("LEASH_WORKER_ID"),
			Owner: p.environ("LEASH_RUN_OWNER"), Leaf: p.leaf()})
	}
	for i := range found {
		p := &found[i]
		p.Mine = p.ident == u.Worker || p.both(u)
		p.Evident = p.Leaf || p.RunID != "" && p.Owner != ""
	}
	for i := range found {
		p := &found[i]
		for at, ok := by[p.PPID]; ok; at, ok = by[found[at].PPID] {
			p.BelowMine = p.BelowMine || found[at].Mine
			p.BelowOne = p.BelowOne || found[at].Evident
		}
	}
	return found
}

func (l *life) log(key [2]int) unitLogFacts {
	text, _ := os.ReadFile(unitLog(key[0], key[1]))
	return readLog(string(text))
}

// owed lists what of a unit should be gone, and counts what is excused.
func (l *life) owed(key [2]int, list []process, reaped bool) (owed []left, excused map[string]int) {
	excused = map[string]int{}
	if len(list) == 0 {
		return nil, excused
	}
	u, log := l.units[key], l.log(key)
	for _, p := range facts(u, list) {
		if why := excuse(u, p, log, l.Plan, reaped); why != "" {
			excused[why]++
		} else {
			owed = append(owed, p)
		}
	}
	return owed, excused
}

// judgeTriggers waits for the units that a fault has to end, while their
// parents may still live.
func (l *life) judgeTriggers() {
	l.await("", func(u *unitFacts) bool { return !u.Trigger.IsZero() && !u.Run.Kept }, false)
	// Where the watchdog has ended by itself, nothing is left at once but what is below a
	// watchdog of its own, which may still be ending that: judgeRest waits for it.
	for key, list := range l.trees() {
		u := l.units[key]
		if u == nil || u.Watchdog.PID == 0 || u.watchdogKilled() || u.Watchdog.alive() {
			continue
		}
		owed, _ := l.owed(key, stillThere(list), false)
		for _, p := range owed {
			if !p.nested() {
				l.complain("left over", "%s: the watchdog has ended, and this lives: %v", u.Name, p)
			}
		}
	}
}

func stillThere(list []process) (rest []process) {
	for _, p := range list {
		if p.alive() {
			rest = append(rest, p)
		}
	}
	return rest
}

// judgeRest waits for all units (without the kept run, or with it) and takes
// out of the way what no promise is about, once the reaper has run.
func (l *life) judgeRest(when string, kept, reaped bool) {
	l.await(when, func(u *unitFacts) bool { return kept || !u.Run.Kept }, reaped)
	for key, list := range l.trees() {
		u := l.units[key]
		switch {
		case u == nil:
			// One that is just ending has no folder any more, and is gone soon.
			l.until(maxAllowance, func() bool { list = stillThere(list); return len(list) == 0 })
			for _, p := range list {
				l.complain("left over", "%s: of no unit: %v", when, p)
				p.signal(unix.SIGKILL)
			}
		case !reaped:
			if kept == u.Run.Kept {
				l.count("left to the reaper", len(list))
			}
		case kept || !u.Run.Kept:
			_, excused := l.owed(key, list, true)
			for why, n := range excused {
				l.count("excused: "+why, n)
			}
			for _, p := range list {
				p.signal(unix.SIGKILL)
			}
		}
	}
}

// await waits until nothing owed is left of the units, each to its own deadline.
func (l *life) await(when string, which func(*unitFacts) bool, reaped bool) {
	for {
		l.events()
		trees, busy := l.trees(), false
		for key, u := range l.units {
			if !which(u) || u.Done {
				continue
			}
			l.askOrphan(key, u)
			owed, _ := l.owed(key, trees[key], reaped)
			late := time.Since(u.Trigger.Add(ms(u.Unit.Grace) + bound))
			if len(owed) == 0 {
				continue
			}
			busy = true
			if !reaped && late < l.allowance(u.LateThen) || reaped && late < 30*time.Second && late < 2*l.allowance(u.LateThen) {
				continue
			}
			u.Done = true
			kind, why := "left over", when
			if why == "" {
				why = u.Why
			}
			if u.Watchdog.alive() && !u.watchdogKilled() {
				kind = "hang"
			}
			for _, p := range owed {
				l.complain(kind, "%s (%s), %v after the deadline: %v", u.Name, why, late.Round(time.Millisecond), p)
				p.signal(unix.SIGKILL)
			}
		}
		if !busy {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// askOrphan ends a watchdog that no death will end: its parent had died before it could
// see which process that is.
func (l *life) askOrphan(key [2]int, u *unitFacts) {
	if u.Unit.Default && !u.hit("watchdog", sigTERM) && l.log(key).Parent == 1 && !l.parents[key[0]].alive() && u.Watchdog.alive() {
		l.send(u, "watchdog", u.Watchdog, fault{Signal: sigTERM})
	}
}

// seen counts the processes of the trees once, and what may hide in them.
func (l *life) seen() {
	for key, list := range l.trees() {
		if l.units[key] != nil {
			l.count("processes", len(list))
		}
	}
}

// judgeKept: nothing has touched the run with a living parent.
func (l *life) judgeKept() {
	l.events()
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, u := range l.units {
		if u.Run.Kept && !u.Watchdog.alive() {
			l.problems = append(l.problems, complaint{"bystander", fmt.Sprintf("the watchdog of a living run has ended (run %d)", key[0])})
		}
	}
	l.untouched()
}

func (l *life) untouched() {
	for id, what := range l.watched {
		p, alive := stat(id.PID)
		switch {
		case len(l.signals[id]) > 0:
			l.problems = append(l.problems, complaint{"bystander", fmt.Sprintf("%s %v got signals %v", what, p, l.signals[id])})
		case !alive || p.ident != id:
			l.problems = append(l.problems, complaint{"bystander", fmt.Sprintf("%s %d was ended", what, id.PID)})
		case p.State == 'T':
			l.problems = append(l.problems, complaint{"bystander", fmt.Sprintf("%s %v was stopped", what, p)})
		}
	}
}

func (l *life) judgeBystanders() {
	l.events()
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, what := range l.watched {
		if what != "bystander" {
			delete(l.watched, id)
		}
	}
	l.counts["bystanders"] += len(l.watched)
	l.untouched()
	// A record stays while a process names its run.
	for id := range l.watched {
		id.signal(unix.SIGKILL)
	}
}

// judgeFiles: what watchdogs share stays (the table, sums, the last reap), and nothing else.
func (l *life) judgeFiles() {
	shared := []string{"table", "table.lock", "table.new", "totals", "reaped"}
	names, _ := os.ReadDir(l.stateDir())
	for _, e := range names {
		if !slices.Contains(shared, e.Name()) {
			text, _ := os.ReadFile(filepath.Join(l.stateDir(), e.Name()))
			l.complain("file", "%s stays in the state folder: %q", e.Name(), text)
		}
	}
	for _, dir := range []string{filepath.Join(here, "tmp"), ours} {
		names, _ = os.ReadDir(dir)
		for _, e := range names {
			l.complain("file", "%s stays in %s", e.Name(), dir)
		}
	}
	if l.Cgroup != "" {
		names, _ := os.ReadDir(l.Cgroup)
		for _, e := range names {
			if e.IsDir() {
				below, _ := filepath.Glob(filepath.Join(l.Cgroup, e.Name(), "leash-*"))
				l.complain("cgroup", "%s stays, with %d below it", e.Name(), len(below))
			}
		}
	}
}

// judgeLogs searches for traces and errors, and checks exit statuses.
func (l *life) judgeLogs() {
	l.events()
	for key, u := range l.units {
		log := l.log(key)
		if u.askedForTrace() {
			log.Traces = nil
		}
		for _, line := range log.Traces {
			l.complain("log", "%s: %s", u.Name, line)
		}
		if log.Failed != "" && !doubted(u, log) {
			l.complain("log", "%s: %s", u.Name, log.Failed)
		}
		for _, line := range log.Errors {
			if strings.Contains(line, "sentinel_died") && u.sentinelHurt() {
				continue
			}
			l.complain("log", "%s: %s", u.Name, line)
		}
		l.mu.Lock()
		status, known := l.statuses[u.Watchdog]
		l.mu.Unlock()
		if u.Watchdog.PID == 0 || !known {
			continue
		}
		l.count("statuses", 1)
		if wrong := wrongStatus(u, log, status); wrong != "" {
			l.complain("status", "%s: %s", u.Name, wrong)
		}
	}
	text, _ := os.ReadFile(filepath.Join(control, "nested.log"))
	l.traces("nested.log", string(text))
}

// plant does what no life does, for tests of the judge.
func (l *life) plant() {
	switch l.Plant {
	case "left over":
		l.start(nil, "/bin/sh", "-c", "cd "+unitDir(0, 0)+" && env -i setsid sleep 1011 &")
		l.until(5*time.Second, func() bool {
			return slices.ContainsFunc(scan(), func(p process) bool { return p.Dir == unitDir(0, 0) && filepath.Base(p.Exe) == "sleep" })
		})
		l.mu.Lock()
		l.units[[2]int{0, 0}].trigger(time.Now(), l.late, "planted")
		l.mu.Unlock()
	case "bystander":
		for id := range l.watched {
			id.signal(unix.SIGCONT)
			break
		}
	case "stopped":
		for id := range l.watched {
			id.signal(unix.SIGSTOP)
			break
		}
	case "file":
		os.MkdirAll(l.stateDir(), 0o700)
		os.WriteFile(filepath.Join(l.stateDir(), "record-of-none"), nil, 0o600)
	case "cgroup":
		os.Mkdir(filepath.Join(l.Cgroup, "leash-1-1-1"), 0o755)
	case "log":
		os.WriteFile(unitLog(0, 0), []byte("panic: planted\n"), 0o644)
	case "status":
		l.mu.Lock()
		u := l.units[[2]int{0, 0}]
		u.Watchdog = ident{PID: 999999, Start: 1}
		l.statuses[u.Watchdog] = 42
		l.mu.Unlock()
	}
}
