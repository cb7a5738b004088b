//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ptr is what stands at an offset of a structure with fields that are not exported.
func ptr(info *unix.Siginfo, offset uintptr) unsafe.Pointer {
	return unsafe.Add(unsafe.Pointer(info), offset)
}

// play plays the life from its beginning to the last count.
func (l *life) play() {
	p := l.Plan
	spec, _ := json.Marshal(p)
	if _, err := l.start(nil, self, "host", string(spec)); err != nil {
		l.complain("driver", "host: %v", err)
		return
	}
	bystanders := 1 + 3*len(p.Runs)
	if !l.until(20*time.Second, func() bool { return len(l.watched) >= bystanders }) {
		l.complain("driver", "bystanders did not start")
		return
	}
	for i, r := range p.Runs {
		o := order{Index: i, Run: r, Features: l.Features}
		var aide ident
		if r.Aide {
			aide, _ = l.start(nil, self, "aide")
			o.Aide = aide.PID
		}
		spec, _ := json.Marshal(o)
		parent, err := l.start(nil, self, "parent", string(spec))
		if err != nil {
			l.complain("driver", "parent: %v", err)
			return
		}
		l.parents, l.aides = append(l.parents, parent), append(l.aides, aide)
		l.count("parents", 1)
		l.count("workers", len(r.Units))
	}
	// Everything has its moment from now on.
	stop := make(chan bool)
	go func() { // events are read also while all wait for their moments
		for {
			select {
			case <-stop:
				return
			case <-time.After(8 * time.Millisecond):
				l.births()
			}
		}
	}()
	var wg sync.WaitGroup
	for _, f := range p.Faults {
		wg.Go(func() { l.fault(f) })
	}
	for _, c := range p.Reapers {
		wg.Go(func() { time.Sleep(ms(c.At)); l.reap(c.Args...) })
	}
	if p.Ledger != "" {
		wg.Go(func() { time.Sleep(ms(p.LedgerT)); l.harmLedger() })
	}
	wg.Go(l.begun)
	wg.Wait()
	close(stop)
	l.plant()
	l.seen()
	l.judgeTriggers()
	l.endParents(false)
	l.judgeRest("when every parent was dead", false, false)
	l.healLedger()
	l.reap()
	l.judgeRest("after the reaper", false, true)
	l.judgeKept()
	l.endParents(true)
	l.judgeRest("when the last parent was dead", true, false)
	l.reap()
	l.judgeRest("after the last reaper", true, true)
	l.judgeBystanders()
	l.reap()
	l.judgeFiles()
	l.judgeLogs()
}

// begun waits until every watchdog has been started, or cannot be any more.
func (l *life) begun() {
	l.until(10*time.Second, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		for key, u := range l.units {
			if u.Watchdog.PID == 0 && l.parents[key[0]].alive() {
				return false
			}
		}
		if last := l.Plan.Runs[len(l.Plan.Runs)-1]; last.Kept {
			want := 0
			for _, u := range last.Units {
				want += 1 + len(u.Worker.Kids)
			}
			return l.living("process of a living run") >= want
		}
		return true
	})
}

// living counts the processes that told of themselves. The lock is held.
func (l *life) living(what string) (n int) {
	for _, w := range l.watched {
		if w == what {
			n++
		}
	}
	return n
}

// births notes when the first process of each tree is seen.
func (l *life) births() {
	l.events()
	trees := l.trees()
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, list := range trees {
		if u := l.units[key]; u != nil && u.Born.IsZero() && slices.ContainsFunc(list, func(p process) bool {
			return p.Exe != watchdog && p.ident != u.Worker
		}) {
			u.Born = time.Now()
		}
	}
}

