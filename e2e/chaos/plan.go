//go:build linux

package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// plan is all that a seed decides about one life. Times are in milliseconds.
type plan struct {
	Seed    uint64
	User    int    // 0, or an ordinary user
	Cgroup  string // "" (none to be had), "own"
	PIDMax  int    // 0: as it is. A small one makes numbers come again soon
	Ledger  string // "", "removed", "full", "readonly"
	LedgerT int
	Runs    []run
	Faults  []fault
	Reapers []call
	Skip    []string
}

// run is one parent with its workers. The last run of a plan is kept: nothing
// is done to it, and nothing may happen to it while the others are reaped.
type run struct {
	ID     string // given to the watchdogs; empty: each makes its own
	Kept   bool
	Aide   bool // a second parent of some of its workers, started beside it
	Lazy   bool // the parent waits for no child
	Thread bool // each child is started by a thread that ends at once
	Owner  bool // guarded workers get LEASH_RUN_OWNER
	Units  []unit
}

// unit is a worker and its watchdog.
type unit struct {
	Guard     bool
	Delay     int // before it is started
	Late      int // guard: from the worker's start to the watchdog's
	Flags     []string
	Sentinel  bool
	KillMode  string
	Grace     int
	StopSig   int
	Restart   bool
	Heartbeat bool
	Default   bool // no --parent-pid
	AideToo   bool // --parent-pid of the aide beside that of the parent
	Lifeline  bool // --parent-fd
	CloseT    int  // the parent closes the lifeline; 0: never
	Leads     string
	Labels    bool // guard: both labels in the worker's environment
	LabelArgs bool // guard: both labels as flags
	Group     bool // the parent starts the watchdog in a group of its own
	Quiet     bool // no flag about the log
	Worker    node
}

// node is one process of a tree, run by this program or, with Shell, by sh.
type node struct {
	Shell  string `json:",omitempty"`
	Term   string `json:",omitempty"` // on TERM: "" ends, "ignore", "exit", "slow", "fork"
	Leave  string `json:",omitempty"` // "", "group", "session", "daemon"
	Wipe   bool   `json:",omitempty"` // no environment
	Close  bool   `json:",omitempty"` // closes all descriptors
	Stop   bool   `json:",omitempty"` // stops itself
	Life   int    `json:",omitempty"` // ends by itself, with Status
	Status int    `json:",omitempty"`
	Beat   int    `json:",omitempty"` // heartbeats this often
	Hang   int    `json:",omitempty"` // and none any more from then on
	Count  bool   `json:",omitempty"` // tells of each signal: of the kept run
	Nested bool   `json:",omitempty"` // under a watchdog of its own
	Kids   []node `json:",omitempty"`
}

// fault is a signal, sent At ms after the unit's watchdog was started (or the
// parent, for a parent), or after the first process of its tree was seen.
type fault struct {
	At     int
	Born   bool
	Target string // parent, aide, worker, child, watchdog, sentinel, both, group
	Run    int
	Unit   int
	Signal int
	Resume int // after SIGSTOP: ms to SIGCONT
	Pick   int // which child
}

type call struct {
	At   int
	Args []string
}

const ordinary = 65534 // the user nobody, on every system we know

// skippable kinds of faults, for CHAOS_SKIP.
var kinds = []string{"parent", "aide", "worker", "child", "watchdog", "sentinel", "both", "group",
	"stop", "ledger", "reaper", "guard", "heartbeat", "restart", "nested", "pidmax", "user", "dead-worker"}

type dice struct {
	*rand.Rand
	skip []string
}

func (d dice) one(percent int) bool { return d.IntN(100) < percent }
func (d dice) pick(list ...string) string {
	return list[d.IntN(len(list))]
}
func (d dice) signal(list ...syscall.Signal) int { return int(list[d.IntN(len(list))]) }
func (d dice) no(kind string) bool               { return slices.Contains(d.skip, kind) }

// soon is a moment: often within the first milliseconds, when the watchdog and
// its worker are starting, else within the first half second.
func (d dice) soon() int {
	if d.one(50) {
		return d.IntN(25)
	}
	return d.IntN(500)
}

