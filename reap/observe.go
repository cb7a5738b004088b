package reap

import (
	"fmt"
	"time"

	"leash/internal/snapshot"
)

// observe takes a snapshot, and adds to it what earlier ones found: dead owners, and the
// members that are being ended.
func (r *Reaper) observe() (*snapshot.Snapshot, error) {
	s, err := r.System.Take(r.held())
	if err != nil {
		return nil, fmt.Errorf("the process table cannot be read: %w", err)
	}
	r.passed = true
	s.Dead, s.OwnerRecorded = r.dead, r.recorded
	return s, nil
}

// held describes the members, so that a process that is born into their groups and
// sessions is found also when they have ended.
func (r *Reaper) held() []snapshot.Held {
	var held []snapshot.Held
	for _, m := range r.members {
		if m.PGID == m.PID || m.SID == m.PID {
			held = append(held, snapshot.Held{Run: m.Run, PID: m.PID, Group: m.PGID, Session: m.SID, From: m.from, Seen: m.seen})
		}
	}
	return held
}

// awaitWatchdogs waits for the processes that watchdogs are ending. They are not
// signalled, so that it does not matter which process has the PID now.
func (r *Reaper) awaitWatchdogs(until time.Duration) error {
	var handles []snapshot.Handle
	for _, pid := range r.guarded {
		if h, err := r.System.Open(pid); err == nil {
			h.Notify()
			handles = append(handles, h)
		}
	}
	if len(handles) == 0 { // all ended just now, or no descriptor is to be had
		until = min(until, r.System.Now()+scanAgain)
	}
	_, err := r.System.Wait(until)
	for _, h := range handles {
		h.Close()
	}
	return err
}