func (l *life) fault(f fault) {
	key := [2]int{f.Run, f.Unit}
	parent := l.parents[f.Run]
	switch f.Target {
	case "parent", "aide":
		time.Sleep(ms(f.At))
		id := parent
		if f.Target == "aide" {
			id = l.aides[f.Run]
		}
		if id.signal(unix.Signal(f.Signal)) != nil {
			return
		}
		l.count("hit "+f.Target, 1)
		l.awaitDeath(f.Target, id)
		l.mu.Lock()
		for k, u := range l.units {
			if k[0] == f.Run && (f.Target == "parent" || u.Unit.AideToo) {
				u.trigger(time.Now(), l.late, "its "+f.Target+" was killed")
			}
		}
		l.mu.Unlock()
		return
	}
	var u *unitFacts
	if !l.until(2*time.Second, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		u = l.units[key]
		return u.Watchdog.PID != 0 || !parent.alive()
	}) || u.Watchdog.PID == 0 {
		return
	}
	l.mu.Lock()
	since, w := u.Since, u.Watchdog
	l.mu.Unlock()
	if f.Born && !l.until(5*time.Second, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		since = u.Born
		return !since.IsZero() || !w.alive()
	}) || since.IsZero() {
		return
	}
	time.Sleep(time.Until(since.Add(ms(f.At))))
	switch f.Target {
	case "worker":
		if id := l.worker(key); id.PID != 0 {
			l.send(u, "worker", id, f)
		}
	case "child":
		var list []process
		for _, p := range scan() {
			if p.Dir == unitDir(f.Run, f.Unit) && p.ident != w && !isSentinel(p, w) || strings.HasPrefix(p.Dir, unitDir(f.Run, f.Unit)+"/") {
				list = append(list, p)
			}
		}
		if len(list) > 0 {
			p, what := list[f.Pick%len(list)], "child"
			if p.Exe == watchdog && p.Dir == unitDir(f.Run, f.Unit) {
				what = "gate" // it becomes the worker
			}
			l.send(u, what, p.ident, f)
		}
	case "watchdog":
		l.send(u, "watchdog", w, f)
	case "sentinel":
		if id := sentinelOf(w); id.PID != 0 {
			l.send(u, "sentinel", id, f)
		}
	case "both":
		s := sentinelOf(w)
		if f.Pick%2 == 0 && s.PID != 0 {
			l.send(u, "sentinel", s, f)
		}
		l.send(u, "watchdog", w, f)
		if f.Pick%2 != 0 && s.PID != 0 {
			l.send(u, "sentinel", s, f)
		}
	case "group":
		// Only of one that leads it. Its number is not reused while we check it.
		if p, ok := stat(w.PID); ok && p.ident == w && p.PGID == w.PID {
			l.note(u, "watchdog", unix.SIGKILL, func() error { return unix.Kill(-w.PID, unix.SIGKILL) })
		}
	}
}

// awaitDeath waits for a process that was killed: its worker's time counts from its death, and
// on a busy machine a process of many threads may take seconds to exit.
func (l *life) awaitDeath(what string, id ident) {
	if !l.until(time.Minute, func() bool { return !id.alive() }) {
		l.complain("driver", "the %s, PID %d, was killed and lives", what, id.PID)
	}
}

// send sends a fault's signal, and SIGCONT later if it says so.
func (l *life) send(u *unitFacts, what string, id ident, f fault) {
	sig := unix.Signal(f.Signal)
	l.note(u, what, sig, func() error { return id.signal(sig) })
	if f.Resume > 0 {
		time.Sleep(ms(f.Resume))
		if id.signal(unix.SIGCONT) == nil {
			l.mu.Lock()
			if !u.Trigger.IsZero() {
				u.trigger(time.Now(), l.late, "")
			}
			l.mu.Unlock()
		}
	}
}

// note sends the signal and writes down what follows from it.
func (l *life) note(u *unitFacts, what string, sig unix.Signal, send func() error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	u.Hits = append(u.Hits, hit{what, int(sig), time.Now()}) // before, for it may act at once
	err := send()
	if err != nil {
		u.Hits = u.Hits[:len(u.Hits)-1]
		return
	}
	l.counts["hit "+what]++
	switch {
	case what == "watchdog" && sig == unix.SIGKILL:
		if u.Covered {
			u.trigger(time.Now(), l.late, "its watchdog was killed")
		}
	case what == "watchdog" && (sig == unix.SIGTERM || sig == unix.SIGINT):
		u.trigger(time.Now(), l.late, "its watchdog got the stop signal")
	case what == "worker" && sig == unix.SIGKILL && !u.Unit.Restart:
		u.trigger(time.Now(), l.late, "its worker was killed")
	}
}

