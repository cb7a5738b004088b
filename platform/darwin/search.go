package darwin

import (
	"leash/internal/runid"
	"leash/internal/stop"
)

// search lists processes that may belong to a worker's tree although they are not
// found by following it: of its group, its session, or with its labels. Each is opened
// and read before it counts. For those that have only the labels, labelled decides
// too; a parent that is not known is nil.
func (k *Kernel) search(tree *stop.Tree, labelled func(e, parent *entry) bool) ([]int, error) {
	root := tree.Worker()
	group, session := tree.Leads(), root.SID == root.PID
	labels := tree.RunID != "" && tree.WorkerID != ""
	if !group && !session && !labels {
		return nil, nil
	}
	all, err := k.sys.Processes()
	if err != nil {
		return nil, err
	}
	var pids []int
	for i := range all {
		e := &all[i]
		switch {
		case e.PID <= 1 || e.over() || e.Flags&flagSystem != 0:
		case group && e.PGID == root.PID,
			session && k.session(*e) == root.PID,
			labels && e.UID == root.UID && labelled(e, find(all, e.PPID)) && k.hasLabels(e.PID, tree):
			pids = append(pids, e.PID)
		}
	}
	return pids, nil
}

func find(all []entry, pid int) *entry {
	for i := range all {
		if all[i].PID == pid {
			return &all[i]
		}
	}
	return nil
}

// hasLabels reports whether a process has the worker's labels, by one read.
func (k *Kernel) hasLabels(pid int, tree *stop.Tree) bool {
	b, err := k.sys.ProcArgs(pid)
	if err != nil {
		return false
	}
	p, err := parseProcArgs2(b)
	if err != nil {
		return false
	}
	run, worker := runid.FromEnviron(p.Env)
	return run == tree.RunID && worker == tree.WorkerID
}
