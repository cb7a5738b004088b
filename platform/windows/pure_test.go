package windows

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"leash/internal/proc"
	"leash/internal/runid"
)

func TestBlock(t *testing.T) {
	for _, c := range []struct {
		env  []string
		want string
	}{
		{nil, "\x00\x00"},
		{[]string{"b=2", "A=1", "c="}, "A=1\x00b=2\x00c=\x00\x00"},
		{[]string{"Path=old", "PATH=new"}, "PATH=new\x00\x00"},
		{[]string{"=C:=C:\\work", "X==y"}, "=C:=C:\\work\x00X==y\x00\x00"},
		{[]string{"no name", "", "=", "NUL=a\x00B=b"}, "\x00\x00"},
		{[]string{"Ä=ö😀"}, "Ä=ö😀\x00\x00"},
	} {
		if got := string(utf16.Decode(block(c.env))); got != c.want {
			t.Errorf("%q: %q", c.env, got)
		}
	}
}

func TestEnviron(t *testing.T) {
	env := []string{"=C:=C:\\", "LEASH_RUN_ID=abc1234", "LEASH_WORKER_ID=wörker 1"}
	run, worker := runid.FromEnviron(environ(block(env)))
	if run != "abc1234" || worker != "wörker 1" {
		t.Errorf("%q, %q", run, worker)
	}
	torn := utf16.Encode([]rune("LEASH_RUN_ID=abc1234\x00LEASH_WORKER_ID=half"))
	if got := string(environ(torn)); got != "LEASH_RUN_ID=abc1234\x00" {
		t.Errorf("torn: %q", got)
	}
	if got := environ(nil); len(got) > 0 {
		t.Errorf("%q", got)
	}
	if got := runid.FromArgs(cmdline([]string{"python", "--run-id", "abc1234"})); got != "abc1234" {
		t.Error(got)
	}
}

func TestDescend(t *testing.T) {
	table := []entry{
		{pid: 40, ppid: 30, start: 400}, // before its parent in the table
		{pid: 20, ppid: 10, start: 200},
		{pid: 30, ppid: 20, start: 300},
		{pid: 60, ppid: 10, start: 50},  // of one who had the number before
		{pid: 70, ppid: 60, start: 700}, // its child
		{pid: 80, ppid: 4, start: 800},
		{pid: 10, ppid: 80, start: 100}, // the root, whose parent's number was taken anew
		{pid: 90, ppid: 90, start: 900},
		{pid: 50, ppid: 10, start: 100}, // in the same instant
	}
	var got []int
	for _, e := range descend(table, map[int]uint64{10: 100}, nil, 1000) {
		got = append(got, e.pid)
	}
	at := func(pid int) int { return slices.Index(got, pid) }
	if at(20) > at(30) || at(30) > at(40) {
		t.Errorf("a child before its parent: %d", got)
	}
	slices.Sort(got)
	if !slices.Equal(got, []int{20, 30, 40, 50}) {
		t.Errorf("%d", got)
	}
	// Of one who has ended the children remain his.
	if got := descend(table, map[int]uint64{1000: 1, 30: 300}, nil, 1000); len(got) != 1 || got[0].pid != 40 {
		t.Errorf("%+v", got)
	}
	if !hasChild(table, 20, 200) || hasChild(table, 60, 800) || hasChild(table, 90, 0) {
		t.Error("children")
	}
}

func TestAbove(t *testing.T) {
	table := []entry{
		{pid: 4, ppid: 0, start: 1}, {pid: 8, ppid: 4, start: 2}, {pid: 12, ppid: 8, start: 3},
		{pid: 16, ppid: 20, start: 4}, {pid: 20, ppid: 4, start: 5}, {pid: 0},
		{pid: 24, ppid: 28, start: 6}, {pid: 28, ppid: 24, start: 6},
	}
	for pid, want := range map[int][]int{12: {12, 8, 4}, 16: {16}, 99: nil} {
		var got []int
		for _, e := range above(table, pid, 1000) {
			got = append(got, e.pid)
		}
		if !slices.Equal(got, want) {
			t.Errorf("above %d: %d", pid, got)
		}
	}
	if got := above(table, 24, 1000); len(got) > len(table) { // a circle ends
		t.Error(got)
	}
}

