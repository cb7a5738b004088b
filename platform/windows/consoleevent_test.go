package windows

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"leash/internal/proc"
)

// inhabitant of a world of consoles.
type inhabitant struct {
	pid, group int
	console    int // 0: none
	deaf       bool
	mine       bool
	heard      []uint32
}

// world is the consoles of a system, as the pages of "Console Functions" have
// them. Wine has no CTRL_BREAK, so what it does is tried here.
type world struct {
	all    []*inhabitant
	self   *inhabitant
	listed bool // GetConsoleProcessList works
	fails  bool // GenerateConsoleCtrlEvent does not
}

func (w *world) own() bool { return w.self.console != 0 }
func (w *world) free()     { w.self.console = 0 }

func (w *world) attach(pid int) error {
	w.self.console = w.at(pid).console
	if w.self.console == 0 {
		return errNoConsole
	}
	return nil
}

func (w *world) at(pid int) *inhabitant {
	return w.all[slices.IndexFunc(w.all, func(i *inhabitant) bool { return i.pid == pid })]
}

func (w *world) attached() (pids []int) {
	for _, i := range w.all {
		if w.listed && i.console == w.self.console {
			pids = append(pids, i.pid)
		}
	}
	return pids
}

var errSend = errors.New("not sent")

func (w *world) send(event uint32, group int) error {
	if w.fails {
		return errSend
	}
	exists := slices.ContainsFunc(w.all, func(i *inhabitant) bool { return i.console == w.self.console && i.group == group })
	for _, i := range w.all {
		switch {
		case i.console != w.self.console, w.self.console == 0, event == ctrlC && i.deaf:
		case event == ctrlC && group != 0: // reaches nothing of that group, and what else is not said
		case group == 0, !exists, i.group == group:
			i.heard = append(i.heard, event)
		}
	}
	return nil
}

func (w *world) sender(done *reached) *eventSender {
	return &eventSender{consoles: w, self: w.self.pid, reached: done,
		mine: func(pid int) bool { return w.at(pid).mine }}
}

func (w *world) deliver(done *reached, i *inhabitant, sig proc.Signal) error {
	return w.sender(done).deliver(target{i.pid, i.group, func() bool { return i.deaf }}, sig)
}

// draw makes a system: the watchdog, a worker's tree, and strangers, spread
// over three consoles and over groups.
func draw(r *rand.Rand) *world {
	w := &world{listed: r.IntN(20) > 0, fails: r.IntN(20) == 0}
	w.self = &inhabitant{pid: 100, group: 100, console: r.IntN(2)}
	w.all = append(w.all, w.self)
	for n := 1 + r.IntN(6); n > 0; n-- {
		i := &inhabitant{pid: 100 + len(w.all), console: r.IntN(4), deaf: r.IntN(3) == 0, mine: r.IntN(3) > 0}
		switch parent := w.all[r.IntN(len(w.all))]; {
		case r.IntN(3) == 0:
			i.group, i.deaf = i.pid, true // CREATE_NEW_PROCESS_GROUP
		case parent.mine == i.mine: // a group is inherited, and so is the tree
			i.group = parent.group
		}
		w.all = append(w.all, i)
	}
	return w
}

// In any system, a process that is said to be signalled was sent an event, and no
// stranger ever was.
func TestDeliverAnywhere(t *testing.T) {
	told, heard := 0, 0
	for seed := range uint64(50_000) {
		r := rand.New(rand.NewPCG(seed, 5))
		w := draw(r)
		had := w.self.console
		sig := []proc.Signal{proc.TERM, proc.INT, BREAK}[r.IntN(3)]
		var done reached
		for _, i := range w.all[1:] {
			if !i.mine {
				continue
			}
			before := len(i.heard)
			switch err := w.deliver(&done, i, sig); {
			case err != nil && len(i.heard) > before:
				t.Fatalf("seed %d: %d heard, and %v is said", seed, i.pid, err)
			case err == nil && len(i.heard) == 0 && !i.deaf:
				t.Fatalf("seed %d: %d is said to be signalled, and heard nothing", seed, i.pid)
			case err == nil:
				told++
			}
			if heard += len(i.heard); len(i.heard) > 1 {
				t.Fatalf("seed %d: %d heard %v", seed, i.pid, i.heard)
			}
			if w.self.console != had {
				t.Fatalf("seed %d: we have another console than before", seed)
			}
		}
		for _, i := range w.all[1:] {
			if !i.mine && len(i.heard) > 0 {
				t.Fatalf("seed %d: the stranger %d heard %v", seed, i.pid, i.heard)
			}
		}
	}
	if told < 10_000 || heard < 10_000 {
		t.Errorf("%d of the tree were signalled, %d events were heard", told, heard)
	}
}

