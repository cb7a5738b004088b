// Package scan judges a snapshot: which process belongs to which run and by what
// evidence, which runs are dead, and what is to be ended, with the reason in
// words. It is pure: everything it knows stands in the snapshot.
package scan

import "strings"

// Evidence is a set of reasons to count a process to a run.
type Evidence uint8

const (
	Argv Evidence = 1 << iota
	Environ
	Ledger
	Group
	Session
	Cgroup
	Descendant

	// direct evidence is about the process itself. The rest is inherited and gives way
	// to it: a member of one run may have started another run.
	direct = Argv | Environ | Ledger
)

var evidenceNames = []string{"argv", "environ", "ledger", "group", "session", "cgroup", "descendant"}

// Names lists the evidence in the set.
func (e Evidence) Names() []string {
	names := []string{}
	for i, n := range evidenceNames {
		if e&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	return names
}

func (e Evidence) String() string { return strings.Join(e.Names(), ", ") }