// Who was created later than now was so before the clock was set back: of him and
// somebody who was not, nobody is the parent or the child for sure.
func TestClockSetBack(t *testing.T) {
	const latest = 500
	table := []entry{
		{pid: 10, ppid: 4, start: 400},  // the root, whose number was another's before
		{pid: 20, ppid: 10, start: 900}, // a child of that other
		{pid: 30, ppid: 10, start: 450},
		{pid: 40, ppid: 50, start: 800}, {pid: 50, ppid: 60, start: 700}, // both before
		{pid: 60, ppid: 0, start: 600},
		{pid: 70, ppid: 40, start: 410}, // one before, one after
	}
	pids := func(list []entry) (pids []int) {
		for _, e := range list {
			pids = append(pids, e.pid)
		}
		return pids
	}
	if got := pids(descend(table, map[int]uint64{10: 400}, nil, latest)); !slices.Equal(got, []int{30}) {
		t.Errorf("below 10: %d", got)
	}
	if got := pids(descend(table, map[int]uint64{60: 600}, nil, latest)); !slices.Equal(got, []int{50, 40}) {
		t.Errorf("below 60: %d", got)
	}
	if got := pids(above(table, 70, latest)); !slices.Equal(got, []int{70, 40, 50, 60}) {
		t.Errorf("above 70: %d", got)
	}
}

func TestStrangersAreNoDescendants(t *testing.T) {
	table := []entry{{pid: 20, ppid: 10, start: 200}, {pid: 30, ppid: 10, start: 300}, {pid: 40, ppid: 30, start: 400}}
	got := descend(table, map[int]uint64{10: 100}, map[int]uint64{20: 199, 30: 300}, 1000)
	if len(got) != 1 || got[0].pid != 20 { // the stranger 20 was another
		t.Errorf("%+v", got)
	}
}

func TestParseSignal(t *testing.T) {
	for text, want := range map[string]proc.Signal{
		"TERM": proc.TERM, "SIGTERM": proc.TERM, "term": proc.TERM, "15": proc.TERM,
		"INT": proc.INT, "break": BREAK, "21": BREAK, "9": proc.KILL,
	} {
		if got, ok := ParseSignal(text); !ok || got != want {
			t.Errorf("%s: %v, %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "0", "HUP", "USR1", "SIG", "-1", "1", "TERM "} {
		if got, ok := ParseSignal(text); ok {
			t.Errorf("%q: %v", text, got)
		}
	}
	for _, c := range []struct {
		sig  proc.Signal
		deaf bool
		want uint32
	}{{proc.TERM, false, ctrlC}, {proc.INT, false, ctrlC}, {BREAK, false, ctrlBreak}, {proc.TERM, true, ctrlBreak}} {
		if got := eventOf(c.sig, c.deaf); got != c.want {
			t.Errorf("%v, %v: %d", c.sig, c.deaf, got)
		}
	}
}

func TestExit(t *testing.T) {
	for _, c := range []struct {
		code   uint32
		forced bool
		want   int
	}{{0, false, 0}, {3, true, 3}, {137, true, 137}, {137, false, 137}, {0xC000013A, false, 0xC000013A}} {
		e := exitOf(c.code, c.forced)
		if !e.Known || e.Status() != c.want || (e.Signal == proc.KILL) != (c.forced && c.code == 137) {
			t.Errorf("%+v: %+v", c, e)
		}
	}
	if strings.ToLower(BREAK.Name) != "sigbreak" {
		t.Error(BREAK)
	}
}
