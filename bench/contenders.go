//go:build linux

package main

import (
	"math/rand/v2"
	"os/exec"
	"time"
)

// contender is one way to make a worker die with its parent.
type contender struct {
	name   string
	cast   cast
	absent string // why it cannot take part, or nothing
	speaks bool   // its workers print their PID
	logs   bool   // it logs watchdog.started once it watches
	rounds int    // at most that many, where one takes long; 0: all

	// period is how often one that polls does so: the parent is killed at a
	// random moment of it.
	period time.Duration
}

// worker is a process that prints its PID, and then sleeps. The shell that
// prints it becomes the sleeper.
func (b *bench) worker() []string {
	return []string{b.shell, "-c", `echo "worker $$"; exec sleep infinity`}
}

const (
	runFlag    = "--run-id=bench00"
	workerFlag = "--worker-id=worker-{n}"
)

// guard is `watchdog guard` beside each worker, as a pool of workers does it:
// the run ID and the worker ID are in the environment and on the command line.
func (b *bench) guard() *contender {
	return b.ours("guard", cast{
		Worker:  b.worker(),
		Env:     []string{"LEASH_RUN_ID=bench00", "LEASH_WORKER_ID=worker-{n}"},
		Watcher: []string{b.watchdog, "guard", "--worker-pid={pid}", runFlag, workerFlag},
	})
}

// guardNameless is guard without any run ID or worker ID.
func (b *bench) guardNameless() *contender {
	return b.ours("guard without IDs", cast{
		Worker:  b.worker(),
		Watcher: []string{b.watchdog, "guard", "--worker-pid={pid}"},
	})
}

func (b *bench) run() *contender {
	return b.ours("run", cast{
		Worker: append([]string{b.watchdog, "run", "--log-level=info", runFlag, workerFlag, "--"}, b.worker()...),
	})
}

func (b *bench) ours(name string, c cast) *contender {
	result := &contender{name: name, cast: c, speaks: true, logs: true}
	if b.watchdog == "" {
		result.absent = "not built"
	}
	return result
}

// wrapped is a tool that starts the worker itself.
func (b *bench) wrapped(name, tool string, args ...string) *contender {
	path, absent := find(tool)
	argv := append([]string{path}, args...)
	return &contender{name: name, cast: cast{Worker: append(argv, b.worker()...)}, absent: absent, speaks: true}
}

func find(tool string) (path, absent string) {
	path, err := exec.LookPath(tool)
	if err != nil {
		return "", "not installed"
	}
	return path, ""
}

func (b *bench) setprivKill() *contender {
	return b.wrapped("setpriv KILL", "setpriv", "--pdeathsig", "KILL")
}

func (b *bench) setprivTerm() *contender {
	return b.wrapped("setpriv TERM", "setpriv", "--pdeathsig", "TERM")
}

func (b *bench) tini() *contender {
	return b.wrapped("tini -p", "tini", "-p", "SIGTERM", "--")
}

func (b *bench) bwrap() *contender {
	return b.wrapped("bwrap", "bwrap", "--die-with-parent", "--dev-bind", "/", "/")
}

// pollLoop is what many start with: a shell that polls once a second.
const pollLoop = `while kill -0 "$1" 2>/dev/null; do sleep 1; done; kill "$2"`

func (b *bench) shellLoop(shell string) *contender {
	path, absent := find(shell)
	return &contender{
		name: "1 s loop in " + shell,
		cast: cast{
			Worker:  b.worker(),
			Watcher: []string{path, "-c", pollLoop, "loop", "{parent}", "{pid}"},
		},
		absent: absent,
		speaks: true,
		rounds: 10,
		period: time.Second,
	}
}

// psutilLoop is the same in Python, as many libraries for workers do it.
const psutilScript = `
import sys, time, psutil
parent, worker = (psutil.Process(int(pid)) for pid in sys.argv[1:])
while parent.is_running() and parent.status() != psutil.STATUS_ZOMBIE:
    time.sleep(1)
worker.terminate()
`

func (b *bench) psutilLoop() *contender {
	c := &contender{name: "python psutil", speaks: true, absent: "not installed"}
	for _, python := range []string{"/usr/bin/python3", "python3"} {
		path, err := exec.LookPath(python)
		if err != nil || exec.Command(path, "-c", "import psutil").Run() != nil {
			continue
		}
		c.absent = ""
		c.cast = cast{Worker: b.worker(), Watcher: []string{path, "-c", psutilScript, "{parent}", "{pid}"}}
		break
	}
	return c
}

// minimalGo is a Go program that only blocks in poll: the least that a
// process with Go's runtime can need.
func (b *bench) minimalGo() *contender {
	return &contender{name: "minimal Go", cast: cast{Worker: []string{b.minimal}}}
}

// crowd is a lot of processes that have nothing to do with anything.
func (b *bench) crowd() *contender {
	return &contender{name: "crowd", cast: cast{Worker: b.worker(), Plain: true}, speaks: true}
}

// interleave gives every contender its turn in each round, in an order drawn
// anew each time, so that none always comes after the same one. Those that
// are absent are passed over.
func interleave(rounds int, contenders []*contender, turn func(*contender) error) error {
	for round := range rounds {
		for _, i := range rand.Perm(len(contenders)) {
			c := contenders[i]
			if c.absent != "" || c.rounds > 0 && round >= c.rounds {
				continue
			}
			if err := turn(c); err != nil {
				return err
			}
		}
	}
	return nil
}
