package scan

import (
	"fmt"
	"slices"
	"strings"

	"leash/internal/owner"
	"leash/internal/snapshot"
)

// ruling is the verdict on a process as a member of one run.
type ruling struct {
	verdict  Verdict
	reason   string
	watchdog int
}

// rule decides about a process, once.
func (j *judge) rule(i int, k claim) *ruling {
	g := guarded{i, k.run}
	if v := j.placed[g]; v != nil {
		return v
	}
	v := &ruling{verdict: Skip, reason: "its descent goes round in a circle"} // of a torn reading
	j.placed[g] = v
	v.verdict, v.reason = j.verdict(i, k)
	if v.verdict == Skip && j.beingEnded(g) {
		v.watchdog = j.guards[g]
	}
	return v
}

// verdict decides about a process that counts to a run, and says why. The order
// matters: first what is never touched, then what is in doubt.
func (j *judge) verdict(i int, k claim) (Verdict, string) {
	p, r := &j.s.Procs[i], j.run(k.run)
	switch yes, doubt := j.toEnd(i, k); {
	case doubt != "":
		return Skip, doubt
	case !yes:
		return Leave, j.whyLeft(i, k)
	}
	for _, refuse := range []func(int, claim) string{
		j.protected, j.contradicted, j.leftToWatchdog, j.belowWatchdog, j.argumentsOnly, j.ownerUnreadable, j.secondhand, j.parentLeft,
	} {
		if why := refuse(i, k); why != "" {
			return Skip, why
		}
	}
	why := r.Why
	switch {
	case len(j.w.WorkerIDs) > 0:
		why = "its worker was named"
	case j.w.names(r.Key):
		why = "its run was named"
	}
	if !r.ToEnd {
		why = j.lostWatchdog(i, k) + ", and " + r.Why
	}
	return End, why + "; it is of the run by " + j.evidence(p, k)
}

// protected says why no request may end a process.
func (j *judge) protected(i int, k claim) string {
	p := &j.s.Procs[i]
	switch {
	case j.s.IsProtected(p.ID):
		return "it is an ancestor of this reaper"
	case p.Denied != "":
		return p.Denied
	case p.Foreign:
		return "it lives in another PID namespace"
	case k.run.UID != p.UID:
		return fmt.Sprintf("it belongs to another user (%d) than its run (%d)", p.UID, k.run.UID)
	case j.s.UID != 0 && p.UID != j.s.UID:
		return fmt.Sprintf("it belongs to another user (%d)", p.UID)
	case p.Mixed:
		return "it runs with the rights of more than one user"
	}
	return ""
}

// contradicted: there is evidence for more than one run. Where all of it is inherited,
// the process is to be ended if all of these runs are.
func (j *judge) contradicted(i int, k claim) string {
	all := j.counts[i]
	if len(all) < 2 {
		return ""
	}
	left := func(o claim) bool {
		yes, _ := j.toEnd(i, o)
		return !yes
	}
	if !isDirect(k) && len(all) < enough && !slices.ContainsFunc(all, left) {
		return ""
	}
	var parts []string
	for _, o := range all {
		parts = append(parts, fmt.Sprintf("run %s (%s)", o.run.ID, o.evidence))
	}
	return "the evidence contradicts itself: " + strings.Join(parts, " and ")
}

// leftToWatchdog: its watchdog is ending it, or is about to.
func (j *judge) leftToWatchdog(i int, k claim) string {
	g := guarded{i, k.run}
	watchdog := j.guards[g]
	switch {
	case watchdog == 0:
		return ""
	case j.beingEnded(g):
		return fmt.Sprintf("its watchdog (PID %d) is ending it", watchdog)
	case j.w.names(k.run):
		return ""
	}
	return fmt.Sprintf("its watchdog (PID %d) guards it", watchdog)
}

// beingEnded reports whether a watchdog is ending it, or is about to.
func (j *judge) beingEnded(g guarded) bool {
	if j.guards[g] == 0 || j.run(g.run).State == DeadRun {
		return j.guards[g] != 0
	}
	for _, k := range j.counts[g.i] {
		ending := func(n int) bool { return j.s.Records[n].Ending && j.watched(n) }
		if k.run == g.run && slices.ContainsFunc(k.records, ending) {
			return true
		}
	}
	return false
}

