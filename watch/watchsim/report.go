package watchsim

import (
	"fmt"
	"strings"
)

// Report describes the last run for a reader.
func (s *Scene) Report() string {
	var b strings.Builder
	fmt.Fprintf(&b, "poll %v, lossy %v, blind %v, %+v\n", s.System.Poll, s.System.Lossy, s.System.Blind, s.World.Options)
	for _, h := range s.World.Hosts {
		fmt.Fprintf(&b, "%v, labelled %v, grace %v, worker first %v\n", h.mode, h.labelled, h.Grace, h.cfg.WorkerFirst)
		if c := h.cfg; c.Beats != nil || c.Restart != 0 {
			fmt.Fprintf(&b, "beats %+v, hang signal %v, command %t, wait %v, grace at most %v, restart %d, %d times\n",
				c.Beats, c.HangSignal, c.HangCommand, c.HangWait, c.GraceMax, c.Restart, c.MaxRestarts)
		}
	}
	b.WriteString(s.World.Trace.String())
	for _, h := range s.World.Hosts {
		fmt.Fprintf(&b, "survivors %d:", h.survivors)
		for _, p := range h.left {
			fmt.Fprintf(&b, " %v", p)
		}
		b.WriteByte('\n')
	}
	b.WriteString("still there:")
	for _, p := range s.World.live {
		fmt.Fprintf(&b, " %v", p)
	}
	b.WriteByte('\n')
	return b.String()
}

func (s Stats) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d runs (%d without a worker to guard), %d with SIGKILL, %d with survivors; %d calls, %d signals logged, %d PIDs reused\n",
		s.Runs, s.Trivial, s.Forced, s.Survived, s.Calls, s.Sent, s.Reused)
	for m, n := range s.Modes {
		fmt.Fprintf(&b, "  %-30s %d\n", Mode(m), n)
	}
	fmt.Fprintf(&b, "escaped where they could not be found: %d; moved during the last count: %d; killed without a stop signal: %d; signals to a watchdog that could not be recognized: %d",
		s.Unknown, s.Raced, s.Unsignalled, s.UnknownLeash)
	fmt.Fprintf(&b, "\ntimed out: %v; restarts: %d", s.TimedOut, s.Restarts)
	fmt.Fprintf(&b, "\nseveral workers: %d", s.Several)
	fmt.Fprintf(&b, "\nkilled by another: %d watchdogs, %d sentinels", s.WatchdogKilled, s.SentinelKilled)
	return b.String()
}

// Kind is a failure without the parts that differ from run to run.
func Kind(failure string) string {
	text, _, _ := strings.Cut(failure, ": ")
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r == '.' {
			return -1
		}
		return r
	}, text)
}
