package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"leash/internal/gauge"
	"leash/internal/proc"
	"leash/internal/snapshot"
	"leash/platform"
	"leash/reap"
	"leash/scan"
)

// holder is a process that holds a target, in the output of --json; users rely on its fields.
type holder struct {
	PID     int      `json:"pid"`
	UID     uint32   `json:"uid"`
	User    string   `json:"user"`
	AgeMS   int64    `json:"age_ms"`
	Argv    []string `json:"argv"`
	RunID   *string  `json:"run_id"`
	State   *string  `json:"state"`
	Action  string   `json:"action"`
	Reason  string   `json:"reason"`
	Targets []string `json:"targets"`

	proc    snapshot.Process
	run     *scan.Run
	member  *scan.Member
	verdict scan.Verdict
}

// unseen is a socket that no process was seen to hold.
type unseen struct {
	Target string   `json:"target"`
	UIDs   []uint32 `json:"uids"`
}

// answer is what who prints.
type answer struct {
	Holders []*holder `json:"holders"`
	Unseen  []unseen  `json:"unseen"`
	Unread  int       `json:"unread"` // processes of other users

	targets []target
	nobody  []string // targets that are held by nobody
	age     func(uint64) time.Duration
	uid     uint32
	width   int
	ended   bool // --end was given
}

// rounds bounds how often holders are searched for again, since one may hand its descriptors
// on while it is ended.
const rounds = 5

// who says which processes hold the targets, and returns the exit status.
func who(f *flags) (int, error) {
	j, err := newJob(f)
	if err != nil {
		return 0, err
	}
	a := &answer{age: j.table.Age, ended: f.Who.End, width: platform.Width(os.Stdout)}
	for _, text := range f.Who.Targets {
		t, err := parseTarget(text)
		if err != nil {
			return 0, err
		}
		a.targets = append(a.targets, t)
	}
	if err := j.ask(a); err != nil {
		return 0, err
	}
	var gone []*holder
	for range rounds {
		if !f.Who.End || !a.endable() {
			break
		}
		ended, err := j.endHolders(a)
		if err != nil {
			return 0, err
		}
		gone = append(gone, ended...)
		if err := j.ask(a); err != nil {
			return 0, err
		}
	}
	left := len(a.Holders) + len(a.Unseen)
	a.merge(gone)
	if f.Who.Json {
		err = writeJSON(os.Stdout, a)
	} else {
		err = a.print(os.Stdout)
	}
	// Plainly 1 means that nobody holds it, and with --end that one is left.
	if (left > 0) == f.Who.End {
		return exitSurvived, err
	}
	return 0, err
}

// ask searches for the holders and judges them.
func (j *job) ask(a *answer) error {
	a.Holders, a.Unseen, a.nobody, a.Unread = []*holder{}, []unseen{}, nil, 0
	held := make(map[int][]string)
	var targets []gauge.Target
	var names []string
	for i := range a.targets {
		t := &a.targets[i]
		there, err := t.exists()
		switch {
		case err != nil:
			return err
		case !there:
			a.nobody = append(a.nobody, t.text)
		case t.pid != 0:
			held[t.pid] = append(held[t.pid], t.text)
		default:
			targets, names = append(targets, t.Target), append(names, t.text)
		}
	}
	found, unread, err := gauge.Find(targets, nil)
	if err != nil {
		return fmt.Errorf("who: %w", err)
	}
	a.Unread = unread
	for i, f := range found {
		for _, pid := range f.PIDs {
			held[pid] = append(held[pid], names[i])
		}
		if len(f.Unseen) > 0 {
			a.Unseen = append(a.Unseen, unseen{names[i], f.Unseen})
		}
	}
	s, err := j.take()
	if err != nil {
		return err
	}
	a.uid = s.UID
	j.problems()
	runs := scan.Judge(s, scan.Request{})
	for pid, texts := range held {
		p, err := j.table.Read(pid)
		if errors.Is(err, proc.ErrGone) {
			continue
		}
		if err != nil {
			return fmt.Errorf("process %d: %w", pid, err)
		}
		a.Holders = append(a.Holders, newHolder(s, runs, p, texts, j.table.Age(p.Start)))
	}
	j.confirm(a, targets)
	for _, h := range a.Holders {
		for _, v := range j.survivors {
			if v.PID == h.PID && v.Start == h.proc.Start {
				h.Action, h.Reason = actionLeft, v.reason
			}
		}
	}
	slices.SortFunc(a.Holders, func(x, y *holder) int { return cmp.Compare(x.PID, y.PID) })
	for _, t := range a.targets {
		if !slices.Contains(a.nobody, t.text) && !a.holds(t.text) {
			a.nobody = append(a.nobody, t.text)
		}
	}
	return nil
}