// newPlan is a pure function of its arguments.
func newPlan(seed uint64, skip []string) plan {
	d := dice{rand.New(rand.NewPCG(seed, 0x6c65617368)), skip}
	p := plan{Seed: seed, Skip: skip}
	if d.one(35) && !d.no("user") {
		p.User = ordinary
	}
	if d.one(60) {
		p.Cgroup = "own"
	}
	if d.one(25) && !d.no("pidmax") {
		p.PIDMax = 1200 + d.IntN(1500)
	}
	if d.one(20) && !d.no("ledger") {
		p.Ledger, p.LedgerT = d.pick("removed", "full", "readonly"), d.IntN(400)
	}
	for range 1 + d.IntN(2) {
		p.Runs = append(p.Runs, d.run())
	}
	for i, r := range p.Runs {
		d.faults(&p, i, r)
	}
	slices.SortStableFunc(p.Faults, func(a, b fault) int { return a.At - b.At })
	for d.one(30) && len(p.Reapers) < 3 && !d.no("reaper") {
		args := [][]string{nil, {"--dry-run"}, {"list", "--json"}, {"--json", "--grace", "200ms"}}
		p.Reapers = append(p.Reapers, call{d.IntN(700), args[d.IntN(len(args))]})
	}
	if d.one(30) {
		p.Runs = append(p.Runs, d.kept())
	}
	return p
}

func (d dice) id() string {
	b := make([]byte, 7)
	for i := range b {
		b[i] = "0123456789abcdefghijklmnopqrstuvwxyz"[d.IntN(36)]
	}
	return string(b)
}

func (d dice) run() run {
	r := run{Aide: d.one(25), Lazy: d.one(20), Thread: d.one(20), Owner: d.one(50)}
	if d.one(70) {
		r.ID = d.id()
	}
	n := 1
	for n < 6 && d.one(40) {
		n++
	}
	for i := range n {
		r.Units = append(r.Units, d.unit(r, i))
	}
	return r
}

func (d dice) unit(r run, i int) unit {
	u := unit{Guard: d.one(30) && !d.no("guard"), Sentinel: d.one(80), Group: d.one(60)}
	u.Delay = d.IntN(2) * d.IntN(60)
	u.Grace = [...]int{0, 50, 150, 300, 500}[d.IntN(5)]
	u.StopSig = d.signal(syscall.SIGTERM, syscall.SIGTERM, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1)
	u.KillMode = d.pick("", "mixed", "group")
	u.AideToo = r.Aide && d.one(60)
	if u.Lifeline = d.one(20); u.Lifeline && d.one(40) {
		u.CloseT = 1 + d.IntN(500)
	}
	u.Flags = []string{"--grace", strconv.Itoa(u.Grace) + "ms"}
	if u.StopSig != int(syscall.SIGTERM) || d.one(20) {
		u.Flags = append(u.Flags, "--stop-signal", strconv.Itoa(u.StopSig))
	}
	switch d.IntN(4) {
	case 0:
		u.Flags = append(u.Flags, "--backend", "poll", "--poll-interval", "50ms")
	case 1:
		u.Flags = append(u.Flags, "--backend", "event")
	}
	if d.one(60) {
		u.Flags = append(u.Flags, "--worker-id", fmt.Sprint("w", i))
		u.LabelArgs = u.Guard && r.ID != ""
	}
	u.Quiet = d.one(15)
	u.Default = !u.Quiet && !u.AideToo && !u.Lifeline && d.one(30)
	u.Worker = d.node(0)
	u.Worker.Leave, u.Worker.Nested, u.Worker.Stop = "", false, false
	if u.Guard {
		u.Late = d.IntN(2) * d.IntN(100)
		u.Labels = u.LabelArgs && d.one(70)
		u.Leads = d.pick("session", "group", "")
		return u
	}
	if d.one(15) && !d.no("restart") {
		u.Restart = true
		u.Flags = append(u.Flags, "--restart", d.pick("on-failure", "always"), "--max-restarts", "2")
	}
	if d.one(20) && !d.no("heartbeat") {
		u.Heartbeat = true
		u.Flags = append(u.Flags, "--heartbeat", "notify", "--heartbeat-interval", "300ms",
			"--heartbeat-timeout", "1500ms", "--max-missed", "4")
		u.Worker = d.node(1)
		u.Worker.Shell, u.Worker.Leave, u.Worker.Nested, u.Worker.Stop, u.Worker.Close = "", "", false, false, false
		u.Worker.Beat = 100
		if d.one(50) {
			u.Worker.Hang = 1 + d.IntN(400)
		}
	}
	return u
}

