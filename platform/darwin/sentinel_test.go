package darwin

import (
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"leash/internal/proc"
	"leash/internal/stop"
	"leash/internal/wire"
)

// post is a sentinel over a world of our own.
func post(w *world) *sentinel {
	return &sentinel{k: w.kernel(), pause: func(time.Duration) {}}
}

// introduction is the order to guard a worker.
func introduction(w wire.Worker) string { return string(wire.Bytes(wire.Guard, w.Encode())) }

var (
	over    = string(wire.Bytes(wire.Over, nil))
	refused = string(wire.Answer{Kind: wire.Refused}.Encode())
)

func guards(pid int32) string { return string(wire.Answer{Kind: wire.Guarding, N: pid}.Encode()) }

// killed are those that were sent SIGKILL, groups with a minus.
func (w *world) killed() []int {
	var pids []int
	for _, s := range w.sent {
		if s.sig == proc.KILL.Num && !slices.Contains(pids, s.pid) {
			pids = append(pids, s.pid)
		}
	}
	slices.Sort(pids)
	return pids
}

func TestSentinelEndsTheTree(t *testing.T) {
	w := newWorld(t)
	worker, child := w.born(100, self), w.born(101, 100)
	w.born(200, 1)
	w.onKill = func(p *fake) { w.end(p, 9); w.reap(p) }
	var answers strings.Builder
	err := post(w).serve(strings.NewReader(introduction(wire.Worker{PID: 100, Start: worker.Start})), &answers)
	if err != nil || answers.String() != guards(100) {
		t.Errorf("%v, %q", err, answers.String())
	}
	if got := w.killed(); !slices.Equal(got, []int{-100, 101}) || w.procs[100] != nil || w.procs[101] == child {
		t.Errorf("killed %v", got)
	}
}