// confirm drops holders whose PID was given out anew before they were read: a holder is asked
// for again, and then must still be the process that was read.
func (j *job) confirm(a *answer, targets []gauge.Target) {
	pids := make([]int, 0, len(a.Holders))
	for _, h := range a.Holders {
		pids = append(pids, h.PID)
	}
	again := make(map[int]bool)
	for _, t := range a.targets {
		again[t.pid] = true
	}
	found, _, err := gauge.Find(targets, pids)
	for _, f := range found {
		for _, pid := range f.PIDs {
			again[pid] = true
		}
	}
	a.Holders = slices.DeleteFunc(a.Holders, func(h *holder) bool {
		return err != nil || !again[h.PID] || j.table.Life(proc.ID{PID: h.PID, Start: h.proc.Start}) == snapshot.Dead && !h.proc.Dead()
	})
}

func newHolder(s *snapshot.Snapshot, runs []*scan.Run, p snapshot.Process, texts []string, age time.Duration) *holder {
	h := &holder{PID: p.PID, UID: p.UID, User: gauge.UserName(p.PID, p.UID), AgeMS: age.Milliseconds(),
		Argv: append([]string{}, p.Args...), Targets: texts, Action: actionNone, verdict: -1, proc: p}
	for _, run := range runs {
		for i := range run.Members {
			m := &run.Members[i]
			if m.PID != p.PID || m.Start != p.Start || m.Verdict <= h.verdict {
				continue
			}
			state := run.State.String()
			h.run, h.member, h.verdict, h.RunID, h.State = run, m, m.Verdict, &run.ID, &state
			h.Action, h.Reason = dry(m)
		}
	}
	if h.run == nil {
		h.Reason = ofNoRun(s, &p)
	}
	return h
}

func (a *answer) holds(text string) bool {
	return slices.ContainsFunc(a.Holders, func(h *holder) bool { return slices.Contains(h.Targets, text) }) ||
		slices.ContainsFunc(a.Unseen, func(u unseen) bool { return u.Target == text })
}

// endable reports whether a plain reap would end one of the holders.
func (a *answer) endable() bool {
	return slices.ContainsFunc(a.Holders, func(h *holder) bool { return h.verdict == scan.End })
}

// endHolders ends the holders that a plain reap would end, and returns those that have ended.
func (j *job) endHolders(a *answer) (ended []*holder, err error) {
	chosen := make(map[proc.ID]*holder)
	for _, h := range a.Holders {
		if h.verdict == scan.End {
			chosen[proc.ID{PID: h.PID, Start: h.proc.Start}] = h
		}
	}
	of := func(p *snapshot.Process) *holder { return chosen[proc.ID{PID: p.PID, Start: p.Start}] }
	r := &reap.Reaper{System: j.table, Grace: j.Reap.Grace, Shield: platform.Shield, Progress: j.bar.show,
		Only: func(p *snapshot.Process) bool { return of(p) != nil },
		Done: func(e *reap.Ended) {
			j.ended(e)
			if h := of(&e.Process); h != nil && e.Fate != reap.Survived {
				h.Action, h.Reason = fates[e.Fate], e.Reason
				ended = append(ended, h)
			} else if h != nil {
				j.survivors = append(j.survivors, survivor{proc.ID{PID: e.PID, Start: e.Start}, e.Reason})
			}
		}}
	_, err = r.Run()
	j.bar.clear()
	return ended, err
}