// worker finds the process that a watchdog guards.
func (l *life) worker(key [2]int) ident {
	l.mu.Lock()
	defer l.mu.Unlock()
	u := l.units[key]
	if u.Worker.PID != 0 {
		return u.Worker
	}
	s := sentinelOf(u.Watchdog)
	for _, p := range scan() {
		if p.Dir == unitDir(key[0], key[1]) && p.Exe != watchdog && p.SID == p.PID &&
			(p.PPID == u.Watchdog.PID || s.PID != 0 && p.PPID == s.PID) {
			return p.ident
		}
	}
	return ident{}
}

// sentinelOf finds the second process of a watchdog, above or below it.
func sentinelOf(w ident) ident {
	me, ok := stat(w.PID)
	for _, p := range scan() {
		if ok && p.Exe == watchdog && (p.PPID == w.PID || me.PPID == p.PID) && isSentinel(p, w) {
			return p.ident
		}
	}
	return ident{}
}

// isSentinel goes by what ps shows.
func isSentinel(p process, w ident) bool {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.PID))
	args := strings.Split(string(b), "\x00")
	return p.Exe == watchdog && p.ident != w && len(args) > 1 && args[1] == "sentinel"
}

// reap runs the reaper to its end.
func (l *life) reap(args ...string) {
	name := filepath.Join(control, fmt.Sprintf("reaper-%d", time.Now().UnixNano()))
	out, err := os.Create(name)
	if err != nil {
		l.complain("driver", "%v", err)
		return
	}
	defer out.Close()
	id, err := l.start(out, append([]string{reaper}, args...)...)
	if err != nil {
		l.complain("driver", "reaper: %v", err)
		return
	}
	l.count("reapers", 1)
	if !l.until(60*time.Second, func() bool { l.mu.Lock(); defer l.mu.Unlock(); return !l.own[id.PID] }) {
		l.complain("hang", "reaper %q runs for a minute", args)
		id.signal(unix.SIGKILL)
		return
	}
	l.mu.Lock()
	status := l.statuses[id]
	l.mu.Unlock()
	text, _ := os.ReadFile(name)
	if status != 0 {
		l.complain("status", "reaper %q ended with %d: %.600s", args, status, text)
	}
	l.traces(name, string(text))
}

func (l *life) traces(name, text string) {
	for line := range strings.Lines(text) {
		if trace.MatchString(strings.TrimSpace(line)) {
			l.complain("log", "%s: %s", filepath.Base(name), strings.TrimSpace(line))
		}
	}
}

func (l *life) harmLedger() {
	at := filepath.Join(here, "state")
	switch l.Plan.Ledger {
	case "removed":
		os.RemoveAll(l.stateDir())
	case "readonly":
		unix.Mount("", at, "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
	case "full":
		os.WriteFile(filepath.Join(at, "junk"), make([]byte, 2*stateSize), 0o600)
	}
	l.count("ledger "+l.Plan.Ledger, 1)
}

func (l *life) healLedger() {
	at := filepath.Join(here, "state")
	switch l.Plan.Ledger {
	case "readonly":
		unix.Mount("", at, "", unix.MS_REMOUNT, "")
	case "full":
		os.Remove(filepath.Join(at, "junk"))
	}
}

// endParents kills the parents that live, but the kept one, or that too.
func (l *life) endParents(kept bool) {
	for i, r := range l.Plan.Runs {
		if r.Kept != kept {
			continue
		}
		l.parents[i].signal(unix.SIGKILL)
		l.aides[i].signal(unix.SIGKILL)
		l.awaitDeath("parent", l.parents[i])
		l.mu.Lock()
		for k, u := range l.units {
			if k[0] == i {
				u.trigger(time.Now(), l.late, "every parent was killed")
				u.Done = false
			}
		}
		l.mu.Unlock()
	}
}
