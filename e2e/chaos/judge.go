//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// result is what one life prints.
type result struct {
	Seed       uint64
	Complaints []complaint
	Counts     map[string]int
	Millis     int64
	Logs       string `json:",omitempty"`
}

// complaint is one broken promise. Its kind is a row of the table.
type complaint struct{ Kind, Text string }

// columns of the table: each must be zero.
var columns = []string{"left over", "late", "bystander", "status", "hang", "log", "file", "cgroup", "driver"}

// hit is a signal that was sent.
type hit struct {
	What   string // watchdog, sentinel, worker, child
	Signal int
	At     time.Time
}

// unitFacts is what is known of one worker.
type unitFacts struct {
	Name     string
	Run      *run
	Unit     *unit
	Watchdog ident     // zero if no event named it
	Worker   ident     // guard: known; run: as found for a fault
	Since    time.Time // when that was told
	Born     time.Time // when the first process of its tree was seen
	Hits     []hit
	Covered  bool // it has a sentinel
	Trigger  time.Time
	LateThen time.Duration
	Why      string
	Done     bool // its trigger has been judged
}

func (u *unitFacts) hit(what string, signals ...int) bool {
	return slices.ContainsFunc(u.Hits, func(h hit) bool {
		return h.What == what && (len(signals) == 0 || slices.Contains(signals, h.Signal))
	})
}

// trigger notes that the tree must end from now on. A later one, such as the end
// of a stop, puts it off.
func (u *unitFacts) trigger(now time.Time, late time.Duration, why string) {
	u.Trigger, u.LateThen = now, late
	if u.Why == "" {
		u.Why = why
	}
}

const (
	sigHUP  = 1
	sigKILL = 9
	sigTERM = 15
	sigSTOP = 19
	bound   = 2 * time.Second // section 1.4 of the contract
)

// watchdogKilled, sentinelKilled: by us, with SIGKILL.
func (u *unitFacts) watchdogKilled() bool { return u.hit("watchdog", sigKILL) }
func (u *unitFacts) sentinelKilled() bool { return u.hit("sentinel", sigKILL) }

// left is a process of a unit's tree that lives.
type left struct {
	process
	RunID, WorkerID, Owner string
	Leaf                   bool
	Mine                   bool // it is the worker, or has both labels of a guarded one
	Evident                bool // it says of which run it is, or is in the cgroup of one
	BelowMine, BelowOne    bool // one of these above it
}

// both tells whether a process has both labels of a guarded worker.
func (p left) both(u *unitFacts) bool {
	return u.Unit.Labels && p.RunID == u.Run.ID && p.WorkerID != ""
}

// doubted reports whether a guard has told that all it left may be of the next worker: the
// worker was gone before it began, and its parent is PID 1, which adopts all.
func doubted(u *unitFacts, log unitLogFacts) bool {
	return log.Late && u.Unit.Default && log.Parent == 1 && log.Survivors > 0 && log.Doubtful == log.Survivors
}

// excuse says why it is not promised that the process has ended, "" if it is.
// reaped tells whether the reaper has been there since. A pure function.
func excuse(u *unitFacts, p left, log unitLogFacts, life plan, reaped bool) string {
	ledger := life.Ledger
	if u.Unit.Default && log.Parent == 1 && !u.hit("watchdog", sigTERM) {
		return "its parent had died before the watchdog could ask for it"
	}
	if p.ident == u.Watchdog {
		return ""
	}
	if u.Unit.Guard {
		worker := u.Worker.PID
		held := p.Mine || p.BelowMine || u.Unit.Leads != "" && p.PGID == worker || u.Unit.Leads == "session" && p.SID == worker
		switch {
		case u.Watchdog.PID == 0 || !log.Started:
			return "guard: the watchdog had not begun"
		case log.Late && slices.Contains(life.Skip, "dead-worker"):
			return "guard: the worker was dead when the watchdog began (left out)"
		case doubted(u, log) && !(log.Group && held):
			return "guard: told that it may be the next worker of PID 1"
		case log.Late && !(u.Unit.LabelArgs && p.both(u)) && !(log.Group && held):
			return "guard: the worker was dead and gone when the watchdog began"
		case u.watchdogKilled() && !reaped:
			return "guard: its watchdog was killed"
		case u.watchdogKilled() && ledger != "":
			return "guard: its watchdog was killed, and the ledger was out of order"
		case u.watchdogKilled() && !held:
			return "guard: its watchdog was killed, and nothing speaks of the process"
		case !held:
			return "guard: it left group and session, without labels"
		}
		return ""
	}
	if !u.watchdogKilled() || u.Covered && !u.sentinelKilled() {
		return ""
	}
	what := "the watchdog was killed without a sentinel"
	if u.sentinelKilled() {
		what = "watchdog and sentinel were killed"
	}
	switch {
	case !reaped && p.ident != u.Worker:
		return what
	case reaped && u.Unit.Lifeline && !u.Unit.AideToo:
		return what + ", and its owner was a lifeline"
	case reaped && !p.Evident && !p.BelowOne:
		return what + ", and nothing speaks of the process"
	}
	return ""
}

// unitLogFacts is what a watchdog wrote.
type unitLogFacts struct {
	Started bool
	Parent  int  // of watchdog.started
	Late    bool // guard found no worker any more
	Group   bool // it knows the worker's group and session all the same
	Events  int
	Stopped bool
	Outcome string
	Status  int // of watchdog.stopped
	Last    string
	Code    int // of the last process.terminated, 128+N for a signal
	// Survivors, those of them that may be of the next worker, and Failed are of
	// process.cleanup_completed.
	Survivors, Doubtful int
	Failed              string
	Traces              []string
	Errors              []string
}

