package windows

import (
	"strconv"
	"strings"

	"leash/internal/ledger"
	"leash/internal/proc"
	"leash/internal/program"
	"leash/scan"
)

// everyBoot stands where other systems name the present boot: creation times are
// times of day here, so those of another boot are others anyway.
const everyBoot = "0"

// guardedPID is the worker that a watchdog's arguments name, 0 if none.
func guardedPID(args []string) int {
	for i, arg := range args {
		value, ok := strings.CutPrefix(arg, "--worker-pid=")
		if arg == "--worker-pid" && i+1 < len(args) {
			value, ok = args[i+1], true
		}
		if n, err := strconv.ParseUint(value, 10, 31); ok && err == nil {
			return int(n)
		}
	}
	return 0
}

// leashNamed reports whether a program has the name of one of ours.
func leashNamed(name string) bool {
	name, exe := strings.CutSuffix(strings.ToLower(name), ".exe")
	return exe && program.Named(name)
}

// baseOf is the name of a program without its folder.
func baseOf(path string) string { return path[strings.LastIndexAny(path, `\/`)+1:] }

// recorded are the workers and watchdogs that records speak of, who are taken in
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

// listed is one process of the table, with what the table alone tells of it.
type listed struct {
	entry
	memory uint64
	name   string
}

func newListing(all []listed) *listing {
	l := &listing{all: all, by: make(map[int]int, len(all)), children: make(map[int][]int), latest: never}
	for i := range all {
		l.by[all[i].pid] = i
		l.children[all[i].ppid] = append(l.children[all[i].ppid], i)
	}
	return l
}

// childrenOf lists who was created by a process: the number that a child has of
// its parent may by now be that of one who is younger.
func (l *listing) childrenOf(id proc.ID) (found []*listed) {
	for _, i := range l.children[id.PID] {
		if e := &l.all[i]; e.pid != id.PID && follows(e.start, id.Start, l.latest) {
			found = append(found, e)
		}
	}
	return found
}

// parent is what is known of who has the number of somebody's parent. That
// number is never changed when the parent ends. Where nobody has it, whoever will
// get it is younger than all who are here; and no parent is younger than his
// child, so that says that the child has lost his.
func (l *listing) parent(pid int, ended func(pid int) bool) scan.Process {
	p := scan.Process{Info: proc.Info{ID: proc.ID{PID: pid, Start: never}}}
	if i, ok := l.by[pid]; ok && !ended(pid) {
		p.Start, p.Name, p.Memory = l.all[i].start, l.all[i].name, l.all[i].memory
		if p.Start > l.latest {
			p.Start = 0 // no proof that he is younger
		}
	}
	return p
}

// never is later than every start.
const never = 1<<64 - 1