// Which event reaches which processes.
func TestDeliver(t *testing.T) {
	type is = inhabitant
	self, alone := is{pid: 100, group: 100}, is{pid: 100, group: 100, console: 1}
	for name, c := range map[string]struct {
		sig   proc.Signal
		fails bool
		all   []is
		err   error
		heard [][]uint32
	}{
		"leader in our console": {proc.TERM, false, []is{alone, {pid: 1, group: 1, console: 1, deaf: true, mine: true}, {pid: 2, group: 1, console: 1, mine: true},
			{pid: 3, group: 100, console: 1}}, nil, [][]uint32{nil, {ctrlBreak}, {ctrlBreak}, nil}},
		"leads no group in our console": {proc.TERM, false, []is{alone, {pid: 1, group: 100, console: 1, mine: true}}, errNoGroup, [][]uint32{nil, nil}},
		"in another console than ours":  {proc.TERM, false, []is{alone, {pid: 1, group: 1, console: 2, mine: true}}, errOtherConsole, [][]uint32{nil, nil}},
		"in a console of its own":       {proc.TERM, false, []is{self, {pid: 1, console: 2, mine: true}, {pid: 2, console: 3}}, nil, [][]uint32{{ctrlC}, {ctrlC}, nil}},
		"INT in a console of its own":   {proc.INT, false, []is{self, {pid: 1, console: 2, mine: true}}, nil, [][]uint32{{ctrlC}, {ctrlC}}},
		"BREAK in a console of its own": {BREAK, false, []is{self, {pid: 1, console: 2, mine: true}}, nil, [][]uint32{{ctrlBreak}, {ctrlBreak}}},
		"deaf in a console of its own":  {proc.TERM, false, []is{self, {pid: 1, group: 1, console: 2, deaf: true, mine: true}}, nil, [][]uint32{{ctrlBreak}, {ctrlBreak}}},
		"no console":                    {proc.TERM, false, []is{self, {pid: 1, mine: true}}, errNoConsole, [][]uint32{nil, nil}},
		"leader among strangers":        {proc.TERM, false, []is{self, {pid: 1, group: 1, console: 2, mine: true}, {pid: 2, group: 9, console: 2}}, nil, [][]uint32{nil, {ctrlBreak}, nil}},
		"among strangers":               {proc.TERM, false, []is{self, {pid: 1, group: 9, console: 2, mine: true}, {pid: 2, group: 9, console: 2}}, errSharedConsole, [][]uint32{nil, nil, nil}},
		"the system refuses a group":    {proc.TERM, true, []is{alone, {pid: 1, group: 1, console: 1, mine: true}}, errSend, [][]uint32{nil, nil}},
		"the system refuses a console":  {proc.TERM, true, []is{self, {pid: 1, console: 2, mine: true}}, errSend, [][]uint32{nil, nil}},
		"two leaders in our console":    {proc.TERM, false, []is{alone, {pid: 1, group: 1, console: 1, mine: true}, {pid: 2, group: 2, console: 1, mine: true}}, nil, [][]uint32{nil, {ctrlBreak}, nil}},
	} {
		w := &world{listed: true, fails: c.fails}
		for k := range c.all {
			w.all = append(w.all, &c.all[k])
		}
		w.self = w.all[0]
		var done reached
		if err := w.deliver(&done, w.all[1], c.sig); err != c.err {
			t.Errorf("%s: %v, want %v", name, err, c.err)
		}
		for k, i := range w.all {
			if !slices.Equal(i.heard, c.heard[k]) {
				t.Errorf("%s: %d heard %v, want %v", name, i.pid, i.heard, c.heard[k])
			}
		}
		if c.err == errSend && len(done.pids)+len(done.groups) > 0 {
			t.Errorf("%s: %+v were signalled", name, done)
		}
	}
}