func TestSentinelLeavesAlone(t *testing.T) {
	for name, orders := range map[string]func(start uint64) string{
		"nothing was told":       func(uint64) string { return "" },
		"all is over":            func(start uint64) string { return introduction(wire.Worker{PID: 100, Start: start}) + over },
		"another of that number": func(start uint64) string { return introduction(wire.Worker{PID: 100, Start: start - 1}) },
		"none of that number":    func(start uint64) string { return introduction(wire.Worker{PID: 101, Start: start}) },
		"half an order": func(start uint64) string {
			s := introduction(wire.Worker{PID: 100, Start: start})
			return s[:len(s)-1]
		},
		"nonsense": func(start uint64) string {
			w := wire.Worker{PID: 100, Start: start}
			return string(wire.Bytes(wire.Start, w.Encode())) + string(wire.Bytes(wire.Guard, []byte("kill 100")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := w.born(100, self)
			if err := post(w).serve(strings.NewReader(orders(p.Start)), io.Discard); err != nil {
				t.Error(err)
			}
			if len(w.sent) > 0 {
				t.Errorf("it sent %v", w.sent)
			}
		})
	}
}

func TestSentinelAnswers(t *testing.T) {
	w := newWorld(t)
	a, b, dead := w.born(100, self), w.born(101, self), w.born(102, self)
	w.zombie(dead)
	var orders, answers strings.Builder
	for _, id := range []proc.ID{{PID: 100, Start: a.Start}, {PID: 100, Start: 1}, {PID: 102, Start: dead.Start}, {PID: 101, Start: b.Start}} {
		orders.WriteString(introduction(wire.Worker{PID: id.PID, Start: id.Start, RunID: "abc1234", WorkerID: "a worker\nof two lines"}))
	}
	s := post(w)
	s.serve(strings.NewReader(orders.String()+over), &answers)
	if want := guards(100) + refused + refused + guards(101); answers.String() != want {
		t.Errorf("%q, want %q", answers.String(), want)
	}
	if len(w.sent) > 0 || s.tree != nil {
		t.Errorf("it sent %v", w.sent)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// Only the end of the file is the end of the watchdog.
func TestSentinelCannotRead(t *testing.T) {
	w := newWorld(t)
	p := w.born(100, self)
	orders := io.MultiReader(strings.NewReader(introduction(wire.Worker{PID: 100, Start: p.Start})), failing{syscall.EIO})
	if err := post(w).serve(orders, io.Discard); !errors.Is(err, syscall.EIO) || len(w.sent) > 0 {
		t.Errorf("%v; it sent %v", err, w.sent)
	}
}

// Its number is another's by the time the watchdog is killed.
func TestSentinelNumberTakenAnew(t *testing.T) {
	w := newWorld(t)
	p := w.born(100, self)
	s := post(w)
	if err := s.take(wire.Worker{PID: 100, Start: p.Start}); err != nil {
		t.Fatal(err)
	}
	w.end(p, 0)
	w.reap(p)
	w.born(100, 1)
	w.born(101, 100)
	if err := s.end(); err != nil || len(w.killed()) > 0 {
		t.Errorf("%v; killed %v", err, w.killed())
	}
}

// What the old worker has left is ended by its labels; the next worker of the same
// name, which another watchdog has started meanwhile, is not.
func TestSentinelSparesTheNext(t *testing.T) {
	w := newWorld(t)
	p := w.born(100, self)
	p.args = [][]byte{labels}
	w.onKill = func(p *fake) { w.end(p, 9); w.reap(p) }
	s := post(w)
	if err := s.take(wire.Worker{PID: 100, Start: p.Start, RunID: "abc1234", WorkerID: "w1"}); err != nil {
		t.Fatal(err)
	}
	w.born(101, 1).args = [][]byte{labels} // a daemon of the worker
	w.born(110, 1)                         // the next watchdog
	w.born(111, 110).args = [][]byte{labels}
	w.born(112, 111).args = [][]byte{labels}
	late := false
	w.listed = func() { // after the watchdog's end
		if !late && w.procs[100] == nil {
			late = true
			w.born(113, 1).args = [][]byte{labels}
		}
	}
	if err := s.end(); err != nil {
		t.Error(err)
	}
	if got := w.killed(); !slices.Equal(got, []int{-100, 101}) || !late {
		t.Errorf("killed %v", got)
	}
}

// The clock was set back since the worker began: the next watchdog seems the elder.
func TestSentinelSparesTheNextWhateverTheTime(t *testing.T) {
	w := newWorld(t)
	p := w.born(100, self)
	w.onKill = func(p *fake) { w.end(p, 9); w.reap(p) }
	s := post(w)
	if err := s.take(wire.Worker{PID: 100, Start: p.Start, RunID: "abc1234", WorkerID: "w1"}); err != nil {
		t.Fatal(err)
	}
	w.clock -= 1000
	w.born(110, 1) // the next watchdog
	w.born(111, 110).args = [][]byte{labels}
	if err := s.end(); err != nil || !slices.Equal(w.killed(), []int{-100}) {
		t.Errorf("%v; killed %v", err, w.killed())
	}
}

// A process that no signal ends is not waited for without end.
func TestSentinelSurvivors(t *testing.T) {
	for _, denied := range []bool{false, true} {
		w := newWorld(t)
		p := w.born(100, self)
		p.denied = denied
		s := post(w)
		rests := 0
		s.pause = func(time.Duration) { rests++ }
		if err := s.take(wire.Worker{PID: 100, Start: p.Start}); err != nil {
			t.Fatal(err)
		}
		if err := s.end(); err != stop.ErrSurvivors || denied != (rests == 0) || rests > 64 {
			t.Errorf("denied %t: %v, %d rests", denied, err, rests)
		}
	}
}

func TestRoleOf(t *testing.T) {
	for _, c := range []struct{ text, role, rest string }{
		{"50 sentinel", roleSentinel, ""},
		{"50 gate 3 4 /a b/c", roleGate, "3 4 /a b/c"},
		{"51 sentinel", "", ""},
		{"5 sentinel", "", ""},
		{"", "", ""},
		{"sentinel", "", ""},
	} {
		role, rest, err := roleOf(c.text, 50)
		if role != c.role || rest != c.rest || (err == nil) != (c.role != "") {
			t.Errorf("%q: %q, %q, %v", c.text, role, rest, err)
		}
	}
}

// A worker may have been introduced long ago when the sentinel reads that all is over:
// otherwise it would end what is left on purpose.
func TestOverIsToldLongAfter(t *testing.T) {
	orders, ours, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer orders.Close()
	answers, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	io.WriteString(theirs, guards(100))
	w := newWorld(t)
	s := w.system("event")
	w.born(100, self)
	h, err := s.open(100)
	if err != nil {
		t.Fatal(err)
	}
	c := &containment{s: s, sentinel: &sentinelConn{h: h, orders: ours, answers: answers}}
	if err := c.sentinel.introduce(c.introduced(h)); err != nil {
		t.Fatal(err)
	}
	ours.SetWriteDeadline(time.Unix(1, 0)) // as it is then
	c.Close(0)
	if b, err := io.ReadAll(orders); err != nil || !strings.HasSuffix(string(b), over) {
		t.Errorf("it heard %q, %v", b, err)
	}
}