// A signal that asks for a trace gets one, from the Go runtime, where the watchdog has
// not begun to catch signals.
func (u *unitFacts) askedForTrace() bool {
	return slices.ContainsFunc(u.Hits, func(h hit) bool { return h.Signal == 3 || h.Signal == 6 })
}

var trace = regexp.MustCompile(`panic:|fatal error:|^goroutine \d+ \[|unexpected fault|SIG[A-Z]+: |runtime: |DATA RACE`)

const endedAlready = "has ended already"

// readLog reads a log of JSON, among whatever the workers' own shells print.
func readLog(text string) (f unitLogFacts) {
	f.Code = -1
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if trace.MatchString(line) {
			f.Traces = append(f.Traces, line)
		}
		if strings.Contains(line, " event=watchdog.started ") { // as text
			f.Started = true
			f.Late = strings.Contains(line, " containment=none") || strings.Contains(line, endedAlready)
			f.Group = strings.Contains(line, "group")
		}
		at := strings.Index(line, `{"time":`)
		if at < 0 {
			continue
		}
		var e map[string]any
		if json.Unmarshal([]byte(line[at:]), &e) != nil {
			continue
		}
		f.Events++
		num := func(key string) int { n, _ := e[key].(float64); return int(n) }
		switch name, _ := e["event"].(string); name {
		case "watchdog.started":
			f.Started, f.Parent = true, num("process.parent_pid")
			msg, _ := e["msg"].(string)
			f.Late = e["containment"] == "none" || strings.Contains(msg, endedAlready)
			holds, _ := e["containment"].(string)
			f.Group = strings.Contains(holds, "group")
		case "watchdog.stopped":
			f.Stopped, f.Status = true, num("exit_status")
			f.Outcome, _ = e["outcome"].(string)
		case "process.terminated":
			if _, ok := e["process.exit.code"]; ok {
				f.Code = num("process.exit.code")
			}
			if name, ok := e["signal"].(string); ok {
				f.Last = name
			}
		case "process.cleanup_completed":
			f.Survivors, f.Doubtful = num("survivors"), strings.Count(line, "it may be the next worker")
			if e["success"] == false {
				f.Failed = line
			}
		default:
			if e["level"] == "ERROR" && name != "heartbeat.timeout" {
				f.Errors = append(f.Errors, line)
			}
		}
	}
	return f
}

// wrongStatus says what is wrong with the exit status of a watchdog, "" for
// nothing. status is as in the events: 1000+N if signal N ended it. Pure.
func wrongStatus(u *unitFacts, log unitLogFacts, status int) string {
	killed := u.watchdogKilled() || u.hit("group")
	if killed && status == 1000+sigKILL {
		return ""
	}
	if status == 2 && u.askedForTrace() {
		return ""
	}
	if status >= 1000 {
		// In its first milliseconds a signal ends it as it ends any program.
		// The kernel itself sends SIGHUP to a group with a stopped member when the
		// last parent outside of it dies (setpgid(2)).
		sig := status - 1000
		if !log.Started && sig != sigKILL && (u.hit("watchdog", sig) || sig == sigHUP && u.hit("watchdog", sigSTOP)) {
			return ""
		}
		return fmt.Sprintf("signal %d ended the watchdog, which we did not send", status-1000)
	}
	if log.Stopped && log.Status != status && !(status == 125 && u.sentinelHurt()) {
		return fmt.Sprintf("status %d, but it told of %d", status, log.Status)
	}
	if u.Unit.Guard {
		if status != 0 && !(status == 1 && doubted(u, log)) {
			return fmt.Sprintf("guard ended with %d", status)
		}
		return ""
	}
	switch {
	case status == 124:
		if !u.Unit.Heartbeat {
			return "124 without heartbeats"
		}
		if u.Unit.Worker.Hang == 0 && !u.hit("worker") && !u.hit("child") && !u.hit("watchdog") {
			return "124, but its worker beats"
		}
	case status == 125:
		if !u.sentinelHurt() {
			return "125, and nothing of ours was killed"
		}
	case status > 128:
		if !u.maySignal(status - 128) {
			return fmt.Sprintf("%d, and no process sent signal %d", status, status-128)
		}
	case !slices.Contains(u.ownStatuses(), status):
		return fmt.Sprintf("%d is no status of its worker's", status)
	}
	if log.Code >= 0 && log.Code != status && status < 124 {
		return fmt.Sprintf("status %d, but its worker ended with %d", status, log.Code)
	}
	return ""
}

func (u *unitFacts) sentinelHurt() bool {
	return u.hit("sentinel", sigKILL) || u.hit("gate", sigKILL)
}

// maySignal tells whether signal sig may have ended the worker.
func (u *unitFacts) maySignal(sig int) bool {
	return sig == sigKILL || sig == u.Unit.StopSig || u.hit("watchdog", sig) || u.hit("worker", sig) || u.hit("child", sig) || u.hit("gate", sig) ||
		u.hit("watchdog", 15) && sig == u.Unit.StopSig || u.hit("worker") && sig == 15
}

// ownStatuses are those that its worker may end with by itself.
func (u *unitFacts) ownStatuses() []int {
	list := []int{0, 5, 6, 7, 8, 9, u.Unit.Worker.Status}
	return list
}