// argumentsOnly: arguments alone may be those of a grep at a prompt, or of a child of
// one. An orphan has lost its parent, or its parent is ended too.
func (j *judge) argumentsOnly(i int, k claim) string {
	p := &j.s.Procs[i]
	if k.evidence&Argv == 0 || k.evidence&^(Argv|Descendant) != 0 || j.w.names(k.run) || orphaned(p, j.s.Parents) {
		return ""
	}
	parent := j.parentIn(p, k.run)
	switch {
	case parent == nil:
		return fmt.Sprintf("only its arguments name the run, and its parent (PID %d) is alive and not of it", p.PPID)
	case j.rule(j.by[p.PPID], *parent).verdict != End:
		return fmt.Sprintf("only its arguments name the run, and its parent (PID %d) is left alone", p.PPID)
	}
	return ""
}

// parentIn is the claim of the parent to the run; nil if it has none.
func (j *judge) parentIn(p *snapshot.Process, run snapshot.Key) *claim {
	n, ok := j.by[p.PPID]
	if !ok || p.Start < j.s.Procs[n].Start {
		return nil
	}
	for _, k := range j.counts[n] {
		if k.run == run {
			return &k
		}
	}
	return nil
}

// parentLeft: the only evidence is descent, and the parent is left alone.
func (j *judge) parentLeft(i int, k claim) string {
	p := &j.s.Procs[i]
	if k.evidence != Descendant {
		return ""
	}
	parent := j.parentIn(p, k.run)
	if parent != nil && j.rule(j.by[p.PPID], *parent).verdict == End {
		return ""
	}
	return fmt.Sprintf("it is of the run only as a child of PID %d, which is left alone", p.PPID)
}

// orphaned reports whether a process has lost the parent that it was born to. The
// system does not say so; but no process is older than its parent, and init and a
// user's systemd adopt orphans. Where PID 1 is something else (a container's program),
// a process in its session may be its own child.
func orphaned(p *snapshot.Process, parents map[int]snapshot.Process) bool {
	parent, ok := parents[p.PPID]
	if !ok || p.PPID <= 0 {
		return false
	}
	if parent.Start > p.Start {
		return true
	}
	if p.PPID == 1 {
		return parent.SID != p.SID || slices.Contains(inits, parent.Name)
	}
	return parent.Name == "systemd"
}

var inits = []string{"init", "systemd", "launchd", "tini", "docker-init", "dumb-init", "catatonit", "runit", "s6-svscan", "openrc-init", "pid1"}

// ownerUnreadable: its environment names an owner in a form that cannot be read.
func (j *judge) ownerUnreadable(i int, k claim) string {
	p := &j.s.Procs[i]
	if p.Owner == "" || j.w.names(k.run) || j.w.Unclaimed {
		return ""
	}
	if _, ok := owner.Parse(p.Owner); !ok {
		return "its LEASH_RUN_OWNER cannot be read, so its owner cannot be checked"
	}
	return ""
}

// secondhand: the owner of root's run is named by environments of other processes
// alone. A set-user-ID program that became root for good and executed another cannot be
// told from outside, and has its caller's environment: any user could name a dead owner
// for what root runs. So where the ledger names no owner, an environment counts for the
// process that has it, and for one that has lost its parent or has a parent that is ended
// too. Other users have hardly any such programs.
func (j *judge) secondhand(i int, k claim) string {
	p, r := &j.s.Procs[i], j.run(k.run)
	if k.run.UID != 0 || r.OwnerRecorded || r.State != DeadRun || !isDirect(k) || j.w.names(k.run) {
		return ""
	}
	if _, ok := owner.Parse(p.Owner); ok && slices.Contains(p.EnvRuns, k.run.ID) {
		return ""
	}
	if orphaned(p, j.s.Parents) {
		return ""
	}
	if parent := j.parentIn(p, k.run); parent != nil && j.rule(j.by[p.PPID], *parent).verdict == End {
		return ""
	}
	return fmt.Sprintf("only another process's environment names its owner, which another user may have written; "+
		"the ledger names none, and its parent (PID %d) is alive and not of the run", p.PPID)
}

// evidence names the evidence.
func (j *judge) evidence(p *snapshot.Process, k claim) string {
	var w []string
	say := func(e Evidence, text string) {
		if k.evidence&e != 0 {
			w = append(w, text)
		}
	}
	say(Argv, "its arguments")
	say(Environ, "its environment")
	say(Ledger, "the ledger")
	say(Group, fmt.Sprintf("process group %d of a recorded worker", p.PGID))
	say(Session, fmt.Sprintf("session %d of a recorded worker", p.SID))
	if k.run.ID == "" {
		say(Cgroup, fmt.Sprintf("the cgroup that its watchdog made (%s)", leafName(p)))
	} else {
		say(Cgroup, "the cgroup of a recorded worker")
	}
	say(Descendant, fmt.Sprintf("its parent (PID %d)", p.PPID))
	return strings.Join(w, ", ")
}