// Where processes are judged one by one, another may be in the group that one leads, and
// receives the same events.
func TestDeliverSparesOthersOfTheGroup(t *testing.T) {
	for name, other := range map[string]inhabitant{
		"a stranger":                    {pid: 2, group: 1, console: 1},
		"one of ours":                   {pid: 2, group: 1, console: 1, mine: true},
		"a stranger in another console": {pid: 2, group: 1, console: 2},
		"a stranger in another group":   {pid: 2, group: 2, console: 1},
		"a stranger in a hidden group":  {pid: 2, console: 1},
	} {
		for _, console := range []int{0, 1} {
			w := &world{listed: true, self: &inhabitant{pid: 100, group: 100, console: console}}
			w.all = []*inhabitant{w.self, {pid: 1, group: 1, console: 1, mine: true}, &other}
			a := w.sender(new(reached))
			a.groupOf = func(pid int) int { return w.at(pid).group }
			other.heard = nil
			err := a.deliver(target{1, 1, func() bool { return true }}, proc.TERM)
			if !other.mine && len(other.heard) > 0 || (name == "a stranger") != (err == errSharedGroup) {
				t.Errorf("%s: %v, it heard %v", name, err, other.heard)
			}
		}
	}
	// Our own group is another's by its number.
	w := &world{listed: true, self: &inhabitant{pid: 100, group: 1, console: 1}}
	w.all = []*inhabitant{w.self, {pid: 1, group: 1, console: 1, mine: true}}
	a := w.sender(new(reached))
	a.groupOf = func(pid int) int { return w.at(pid).group }
	if err := a.deliver(target{1, 1, nil}, proc.TERM); err != errSharedGroup || len(w.self.heard) > 0 {
		t.Errorf("%v, we heard %v", err, w.self.heard)
	}
}

// A member of a group that was signalled has received it too, if it has its console.
func TestReachedWithGroup(t *testing.T) {
	w := &world{listed: true, self: &inhabitant{pid: 100, console: 1}}
	leader, member := &inhabitant{pid: 1, group: 1, console: 1, mine: true}, &inhabitant{pid: 2, group: 1, console: 1, mine: true}
	away := &inhabitant{pid: 3, group: 1, console: 2, mine: true}
	w.all = []*inhabitant{w.self, leader, member, away}
	var done reached
	for i, want := range map[*inhabitant]error{member: errNoGroup, away: errOtherConsole} {
		if err := w.deliver(&done, i, proc.TERM); err != want {
			t.Errorf("%d, too early: %v", i.pid, err)
		}
	}
	for _, c := range []struct {
		i    *inhabitant
		want error
	}{{leader, nil}, {member, nil}, {leader, nil}, {away, errOtherConsole}} {
		if err := w.deliver(&done, c.i, proc.TERM); err != c.want {
			t.Errorf("%d: %v", c.i.pid, err)
		}
	}
	if len(leader.heard) != 1 || len(member.heard) != 1 || len(away.heard) != 0 {
		t.Errorf("heard: %v, %v, %v", leader.heard, member.heard, away.heard)
	}
}

// A process that received an event that was meant for another is not sent it again, and one
// that came to the console after it is sent none.
func TestReachedOnce(t *testing.T) {
	w := &world{listed: true, self: &inhabitant{pid: 100}}
	first, second := &inhabitant{pid: 1, console: 2, mine: true}, &inhabitant{pid: 2, console: 2, mine: true}
	w.all = []*inhabitant{w.self, first, second}
	var done reached
	for range 2 {
		for _, i := range w.all[1:] {
			if err := w.deliver(&done, i, proc.TERM); err != nil || len(i.heard) != 1 {
				t.Errorf("%d: %v, heard %v", i.pid, err, i.heard)
			}
		}
	}
	late := &inhabitant{pid: 3, console: 2, mine: true}
	w.all = append(w.all, late)
	if err := w.deliver(&done, late, proc.TERM); err != errTooLate || len(late.heard) > 0 || len(first.heard) != 1 {
		t.Errorf("%v, %v, %v", err, late.heard, first.heard)
	}
}
