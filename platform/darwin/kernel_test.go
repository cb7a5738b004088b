package darwin

import (
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"

	"leash/internal/proc"
	"leash/internal/runid"
)

func TestEntry(t *testing.T) {
	for stat, want := range map[int8]byte{statIdle: 'R', statRuns: 'R', statSleeps: 'S', statStopped: 'T', statZombie: 'Z', 0: 'R', 77: 'R'} {
		if got := (entry{Stat: stat}).state(); got != want {
			t.Errorf("p_stat %d is %c, want %c", stat, got, want)
		}
		if got := (entry{Stat: stat}).info(0).Dead(); got != (stat == statZombie) {
			t.Errorf("p_stat %d is dead: %t", stat, got)
		}
	}
	if (entry{Stat: statRuns}).over() || !(entry{Stat: statZombie}).over() || !(entry{Stat: statRuns, Flags: flagExiting | 0x4004}).over() {
		t.Error("over")
	}
	e := entry{PID: 7, PPID: 1, PGID: 6, UID: 501, Start: 1700000000123456, Stat: statStopped}
	want := proc.Info{ID: proc.ID{PID: 7, Start: 1700000000123456}, PPID: 1, PGID: 6, SID: 5, State: 'T', UID: 501}
	if got := e.info(5); got != want {
		t.Errorf("%+v", got)
	}
	caught := entry{Caught: 1<<(15-1) | 1<<31}
	if !caught.catches(15) || !caught.catches(32) || caught.catches(14) || caught.catches(0) || caught.catches(-1) || caught.catches(33) {
		t.Error("catches")
	}
	same := entry{UID: 501, Real: 501, Saved: 501}
	if same.mixed() || !(entry{UID: 0, Real: 501}).mixed() || !(entry{Saved: 501}).mixed() || !(entry{Flags: flagMixed}).mixed() {
		t.Error("mixed")
	}
}

func TestOpen(t *testing.T) {
	w := newWorld(t)
	k := w.kernel()
	w.unreadable[101] = syscall.EIO
	w.born(102, 1).Start = 0
	w.procs[103] = &fake{entry: entry{PID: 104, Start: 1}}
	w.born(0, 0)
	for pid, want := range map[int]string{0: "gone", -1: "gone", 100: "gone", 101: "input/output", 102: "102", 103: "104"} {
		if h, err := k.Open(pid); err == nil || !strings.Contains(err.Error(), want) || h != nil {
			t.Errorf("Open(%d): %v, %v", pid, h, err)
		}
	}
	w.procs[1].Start = 0
	if h, err := k.Open(1); err != nil || h == nil {
		t.Error(h, err)
	}
}

func TestHandleAndReuse(t *testing.T) {
	w := newWorld(t)
	k := w.kernel()
	p := w.born(100, self)
	p.session, p.PGID = 50, 50
	h, _ := k.Open(100)
	info, err := h.Info()
	if err != nil || info.SID != 50 || info.PGID != 50 || info.Start != p.Start || info.Dead() {
		t.Fatalf("%+v, %v", info, err)
	}
	if err := h.Signal(proc.TERM); err != nil {
		t.Error(err)
	}
	w.end(p, 0)
	// The session of a zombie is that which was seen before.
	if info, err := h.Info(); err != nil || !info.Dead() || info.SID != 50 {
		t.Errorf("%+v, %v", info, err)
	}
	w.reap(p)
	w.born(100, 1).args = [][]byte{labels}
	w.sent = nil
	if _, err := h.Info(); !errors.Is(err, proc.ErrGone) {
		t.Error(err)
	}
	if err := h.Signal(proc.KILL); !errors.Is(err, proc.ErrGone) {
		t.Error(err)
	}
	if err := h.SignalGroup(proc.KILL); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
	if run, worker := h.Labels(); run != "" || worker != "" {
		t.Error(run, worker)
	}
	if len(w.sent) != 0 {
		t.Errorf("signals were sent: %v", w.sent)
	}
}

// The PID is reused in the midst of a read.
func TestReusedDuringRead(t *testing.T) {
	w := newWorld(t)
	k := w.kernel()
	p := w.born(100, 1)
	h, _ := k.Open(100)
	reads := 0
	w.reading = func(int) {
		if reads++; reads == 2 {
			w.reap(p)
			w.born(100, 1)
		}
	}
	if info, err := h.Info(); !errors.Is(err, proc.ErrGone) {
		t.Errorf("%+v, %v", info, err)
	}
	if reads < 2 {
		t.Error("it read once only")
	}
}

func TestUnreadableIsUnknown(t *testing.T) {
	w := newWorld(t)
	k := w.kernel()
	w.born(100, 1)
	h, _ := k.Open(100)
	w.unreadable[100] = syscall.EIO
	if info, err := h.Info(); err == nil || errors.Is(err, proc.ErrGone) || info.PID != 100 {
		t.Errorf("%+v, %v", info, err)
	}
	if err := h.Signal(proc.KILL); err == nil || errors.Is(err, proc.ErrGone) {
		t.Error(err)
	}
	if len(w.sent) != 0 {
		t.Errorf("sent %v to one that could not be read", w.sent)
	}
}

