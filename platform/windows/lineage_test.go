package windows

import (
	"slices"
	"testing"
)

func TestDescend(t *testing.T) {
	table := []entry{
		{pid: 40, ppid: 30, start: 400}, // before its parent in the table
		{pid: 20, ppid: 10, start: 200},
		{pid: 30, ppid: 20, start: 300},
		{pid: 60, ppid: 10, start: 50},  // of one that had the number before
		{pid: 70, ppid: 60, start: 700}, // its child
		{pid: 80, ppid: 4, start: 800},
		{pid: 10, ppid: 80, start: 100}, // the root; its parent's number was reused
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
	// Of one that has ended the children remain its own.
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

// What was created later than now was so before the clock was set back: of it and a
// process that was not, neither is the parent or the child for sure.
func TestClockSetBack(t *testing.T) {
	const latest = 500
	table := []entry{
		{pid: 10, ppid: 4, start: 400},  // the root; its number was another's before
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
