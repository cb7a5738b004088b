package scan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"leash/internal/ledger"
	"leash/internal/proc"
	"leash/internal/snapshot"
)

const snapshots = 15_000

// draw makes a snapshot of few numbers, so that they meet often.
type draw struct{ *rand.Rand }

func (d draw) one(of ...string) string { return of[d.IntN(len(of))] }
func (d draw) chance(percent int) bool { return d.IntN(100) < percent }
func (d draw) pid() int                { return 1 + d.IntN(14) }

func (d draw) ids() (ids []string) {
	for d.chance(30) && len(ids) < 2 {
		if id := d.one(runX, runY, "zzzzzzz"); !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

func (d draw) identity() proc.ID {
	return proc.ID{PID: d.pid(), Start: uint64(10 + d.IntN(4)), Inode: uint64(d.IntN(3))}
}

func (d draw) info() proc.Info {
	i := proc.Info{ID: d.identity(), PPID: d.pid(), PGID: d.pid(), SID: d.pid(), State: 'S', Threads: 1, UID: uint32(d.IntN(2)), Leash: d.chance(8)}
	if d.chance(8) {
		i.State, i.Threads = 'Z', d.IntN(3)
	}
	return i
}

func (d draw) ownerText(lives map[proc.ID]snapshot.Life) string {
	if d.chance(10) {
		return d.one("", "x", "1:2:3")
	}
	id := d.identity()
	id.Inode = 0
	if _, ok := lives[id]; !ok {
		lives[id] = d.life()
	}
	return ownerText(id, d.one(boot, boot, boot, "b006"), uint64(space+d.IntN(8)/7))
}

func (d draw) life() snapshot.Life { return snapshot.Life(d.IntN(6)+2) % 3 } // unknown, dead and alive alike

func (d draw) snapshot() (*snapshot.Snapshot, Request) {
	s := &snapshot.Snapshot{Boot: boot, NS: space, UID: uint32(d.IntN(8) / 7), Tick: 14, Lives: map[proc.ID]snapshot.Life{}, Parents: map[int]snapshot.Process{}}
	numbers := d.Perm(14)
	for n := range 2 + d.IntN(9) {
		p := snapshot.Process{Info: d.info(), ArgRuns: d.ids(), EnvRuns: d.ids(), Mixed: d.chance(4), Foreign: d.chance(4), Worker: d.one("", "w1", "w2")}
		p.PID = 1 + numbers[n]
		if d.chance(40) {
			p.Owner = d.ownerText(s.Lives)
		}
		if p.Leash {
			p.Guards = d.pid()
		}
		if d.chance(4) {
			p.Denied = "access denied"
		}
		if d.chance(10) {
			p.Leaf = d.leaf()
		}
		s.Procs = append(s.Procs, p)
	}
	for range d.IntN(4) {
		s.Records = append(s.Records, d.record(s.Lives))
	}
	for i := range s.Procs {
		if p := &s.Procs[i]; len(s.Records) > 0 && d.chance(15) {
			p.Inside = []int{d.IntN(len(s.Records))}
		}
	}
	for range d.IntN(3) {
		s.Held = append(s.Held, snapshot.Held{Run: snapshot.Key{ID: d.one(runX, runY), UID: uint32(d.IntN(2))}, PID: d.pid(), Group: d.pid(), Session: d.pid(),
			From: uint64(10 + d.IntN(4)), Seen: uint64(11 + d.IntN(4))})
	}
	for range d.IntN(3) {
		pid := d.pid()
		s.Parents[pid] = snapshot.Process{Info: d.info(), Name: d.one("init", "systemd", "bash")}
		s.Protected = append(s.Protected, d.info())
	}
	return s, d.request()
}

func (d draw) leaf() *snapshot.Leaf {
	return &snapshot.Leaf{Name: d.one("leash-1", "leash-2"), UID: uint32(d.IntN(2)), PID: d.pid(), Tick: uint64(10 + d.IntN(4))}
}

func (d draw) request() Request {
	w := Request{Unclaimed: d.chance(30), Unguarded: d.chance(30)}
	if d.chance(30) {
		w.RunIDs = []string{d.one(runX, runY)}
		if d.chance(40) {
			w.WorkerIDs = []string{d.one("w1", "w2")}
		}
	}
	return w
}

func (d draw) record(lives map[proc.ID]snapshot.Life) ledger.Record {
	r := ledger.Record{RunID: d.one(runX, runY), WorkerID: d.one("", "w1", "w2"), Watchdog: d.identity(), Worker: d.identity(),
		Group: d.pid(), Session: d.pid(), Boot: d.one(boot, boot, boot, boot, "b006"), NS: uint64(space + d.IntN(8)/7),
		Ending: d.chance(30), Cgroup: d.one("", "/leash-1", "/leash-2"), Seen: uint64(10 + d.IntN(5)), UID: uint32(d.IntN(2))}
	if d.chance(50) {
		r.Group, r.Session = r.Worker.PID, r.Worker.PID
	}
	for range d.IntN(3) {
		r.Parents = append(r.Parents, d.identity())
	}
	for _, id := range append(r.Parents, r.Watchdog, r.Worker) {
		if _, ok := lives[id]; !ok && d.chance(90) {
			lives[id] = d.life()
		}
	}
	return r
}

// show writes a snapshot down in full: an Info alone would print its identity only.
func show(s *snapshot.Snapshot) string {
	var b strings.Builder
	for i := range s.Procs {
		fmt.Fprintf(&b, "%#v\n", s.Procs[i])
	}
	for i := range s.Records {
		fmt.Fprintf(&b, "%#v\n", s.Records[i])
	}
	fmt.Fprintf(&b, "%#v\n%#v\n%#v\n%#v, UID %d\n", s.Held, s.Lives, s.Parents, s.Protected, s.UID)
	return b.String()
}

// ends are the PIDs that are to be ended.
func ends(s *snapshot.Snapshot, w Request) map[int]bool {
	pids := map[int]bool{}
	for _, r := range Judge(s, w) {
		for _, m := range r.Members {
			if m.Verdict == End {
				pids[m.PID] = true
			}
		}
	}
	return pids
}

// TestAnySnapshot: what holds of every judgement.
func TestAnySnapshot(t *testing.T) {
	ended := 0
	for seed := range uint64(snapshots) {
		d := draw{rand.New(rand.NewPCG(seed, 1))}
		s, w := d.snapshot()
		runs := Judge(s, w)
		for _, r := range runs {
			for _, m := range r.Members {
				if wrong := wrong(s, w, r, &m); wrong != "" {
					t.Fatalf("seed %d: PID %d of %v: %s (%q)\n%s", seed, m.PID, r.Key, wrong, m.Reason, show(s))
				}
				if m.Verdict == End {
					ended++
				}
			}
		}
		for i := range s.Records {
			Stale(s, &s.Records[i])
		}
		sameInAnyOrder(t, d, seed, s, w, runs)
	}
	if ended < snapshots/4 {
		t.Errorf("only %d processes were to be ended in %d snapshots: they say nothing", ended, snapshots)
	}
}

// wrong says what must not be of a member.
func wrong(s *snapshot.Snapshot, w Request, r *Run, m *Member) string {
	labels := len(m.ArgRuns)+len(m.EnvRuns) > 0
	switch {
	case m.Evidence == 0:
		return "no evidence"
	case r.ID == "" && (labels || r.State != DeadRun || m.Evidence&^(Cgroup|Descendant) != 0):
		return "of a run without an ID, and evidence of another"
	case m.Unguarded && (r.State != AliveRun || m.Watchdog != 0):
		return "unguarded, and its run is not alive or it has a watchdog"
	case m.Reason == "":
		return "no reason"
	case m.Leash || m.Dead() || m.PID <= 1:
		return "cannot be a member"
	case m.Evidence == Argv && !slices.Contains(m.ArgRuns, r.ID), m.Evidence == Environ && !slices.Contains(m.EnvRuns, r.ID):
		return "evidence that is not there"
	case m.Foreign && !labels && m.Evidence != Descendant:
		return "found by numbers of another namespace"
	case len(w.RunIDs) > 0 && !slices.Contains(w.RunIDs, r.ID):
		return "not asked for"
	case m.Verdict != End:
		return ""
	case m.Foreign, m.Mixed, m.Denied != "", m.UID != r.UID, s.UID != 0 && m.UID != s.UID, s.IsProtected(m.ID):
		return "must never be ended"
	case len(m.ArgRuns) > 1, len(m.EnvRuns) > 1, len(m.ArgRuns) == 1 && len(m.EnvRuns) == 1 && m.ArgRuns[0] != m.EnvRuns[0]:
		return "two runs"
	case len(m.EnvRuns) == 1 && m.EnvRuns[0] != r.ID, len(m.ArgRuns) == 1 && m.ArgRuns[0] != r.ID:
		return "it says that it is of another run"
	case len(w.WorkerIDs) > 0 && len(m.EnvRuns) == 1 && m.Worker != "" && !slices.Contains(w.WorkerIDs, m.Worker):
		return "it says that it is another worker"
	case len(w.WorkerIDs) > 0 && anotherWorker(s, w, r, m):
		return "the record says that it is another worker"
	case len(w.RunIDs) > 0 && !w.Unguarded:
		return ""
	case r.State == AliveRun && !w.Unguarded:
		return "its run is alive"
	case r.State == AliveRun:
		return guardedBy(s, r, m)
	case r.Owner == nil && !w.Unclaimed:
		return "no process is known to be dead"
	case r.Owner != nil && r.OwnerLives():
		return "the owner shown lives, or may"
	}
	return living(s, r, m)
}

// anotherWorker: its own record, and no other, names a worker that was not asked for.
func anotherWorker(s *snapshot.Snapshot, w Request, r *Run, m *Member) bool {
	return slices.ContainsFunc(s.Records, func(rec ledger.Record) bool {
		return s.Here(&rec) && rec.RunID == r.ID && rec.UID == r.UID && rec.Worker.PID == m.PID && sameWorker(m.Process, &rec) &&
			rec.WorkerID != "" && !slices.Contains(w.WorkerIDs, rec.WorkerID)
	})
}

// guardedBy finds, by another way than the judge, what guards a member of a living
// run that is to be ended as unguarded; or that it never had a watchdog.
func guardedBy(s *snapshot.Snapshot, r *Run, m *Member) string {
	had := slices.ContainsFunc(s.Procs, func(p snapshot.Process) bool { return p.Leaf != nil }) ||
		slices.ContainsFunc(s.Held, func(h snapshot.Held) bool { return h.Run == r.Key })
	for i := range s.Records {
		rec := &s.Records[i]
		if !s.Here(rec) || rec.RunID != r.ID || rec.UID != r.UID {
			continue
		}
		life := s.Lives[rec.Watchdog]
		had = had || life == snapshot.Dead
		if life != snapshot.Dead && rec.Worker.PID == m.PID && sameWorker(m.Process, rec) {
			return "its watchdog may live"
		}
		if life != snapshot.Dead && rec.WorkerID != "" && rec.WorkerID == m.Worker && slices.Contains(m.EnvRuns, r.ID) {
			return "the watchdog of the worker that it is labelled with may live"
		}
	}
	for i := range s.Procs {
		if p := &s.Procs[i]; p.Leash && !p.Dead() && !p.Foreign && (p.UID == 0 || p.UID == m.UID) && m.PPID == p.PID &&
			!slices.ContainsFunc(s.Records, func(rec ledger.Record) bool { return s.Here(&rec) && rec.Watchdog.PID == p.PID }) {
			return "it is the child of a watchdog"
		}
	}
	if !had {
		return "nothing says that it had a watchdog"
	}
	return ""
}

// living finds an owner that is not dead for certain, in another way than Judge.
func living(s *snapshot.Snapshot, r *Run, m *Member) string {
	for i := range s.Records {
		rec := &s.Records[i]
		if rec.RunID != r.ID || rec.UID != r.UID || rec.Boot != boot {
			continue
		}
		for _, id := range rec.Parents {
			if rec.NS != space || s.Lives[id] != snapshot.Dead {
				return fmt.Sprintf("the recorded owner %v may live", id)
			}
		}
		if rec.NS == space && s.Lives[rec.Watchdog] != snapshot.Dead && rec.Worker.Inode != 0 && rec.Worker.Match(m.ID) == proc.Same {
			return "its watchdog may live"
		}
	}
	for i := range s.Procs {
		p := &s.Procs[i]
		if !member(p) || p.Mixed || p.UID != r.UID || len(p.EnvRuns) != 1 || p.EnvRuns[0] != r.ID {
			continue
		}
		for id, life := range s.Lives {
			here, there := p.Owner == ownerText(id, boot, space), p.Owner == ownerText(id, boot, space+1)
			if id.PID > 0 && (there || here && id.Inode == 0 && life != snapshot.Dead) {
				return fmt.Sprintf("the owner that PID %d names may live", p.PID)
			}
		}
	}
	return ""
}

func sameInAnyOrder(t *testing.T, d draw, seed uint64, s *snapshot.Snapshot, w Request, runs []*Run) {
	t.Helper()
	say := func(runs []*Run) (all []string) {
		for _, r := range runs {
			for _, m := range r.Members {
				all = append(all, fmt.Sprint(r.Key, r.State, m.PID, m.Evidence, m.Verdict))
			}
		}
		slices.Sort(all)
		return all
	}
	want := say(runs)
	o := *s
	o.Procs, o.Records = slices.Clone(s.Procs), nil
	d.Shuffle(len(o.Procs), func(i, k int) { o.Procs[i], o.Procs[k] = o.Procs[k], o.Procs[i] })
	to := make([]int, len(s.Records))
	for at, from := range d.Perm(len(s.Records)) {
		o.Records = append(o.Records, s.Records[from])
		to[from] = at
	}
	for i := range o.Procs {
		p := &o.Procs[i]
		p.Inside = slices.Clone(p.Inside)
		for k, n := range p.Inside {
			p.Inside[k] = to[n]
		}
	}
	if got := say(Judge(&o, w)); !slices.Equal(got, want) {
		t.Fatalf("seed %d: another order changes the judgement:\n%v\n%v\n%s", seed, want, got, show(s))
	}
}

// TestLess: knowing that an owner lives, or less of the evidence, never ends
// another process.
func TestLess(t *testing.T) {
	for seed := range uint64(snapshots) {
		d := draw{rand.New(rand.NewPCG(seed, 2))}
		s, w := d.snapshot()
		if w.RunIDs != nil || w.Unguarded {
			continue // its watchdog alone would end it if the owner were dead
		}
		before := ends(s, w)
		o := clone(s)
		what := d.less(o)
		for pid := range ends(o, w) {
			if !before[pid] {
				t.Fatalf("seed %d: %s ends PID %d too (wish %v)\n%s\n%s", seed, what, pid, w, show(s), show(o))
			}
		}
	}
}

func clone(s *snapshot.Snapshot) *snapshot.Snapshot {
	o := *s
	o.Procs, o.Records, o.Held = slices.Clone(s.Procs), slices.Clone(s.Records), slices.Clone(s.Held)
	o.Lives = map[proc.ID]snapshot.Life{}
	for id, life := range s.Lives {
		o.Lives[id] = life
	}
	return &o
}

// owns reports whether a process is named as an owner and as nothing else.
func owns(s *snapshot.Snapshot, id proc.ID) bool {
	return !slices.ContainsFunc(s.Records, func(r ledger.Record) bool { return r.Watchdog == id || r.Worker == id })
}

// less changes a snapshot so that no more may be ended than before.
func (d draw) less(o *snapshot.Snapshot) string {
	p := &o.Procs[d.IntN(len(o.Procs))]
	switch d.IntN(7) {
	case 0, 1:
		life := []snapshot.Life{snapshot.Alive, snapshot.Unknown}[d.IntN(2)]
		for id := range o.Lives {
			if owns(o, id) {
				o.Lives[id] = life
			}
		}
		return "that all owners live, or may"
	case 3:
		p.Mixed = p.Mixed || p.Owner == "" // else an owner is forgotten with it
		return "rights of two users"
	case 2:
		o.Protected = append(o.Protected, p.Info)
		return "an ancestor more"
	case 4:
		o.Records = append(o.Records, ledger.Record{RunID: runX, UID: p.UID, Boot: boot, NS: space + 1, Parents: []proc.ID{{PID: 5}},
			Worker: proc.ID{PID: nowhere, Start: 1}, Watchdog: proc.ID{PID: nowhere, Start: 1}})
		return "an owner that cannot be checked"
	case 5:
		o.UID = 1 + p.UID
		return "another user's rights"
	}
	clear(o.Parents)
	return "that no orphan is known as one"
}

// TestLessEvidence: of one run and without watchdogs, what speaks for a process
// never saves it.
func TestLessEvidence(t *testing.T) {
	for seed := range uint64(snapshots) {
		d := draw{rand.New(rand.NewPCG(seed, 3))}
		s, _ := d.snapshot()
		for i := range s.Procs {
			p := &s.Procs[i]
			p.Leash, p.Owner, p.UID, p.Leaf = false, "", 1, nil
			for _, ids := range [][]string{p.ArgRuns, p.EnvRuns} {
				for n := range ids {
					ids[n] = runX
				}
			}
		}
		for i := range s.Records {
			s.Records[i].UID = 1
			s.Records[i].RunID, s.Lives[s.Records[i].Watchdog] = runX, snapshot.Dead
		}
		for i := range s.Held {
			s.Held[i].Run = snapshot.Key{ID: runX, UID: 1}
		}
		w := Request{Unclaimed: true}
		before := ends(s, w)
		o := clone(s)
		switch p := &o.Procs[d.IntN(len(o.Procs))]; d.IntN(6) {
		case 0:
			p.ArgRuns = nil
		case 1:
			p.EnvRuns = nil
		case 2:
			p.Inside = nil
		case 3:
			p.PGID = nowhere
		case 4:
			p.PPID = nowhere
		case 5:
			o.Held = nil
		}
		for pid := range ends(o, w) {
			if !before[pid] {
				t.Fatalf("seed %d: PID %d is ended for want of evidence\n%s\n%s", seed, pid, show(s), show(o))
			}
		}
	}
}

// TestUnguardedNeedsADeadWatchdog: while all watchdogs may live, --unguarded ends
// no process that is left alone without it.
func TestUnguardedNeedsADeadWatchdog(t *testing.T) {
	for seed := range uint64(snapshots) {
		d := draw{rand.New(rand.NewPCG(seed, 4))}
		s, w := d.snapshot()
		w.RunIDs, w.WorkerIDs, w.Unguarded = nil, nil, false
		s.Held = nil
		life := []snapshot.Life{snapshot.Alive, snapshot.Unknown}[d.IntN(2)]
		for i := range s.Records {
			s.Lives[s.Records[i].Watchdog] = life
		}
		for i := range s.Procs {
			s.Procs[i].Leaf = nil
		}
		before := ends(s, w)
		w.Unguarded = true
		for pid := range ends(s, w) {
			if !before[pid] {
				t.Fatalf("seed %d: PID %d is ended\n%s", seed, pid, show(s))
			}
		}
	}
}

// FuzzJudge: the bytes draw a snapshot; Judge neither panics nor ends a process that
// it must not.
func FuzzJudge(f *testing.F) {
	f.Add([]byte("a snapshot"))
	f.Fuzz(func(t *testing.T, b []byte) {
		d := draw{rand.New(rand.NewChaCha8(seedOf(b)))}
		s, w := d.snapshot()
		for _, r := range Judge(s, w) {
			for _, m := range r.Members {
				if wrong := wrong(s, w, r, &m); wrong != "" {
					t.Fatalf("PID %d of %v: %s (%q)\n%s", m.PID, r.Key, wrong, m.Reason, show(s))
				}
			}
		}
	})
}

func seedOf(b []byte) (seed [32]byte) {
	for i, c := range b {
		seed[i%len(seed)] = seed[i%len(seed)]*31 + c
	}
	return seed
}