func TestSignalErrors(t *testing.T) {
	w := newWorld(t)
	k := w.kernel()
	p := w.born(100, 1)
	h, _ := k.Open(100)
	p.denied = true
	if err := h.Signal(proc.Signal{}); !errors.Is(err, proc.ErrDenied) {
		t.Error(err)
	}
	if err := h.SignalGroup(proc.KILL); !errors.Is(err, proc.ErrDenied) {
		t.Error(err)
	}
	h.Close()
	if err := h.Signal(proc.KILL); !errors.Is(err, proc.ErrGone) {
		t.Error("closed:", err)
	}
}

func TestSignalGroup(t *testing.T) {
	w := newWorld(t)
	k := w.kernel()
	leader, member := w.born(100, 1), w.born(101, 100)
	member.PGID, member.session = 100, 100
	h, _ := k.Open(100)
	m, _ := k.Open(101)
	if err := m.SignalGroup(proc.KILL); !errors.Is(err, errors.ErrUnsupported) {
		t.Error("of one that leads none:", err)
	}
	if err := h.SignalGroup(proc.KILL); err != nil || !slices.Equal(w.sent, []sent{{-100, 9}}) {
		t.Error(err, w.sent)
	}
	w.end(leader, 0)
	if err := h.SignalGroup(proc.TERM); err != nil {
		t.Error("while its leader is a zombie:", err)
	}
	// kill(2) says EPERM of a group of zombies.
	w.end(member, 0)
	if err := h.SignalGroup(proc.TERM); !errors.Is(err, proc.ErrGone) {
		t.Error("a group of zombies:", err)
	}
	w.reap(leader)
	if err := h.SignalGroup(proc.TERM); !errors.Is(err, errors.ErrUnsupported) {
		t.Error("no process holds the number:", err)
	}
}

var labels = image{argc: -1, path: "/x/python3", args: []string{"python3", "--run-id", "aaaaaaa"},
	env: []string{"LEASH_RUN_ID=abc1234", "LEASH_WORKER_ID=w1"}, apple: apple}.bytes()

func TestLabels(t *testing.T) {
	w := newWorld(t)
	k := w.kernel()
	p := w.born(100, 1)
	h, _ := k.Open(100)
	if run, worker := h.Labels(); run != "" || worker != "" {
		t.Error("of one that may not be read:", run, worker)
	}
	p.args = [][]byte{labels}
	if run, worker := h.Labels(); run != "abc1234" || worker != "w1" {
		t.Error(run, worker)
	}
	p.args = [][]byte{image{argc: -1, path: "/bin/sh", args: []string{"sh"}, env: []string{"LEASH_RUN_ID=abc1234"}, restricted: true}.bytes()}
	if run, worker := h.Labels(); run != "" || worker != "" {
		t.Error("of a restricted program:", run, worker)
	}
	// A program is executed between the two halves of a read: what comes is cut
	// off in front, and an argument may stand where the environment should.
	cut := image{argc: 1, path: "y", args: []string{"x", "LEASH_RUN_ID=zzz9999"}}.bytes()
	p.args = [][]byte{cut, append(cut[:len(cut):len(cut)], "A=1"...), labels}
	if run, _ := h.Labels(); run != "abc1234" {
		t.Errorf("%q of a torn read", run)
	}
}

func TestChildren(t *testing.T) {
	w := newWorld(t)
	k := w.kernel()
	w.born(100, self)
	w.born(101, 100)
	w.zombie(w.born(102, 100))
	w.born(103, 101)
	if got, err := k.Children(100, []int{-1}); err != nil || !slices.Equal(got, []int{-1, 101, 102}) {
		t.Error(got, err)
	}
}

func TestAncestors(t *testing.T) {
	w := newWorld(t)
	w.born(40, 1)
	w.procs[self].PPID = 40
	k := w.kernel()
	var pids []int
	for _, a := range k.ancestors() {
		pids = append(pids, a.PID)
	}
	if !slices.Equal(pids, []int{self, 40, 1}) {
		t.Error(pids)
	}
	w.procs[1].PPID = 1 // whatever the kernel says: it ends
	if n := len(k.ancestors()); n != 3 {
		t.Error(n)
	}
}

func TestCheckPID(t *testing.T) {
	for pid, ok := range map[int]bool{-1: false, 0: false, 1: true, 99999: true, 100000: false, 1 << 40: false} {
		if err := checkPID(pid); (err == nil) != ok {
			t.Errorf("%d: %v", pid, err)
		}
	}
}

func TestRunIDInArguments(t *testing.T) {
	p, err := parseProcArgs2(labels)
	if err != nil || runid.FromArgs(p.Args) != "aaaaaaa" {
		t.Error(p, err)
	}
}