// node draws a process and what it starts. The deeper, the fewer.
func (d dice) node(depth int) node {
	n := node{Term: d.pick("", "", "", "ignore", "exit", "slow", "fork")}
	if depth > 0 {
		n.Leave = d.pick("", "", "", "group", "session", "daemon", "daemon")
		n.Wipe = d.one(35)
		n.Stop = d.one(8)
		n.Close = d.one(15)
		n.Nested = d.one(6) && !d.no("nested")
	}
	if d.one(15) {
		n.Life, n.Status = 1+d.IntN(500), d.IntN(2)*(1+d.IntN(20))
	}
	if d.one(30) {
		n.Shell = d.shell()
		return n
	}
	for depth < 3 && len(n.Kids) < 4 && d.one([...]int{88, 45, 20}[depth]) {
		n.Kids = append(n.Kids, d.node(depth+1))
	}
	return n
}

// shell draws what only a real fork(2) without execve(2) does: dash forks
// within microseconds of its own start.
func (d dice) shell() string {
	var parts []string
	for range 1 + d.IntN(3) {
		parts = append(parts, d.pick(
			"sleep 1001 &",
			"(sleep 1002 &)",
			"(env -i setsid sleep 1003 &)",
			"(setsid sh -c 'trap \"\" TERM HUP INT; sleep 1004' &)",
			"env -i setsid sh -c '(exec >&- 2>&- <&-; sleep 1005 &)' &",
			fmt.Sprintf("i=0; while [ $i -lt %d ]; do (exit 0) & i=$((i+1)); done", 20+d.IntN(150)),
			fmt.Sprintf("(i=0; while [ $i -lt %d ]; do (sleep 0.02 &) ; i=$((i+1)); done) &", 10+d.IntN(30)),
			"trap '(setsid sleep 1006 &)' TERM",
			"trap 'sleep 0.1; exit 9' TERM",
		))
	}
	parts = append(parts, d.pick("exec sleep 1007", "sleep 1008", "wait; sleep 1009", "sleep 0.2; exit 5", "while :; do sleep 1; done"))
	return strings.Join(parts, "\n")
}

// kept draws a run of processes that all count their signals.
func (d dice) kept() run {
	r := run{ID: d.id(), Kept: true, Owner: true}
	for i := range 1 + d.IntN(2) {
		w := node{Count: true}
		for range d.IntN(3) {
			w.Kids = append(w.Kids, node{Count: true, Leave: d.pick("", "group", "daemon")})
		}
		u := unit{Guard: d.one(40), Sentinel: true, Group: true, Leads: "session", Grace: 100, StopSig: int(syscall.SIGTERM), Worker: w}
		u.Flags = []string{"--grace", "100ms", "--worker-id", fmt.Sprint("w", i)}
		u.Labels, u.LabelArgs = u.Guard, u.Guard
		r.Units = append(r.Units, u)
	}
	return r
}

func (d dice) faults(p *plan, i int, r run) {
	add := func(f fault) {
		if !d.no(f.Target) {
			f.Run = i
			p.Faults = append(p.Faults, f)
		}
	}
	const kill, stop, term = syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGTERM
	if d.one(50) {
		add(fault{At: d.soon(), Target: "parent", Signal: d.signal(kill, kill, kill, term, syscall.SIGHUP)})
	}
	if r.Aide && d.one(40) {
		add(fault{At: d.soon(), Target: "aide", Signal: int(kill)})
	}
	for u := range r.Units {
		for range d.IntN(3) {
			f := fault{At: d.soon(), Unit: u, Pick: d.IntN(1 << 16)}
			f.Born = true
			if d.one(50) { // a tree takes its time to grow
				f.At = d.IntN(400)
			}
			f.Target = d.pick("worker", "child", "child", "watchdog", "watchdog", "watchdog", "sentinel", "sentinel", "both", "group")
			switch f.Target {
			case "worker", "child":
				f.Signal = d.signal(kill, kill, term, stop, syscall.SIGCONT, syscall.SIGUSR2, syscall.SIGABRT, syscall.SIGINT, syscall.SIGHUP)
			case "watchdog":
				f.Born = d.one(75)
				f.Signal = d.signal(kill, kill, kill, kill, term, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGQUIT, stop, stop)
			case "sentinel":
				f.Signal = d.signal(kill, kill, kill, stop)
			default:
				f.Signal = int(kill)
			}
			if f.Signal == int(stop) && f.Target != "worker" && f.Target != "child" {
				if d.no("stop") {
					continue
				}
				f.Resume = 1 + d.IntN(600)
			}
			add(f)
		}
	}
}
