package windows

import (
	"strings"

	"leash/internal/ledger"
	"leash/internal/proc"
	"leash/internal/program"
	"leash/internal/snapshot"
)

// everyBoot stands where other systems name the present boot: creation times are
// times of day here, so those of another boot are others anyway.
const everyBoot = "0"

// leashNamed reports whether a program has the name of one of this project's.
func leashNamed(name string) bool {
	name, exe := strings.CutSuffix(strings.ToLower(name), ".exe")
	return exe && program.Named(name)
}

// baseOf is the name of a program without its folder.
func baseOf(path string) string { return path[strings.LastIndexAny(path, `\/`)+1:] }

// recorded are the workers and watchdogs that records name, which are taken in
// whatever they say themselves. A worker's record is the value.
func recorded(records []ledger.Record) map[proc.ID]*ledger.Record {
	all := make(map[proc.ID]*ledger.Record)
	for i := range records {
		r := &records[i]
		if r.Boot != everyBoot || r.NS != 0 {
			continue
		}
		if id := plain(r.Watchdog); all[id] == nil {
			all[id] = nil
		}
		all[plain(r.Worker)] = r
	}
	return all
}

// plain is an identity as the table of processes tells it.
func plain(id proc.ID) proc.ID { return proc.ID{PID: id.PID, Start: id.Start} }

// listing is the table of processes by number.
type listing struct {
	all      []listed
	by       map[int]int // index in all
	children map[int][]int
	latest   uint64 // see Kernel.latest
}

// listed is one process of the table, with what the table alone holds of it.
type listed struct {
	entry
	name string
}

func newListing(all []listed) *listing {
	l := &listing{all: all, by: make(map[int]int, len(all)), children: make(map[int][]int), latest: never}
	for i := range all {
		l.by[all[i].pid] = i
		l.children[all[i].ppid] = append(l.children[all[i].ppid], i)
	}
	return l
}

// childrenOf lists the processes that a process created: the PID that a child has of
// its parent may by now be that of a younger process.
func (l *listing) childrenOf(id proc.ID) (found []*listed) {
	for _, i := range l.children[id.PID] {
		if e := &l.all[i]; e.pid != id.PID && follows(e.start, id.Start, l.latest) {
			found = append(found, e)
		}
	}
	return found
}

// parent is what is known of the process that has a parent's PID. A child keeps that
// PID when the parent ends. Where no process has it, the start time is later than all:
// no parent is younger than its child, so the child has lost its own.
func (l *listing) parent(pid int, ended func(pid int) bool) snapshot.Process {
	p := snapshot.Process{Info: proc.Info{ID: proc.ID{PID: pid, Start: never}}}
	if i, ok := l.by[pid]; ok && !ended(pid) {
		p.Start, p.Name = l.all[i].start, l.all[i].name
		if p.Start > l.latest {
			p.Start = 0 // no proof that it is younger
		}
	}
	return p
}

// never is later than every start.
const never = 1<<64 - 1
