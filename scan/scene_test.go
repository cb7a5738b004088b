package scan

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"leash/internal/ledger"
	"leash/internal/owner"
	"leash/internal/proc"
	"leash/internal/snapshot"
)

// The processes of these tests. All but init, watchdogs and the shell are of a run.
const (
	boot    = "b007"
	space   = 7
	began   = 1000 // the tick at which the scan began
	user    = 500
	runX    = "xxxxxxx"
	runY    = "yyyyyyy"
	shell   = 90 // a bystander's
	boss    = 80 // the owner of run X, which has exited
	bossY   = 81
	wdog    = 70
	nowhere = 4000 // no process has this PID
)

var (
	theBoss  = proc.ID{PID: boss, Start: 50}
	theBossY = proc.ID{PID: bossY, Start: 51}
	theDog   = proc.ID{PID: wdog, Start: 60, Inode: 6000}
)

// scene is a snapshot in the making.
type scene struct {
	snapshot.Snapshot
	request Request
}

func newScene() *scene {
	s := &scene{Snapshot: snapshot.Snapshot{Boot: boot, NS: space, Tick: began, Lives: map[proc.ID]snapshot.Life{},
		Parents: map[int]snapshot.Process{1: {Info: proc.Info{ID: proc.ID{PID: 1, Start: 1}, SID: 1}, Name: "init"},
			shell: {Info: proc.Info{ID: proc.ID{PID: shell, Start: 10}, PPID: 1, SID: shell}, Name: "bash"}}}}
	s.Lives[theBoss], s.Lives[theBossY], s.Lives[theDog] = snapshot.Dead, snapshot.Dead, snapshot.Dead
	return s
}

type change func(*snapshot.Process)

// add puts a process into the table: a child of the shell, in its session.
func (s *scene) add(pid int, changes ...change) {
	p := snapshot.Process{Info: proc.Info{ID: proc.ID{PID: pid, Start: uint64(100 + pid)}, PPID: shell, PGID: shell, SID: shell,
		State: 'S', Threads: 1, UID: user}, Name: "python3"}
	for _, c := range changes {
		c(&p)
	}
	s.Procs = append(s.Procs, p)
}

func env(ids ...string) change             { return func(p *snapshot.Process) { p.EnvRuns = ids } }
func args(ids ...string) change            { return func(p *snapshot.Process) { p.ArgRuns = ids } }
func under(ppid int) change                { return func(p *snapshot.Process) { p.PPID = ppid } }
func group(n int) change                   { return func(p *snapshot.Process) { p.PGID = n } }
func session(n int) change                 { return func(p *snapshot.Process) { p.PGID, p.SID = n, n } }
func bornAt(tick uint64) change            { return func(p *snapshot.Process) { p.Start = tick } }
func inode(n uint64) change                { return func(p *snapshot.Process) { p.Inode = n } }
func inside(n ...int) change               { return func(p *snapshot.Process) { p.Inside = n } }
func of(uid uint32) change                 { return func(p *snapshot.Process) { p.UID = uid } }
func workerID(id string) change            { return func(p *snapshot.Process) { p.Worker = id } }
func ownedBy(text string) change           { return func(p *snapshot.Process) { p.Owner = text } }
func foreign(p *snapshot.Process)          { p.Foreign = true }
func mixed(p *snapshot.Process)            { p.Mixed = true }
func leash(p *snapshot.Process)            { p.Leash = true }
func guards(pid int) change                { return func(p *snapshot.Process) { p.Leash, p.Guards = true, pid } }
func state(c byte, n int) change           { return func(p *snapshot.Process) { p.State, p.Threads = c, n } }
func owning(id proc.ID) change             { return ownedBy(ownerText(id, boot, space)) }
func (s *scene) living(id proc.ID)         { s.Lives[id] = snapshot.Alive }
func (s *scene) unknown(id proc.ID)        { s.Lives[id] = snapshot.Unknown }
func (s *scene) parent(p snapshot.Process) { s.Parents[p.PID] = p }
func (s *scene) ancestor(pid int)          { s.Protected = append(s.Protected, s.info(pid)) }
func (s *scene) ask(ids ...string)         { s.request.RunIDs = ids }
func (s *scene) rec() *ledger.Record       { return &s.Records[len(s.Records)-1] }
func (s *scene) info(pid int) proc.Info {
	return s.Procs[slices.IndexFunc(s.Procs, func(p snapshot.Process) bool { return p.PID == pid })].Info
}

func ownerText(id proc.ID, boot string, ns uint64) string {
	return owner.Owner{PID: id.PID, Start: id.Start, Boot: boot, NS: ns}.String()
}

// record is that of a worker of run X that led a session, guarded for the boss.
// It says that the worker lived up to tick 500.
func (s *scene) record(pid int, changes ...func(*ledger.Record)) {
	r := ledger.Record{RunID: runX, Parents: []proc.ID{theBoss}, Watchdog: theDog,
		Worker: proc.ID{PID: pid, Start: uint64(100 + pid), Inode: uint64(9000 + pid)},
		Group:  pid, Session: pid, Boot: boot, NS: space, Seen: 500, UID: user}
	for _, c := range changes {
		c(&r)
	}
	if _, ok := s.Lives[r.Worker]; !ok {
		s.Lives[r.Worker] = snapshot.Dead
	}
	s.Records = append(s.Records, r)
}

func lifeline(r *ledger.Record) { r.Parents = nil }
func ending(r *ledger.Record)   { r.Ending = true }
func noInode(r *ledger.Record)  { r.Worker.Inode = 0 }
func y(r *ledger.Record)        { r.RunID, r.Parents = runY, []proc.ID{theBossY} }

// verdicts are what came out, as "PID run: verdict (evidence) reason".
func (s *scene) verdicts() map[string]string {
	got := map[string]string{}
	for _, r := range Judge(&s.Snapshot, s.request) {
		for _, m := range r.Members {
			key := fmt.Sprintf("%d %s", m.PID, r.ID[:min(len(r.ID), 1)])
			if m.UID != r.UID || r.UID != user {
				key += fmt.Sprint(" of ", r.UID)
			}
			got[key] = fmt.Sprintf("%s %s %s; %s", r.State, [...]string{"leave", "skip", "end"}[m.Verdict],
				strings.Join(m.Evidence.Names(), "+"), m.Reason)
		}
	}
	return got
}

// want is, by PID and run, "state verdict evidence; words of the reason".
type want map[string]string

func check(t *testing.T, s *scene, w want) {
	t.Helper()
	got := s.verdicts()
	for key, text := range w {
		have, ok := got[key]
		head, words, _ := strings.Cut(text, "; ")
		if !ok || !strings.HasPrefix(have, head+"; ") || !strings.Contains(have, words) {
			t.Errorf("%s: %q, want %q", key, have, text)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(got)) {
		if w[key] == "" {
			t.Errorf("%s: %q, and should not be there", key, got[key])
		}
	}
}

type sceneTest struct {
	name string
	set  func(*scene)
	want want
}

func play(t *testing.T, tests []sceneTest) {
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			s := newScene()
			c.set(s)
			check(t, s, c.want)
			slices.Reverse(s.Procs) // nothing hangs on the order
			check(t, s, c.want)
		})
	}
}
