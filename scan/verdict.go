package scan

import (
	"fmt"
	"slices"
	"strings"

	"leash/internal/owner"
)

// ruling is the verdict on a process as far as it is of one run.
type ruling struct {
	verdict  Verdict
	reason   string
	watchdog int
}

// rule says what becomes of a process, once.
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

// verdict says what becomes of a process that counts to a run, and why. The
// order matters: first what is never touched, then what is in doubt.
func (j *judge) verdict(i int, k claim) (Verdict, string) {
	p, r := &j.s.Procs[i], j.run(k.run)
	switch yes, doubt := j.condemned(i, k); {
	case doubt != "":
		return Skip, doubt
	case !yes:
		return Leave, j.left(i, k)
	}
	for _, refuse := range []func(int, claim) string{
		j.untouchable, j.contradicted, j.leftToWatchdog, j.belowWatchdog, j.weak, j.doubtful, j.hearsay, j.spared,
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
	if !r.Condemned {
		why = j.lostWatchdog(i, k) + ", and " + r.Why
	}
	return End, why + "; it is of the run by " + j.words(p, k)
}

// untouchable are those whom no wish reaches.
func (j *judge) untouchable(i int, k claim) string {
	p := &j.s.Procs[i]
	switch {
	case j.s.never(p.ID):
		return "it is an ancestor of this reaper"
	case p.Barred != "":
		return p.Barred
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

// contradicted: what speaks for one run is gainsaid by what speaks for another.
// Where only descent and the like disagree, it is to be ended if all of them are.
func (j *judge) contradicted(i int, k claim) string {
	all := j.counts[i]
	if len(all) < 2 {
		return ""
	}
	spared := func(o claim) bool {
		yes, _ := j.condemned(i, o)
		return !yes
	}
	if !isDirect(k) && len(all) < enough && !slices.ContainsFunc(all, spared) {
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

// weak: arguments alone may be those of a grep at a prompt, or of what was
// started by one. An orphan has lost its parent, or its parent is ended too.
func (j *judge) weak(i int, k claim) string {
	p := &j.s.Procs[i]
	if k.evidence&Argv == 0 || k.evidence&^(Argv|Descendant) != 0 || j.w.names(k.run) || orphaned(p, j.s.Parents) {
		return ""
	}
	parent := j.parentIn(p, k.run)
	switch {
	case parent == nil:
		return fmt.Sprintf("only its arguments speak of the run, and its parent (PID %d) lives and is not of it", p.PPID)
	case j.rule(j.by[p.PPID], *parent).verdict != End:
		return fmt.Sprintf("only its arguments speak of the run, and its parent (PID %d) is left alone", p.PPID)
	}
	return ""
}

// parentIn is what speaks for the parent being of the run; nil if it is not.
func (j *judge) parentIn(p *Process, run Key) *claim {
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

// spared: only descent speaks of the run, and the parent is left alone.
func (j *judge) spared(i int, k claim) string {
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

// orphaned reports whether a process was given another parent than it was born
// to. The system does not say so; but nobody is older than his parent, and init
// and a user's systemd take in those who lost theirs. Where PID 1 is something
// else (a container's program), who is of its session may well be its own child.
func orphaned(p *Process, parents map[int]Process) bool {
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

// doubtful: an owner stands in its environment that nobody can read.
func (j *judge) doubtful(i int, k claim) string {
	p := &j.s.Procs[i]
	if p.Owner == "" || j.w.names(k.run) || j.w.Unclaimed {
		return ""
	}
	if _, ok := owner.Parse(p.Owner); !ok {
		return "its LEASH_RUN_OWNER cannot be read, so its owner cannot be checked"
	}
	return ""
}

// hearsay: of root's run, only the environments of other processes say who its
// owner was. A set-user-ID program that became root for good and executed another
// cannot be told from outside, and has the environment of whoever called it: any
// user could name a dead owner for what root runs. So where the ledger names no
// owner, such a word is believed of a process that has lost its parent, or whose parent
// is ended too, and of one that says so itself. Other users have hardly any such programs.
func (j *judge) hearsay(i int, k claim) string {
	p, r := &j.s.Procs[i], j.run(k.run)
	if k.run.UID != 0 || r.Vouched || r.State != DeadRun || !isDirect(k) || j.w.names(k.run) {
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
	return fmt.Sprintf("of its owner only the environment of another process tells, which may be another user's word; "+
		"the ledger knows of none, and its parent (PID %d) lives and is not of the run", p.PPID)
}

// AskedForParent reports whether it may matter to the judge who the parent of a process
// is (Snapshot.Parents): where only arguments speak, or another process for root's.
func AskedForParent(p *Process) bool {
	return len(p.ArgRuns) > 0 && len(p.EnvRuns) == 0 || p.UID == 0 && len(p.EnvRuns) > 0 && p.Owner == ""
}

// words says what the evidence is.
func (j *judge) words(p *Process, k claim) string {
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
