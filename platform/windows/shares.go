//go:build windows

package windows

import (
	"time"

	win "golang.org/x/sys/windows"

	"leash/internal/system"
)

var _ system.Shares = (*System)(nil)

// Poke makes Wait return soon.
func (s *System) Poke() {
	select {
	case s.poked <- struct{}{}:
	default: // it is to return already
	}
}

// Prepare makes the job object of all workers, within which each has its own ("Nested Jobs").
// No sentinel is needed: job objects end with this process.
func (s *System) Prepare(bool) []string {
	if s.all == nil {
		s.all, _ = newJob(true)
	}
	return []string{"job", "descendants"}
}

// jobs are those that a worker is created in, the outermost first.
func (c *containment) jobs(own *job) []win.Handle {
	if c.shared && c.s.all != nil {
		return []win.Handle{c.s.all.h, own.h}
	}
	return []win.Handle{own.h}
}

// How long EndRest waits for what it has ended.
const (
	restWithin = 2 * time.Second
	restPoll   = 5 * time.Millisecond
)

// EndRest ends what is left in the job of all workers: those of each have been closed, which
// ends what is in them. A watchdog in there, and what it guards, live on.
func (s *System) EndRest() bool {
	if s.all == nil {
		return true
	}
	defer func() { s.all = nil }()
	if s.leashIn(s.all) {
		s.all.close(true)
		return true
	}
	s.all.end()
	empty := s.emptyJob(s.all)
	for until := s.Now() + restWithin; !empty && s.Now() < until; empty = s.emptyJob(s.all) {
		time.Sleep(restPoll)
	}
	s.all.close(false)
	return empty
}

// leashIn reports whether a watchdog or a reaper runs in a job.
func (s *System) leashIn(j *job) bool {
	for _, pid := range j.pids() {
		if h, err := s.open(pid); err == nil {
			ours := s.isLeash(h.exe)
			if h.Close(); ours {
				return true
			}
		}
	}
	return false
}
