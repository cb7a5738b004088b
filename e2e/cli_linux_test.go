package e2e

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

// Scripts that need processes to guard, signals, or a shell.
func TestCommandLineOnLinux(t *testing.T) { playScripts(t, "linux", withProcesses) }

// Scripts that may call the reaper as it is: it sees the processes of the scripts
// alone. $dead_owner is one that a watchdog writes for a parent that has exited.
func TestCommandLineOfReaper(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		playScripts(t, "reaper", func(s *stage, e *testscript.Env) {
			withProcesses(s, e)
			e.Setenv("dead_owner", deadOwner(t))
		})
	})
}

// withProcesses adds commands for processes beside the script.
func withProcesses(s *stage, e *testscript.Env) {
	procs := make(map[string]*testkit.Proc)
	proc := func(ts *testscript.TestScript, name string) *testkit.Proc {
		if procs[name] == nil {
			ts.Fatalf("no process was started as %s", name)
		}
		return procs[name]
	}
	highest, err := os.ReadFile("/proc/sys/kernel/pid_max")
	if err != nil {
		s.t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(highest)))
	if err != nil {
		s.t.Fatal(err)
	}
	e.Setenv("test_pid", itoa(unix.Getpid()))
	e.Setenv(highestPID, itoa(n-1))
	s.names = append(s.names, "test_pid", highestPID)
	// start NAME [NAME=VALUE...] PROGRAM: its PID is $NAME from now on.
	s.more["start"] = func(s *stage, ts *testscript.TestScript, args []string) {
		if len(args) < 2 {
			ts.Fatalf("usage: start NAME [NAME=VALUE...] PROGRAM [ARG...]")
		}
		procs[args[0]] = testkit.Start(s.t, s.command(ts, args[1:]))
		ts.Setenv(args[0], pid(procs[args[0]]))
		s.names = append(s.names, args[0])
	}
	// await NAME stdout|stderr PATTERN: it prints such a line.
	s.more["await"] = func(s *stage, ts *testscript.TestScript, args []string) {
		if len(args) != 3 {
			ts.Fatalf("usage: await NAME stdout|stderr PATTERN")
		}
		lines := map[string]*testkit.Lines{"stdout": proc(ts, args[0]).Stdout, "stderr": proc(ts, args[0]).Stderr}[args[1]]
		lines.AwaitMatch(regexp.MustCompile(args[2]))
	}
	// signal NAME SIGNAL
	s.more["signal"] = func(s *stage, ts *testscript.TestScript, args []string) {
		sig := unix.SignalNum("SIG" + strings.Join(args[1:], " "))
		if len(args) != 2 || sig == 0 {
			ts.Fatalf("usage: signal NAME KILL|TERM|...")
		}
		proc(ts, args[0]).Signal(sig)
	}
	// ends NAME STATUS: it ends, or has ended; stdout and stderr check all that it printed.
	s.more["ends"] = func(s *stage, ts *testscript.TestScript, args []string) {
		if len(args) != 2 {
			ts.Fatalf("usage: ends NAME STATUS")
		}
		p := proc(ts, args[0])
		status := p.Wait()
		s.printed(ts, p.Stdout.AwaitEnd(), p.Stderr.AwaitEnd())
		if itoa(status) != args[1] {
			ts.Fatalf("expected status %s of %s, but it ended with %d", args[1], args[0], status)
		}
	}
	// alive NAME...
	s.more["alive"] = func(s *stage, ts *testscript.TestScript, args []string) {
		for _, name := range args {
			if p := proc(ts, name); !p.Alive() {
				ts.Fatalf("expected %s to be alive, but it has ended: %v", name, p.Ident)
			}
		}
	}
}