// survivor is a holder that could not be ended.
type survivor struct {
	proc.ID
	reason string
}

// merge puts the holders that were ended before those that are left.
func (a *answer) merge(gone []*holder) {
	a.Holders = append(append([]*holder{}, gone...), a.Holders...)
}

func (a *answer) print(w io.Writer) error {
	var b strings.Builder
	line := func(format string, args ...any) {
		b.WriteString(cut(plain(fmt.Sprintf(format, args...)), a.width) + "\n")
	}
	for _, h := range a.Holders {
		a.holder(h, line, &b)
	}
	for _, u := range a.Unseen {
		line("%s is held by a process that may not be seen, of user %s", u.Target, users(u.UIDs))
		if a.uid == 0 {
			line("  it is the kernel itself, or lives in another PID namespace")
		} else {
			line("  as root it would see more: sudo reaper who %s", word(u.Target))
		}
	}
	for _, text := range a.nobody {
		line("nobody holds %s", text)
	}
	if a.Unread > 0 && a.uid != 0 {
		line("%s of other users could not be looked into: as root it would see more", number(a.Unread, "process"))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// holder prints what is known of one process, what reap would do, and the command that would
// end it.
func (a *answer) holder(h *holder, line func(string, ...any), b *strings.Builder) {
	what := command(h.Argv, h.proc.Name)
	gone := h.Action == actionTerm || h.Action == actionKill
	targets := slices.DeleteFunc(slices.Clone(h.Targets), func(t string) bool { return t == strconv.Itoa(h.PID) })
	switch {
	case len(targets) == 0:
		line("process %d: %s", h.PID, what)
	case gone:
		line("%s was held by process %d: %s", strings.Join(targets, ", "), h.PID, what)
	default:
		line("%s is held by process %d: %s", strings.Join(targets, ", "), h.PID, what)
	}
	line("  of user %s, %s old", userText(h.User, h.UID), brief(time.Duration(h.AgeMS)*time.Millisecond))
	switch {
	case h.run == nil:
		line("  of no run: %s", h.Reason)
	default:
		name := "run " + *h.RunID
		if *h.RunID == "" {
			name = "a run without an ID"
		}
		line("  of %s, which is %s: %s", name, *h.State, h.run.Why)
	}
	// What follows is the answer: it is never cut.
	say := func(format string, args ...any) { b.WriteString("  " + plain(fmt.Sprintf(format, args...)) + "\n") }
	switch {
	case gone:
		say("it was ended (%s): %s", h.Action, h.Reason)
		return
	case h.Action == actionLeft:
		say("it survived: %s", h.Reason)
	case h.verdict == scan.End:
		say("reap would end it: %s", h.Reason)
	case h.run != nil:
		say("reap would leave it alone: %s", h.Reason)
	default:
		say("reap would leave it alone")
	}
	if how := h.how(); how != "" {
		say("to end it: %s", how)
	}
}

// how is the command that would end a holder.
func (h *holder) how() string {
	switch {
	case h.PID == 1 || h.proc.Dead():
		return ""
	case h.verdict == scan.End:
		return "reaper who " + word(h.Targets[0]) + " --end"
	case h.member != nil && h.member.Unguarded:
		return "reaper --unguarded --run-id " + *h.RunID
	case h.verdict == scan.Leave && *h.RunID != "":
		return "reaper --run-id " + *h.RunID + " (its whole run)"
	}
	return platform.KillCommand(h.PID)
}

func userText(name string, uid uint32) string {
	if n := strconv.FormatUint(uint64(uid), 10); name != n {
		return name + " (" + n + ")"
	}
	return name
}

func users(uids []uint32) string {
	var names []string
	for _, uid := range uids {
		names = append(names, userText(gauge.UserName(0, uid), uid))
	}
	return strings.Join(names, ", ")
}

// word quotes a target for a shell if necessary.
func word(text string) string {
	const safe = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_./:=,+@%"
	if strings.Trim(text, safe) == "" {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
