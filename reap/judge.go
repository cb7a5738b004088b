package reap

import (
	"errors"
	"fmt"

	"leash/internal/snapshot"
	"leash/scan"
)

var errIncomplete = errors.New("the process table cannot be read as a whole")

// judge refuses an incomplete snapshot: the process that is missing may be the owner.
func judge(s *snapshot.Snapshot, request scan.Request) ([]*scan.Run, error) {
	if s.Incomplete != nil {
		return nil, fmt.Errorf("%w: %w", errIncomplete, s.Incomplete)
	}
	return scan.Judge(s, request), nil
}

// remember keeps which owners were found dead, because the process that named one may
// be the first to end, and which processes watchdogs are ending.
func (r *Reaper) remember(runs []*scan.Run) {
	r.guarded = r.guarded[:0]
	for _, run := range runs {
		if run.Owner != nil && !run.OwnerLives() {
			r.dead[run.Key], r.recorded[run.Key] = *run.Owner, run.OwnerRecorded
		}
		for i := range run.Members {
			if m := &run.Members[i]; m.Watchdog != 0 && r.may(m.Process) {
				r.guarded = append(r.guarded, m.PID)
			}
		}
	}
}

// verdict is that a process is to be ended, as a member of a run.
type verdict struct {
	run *scan.Run
	*scan.Member
}

// may reports whether a process is one of those that the caller has in mind.
func (r *Reaper) may(p *snapshot.Process) bool { return r.Only == nil || r.Only(p) }

// toEnd lists, by PID, the processes that are to be ended.
func (r *Reaper) toEnd(runs []*scan.Run) map[int]verdict {
	pids := make(map[int]verdict)
	for _, run := range runs {
		for i := range run.Members {
			if m := &run.Members[i]; m.Verdict == scan.End && r.may(m.Process) {
				pids[m.PID] = verdict{run, m}
			}
		}
	}
	return pids
}
