package proc

import (
	"testing"
	"testing/quick"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		name string
		a, b ID
		want Match
	}{
		{"one inode", ID{7, 100, 5}, ID{7, 100, 5}, Same},
		// Start times may differ by a tick between two reads; the inode decides.
		{"one inode, two starts", ID{7, 100, 5}, ID{7, 101, 5}, Same},
		{"two inodes in one tick", ID{7, 100, 5}, ID{7, 100, 6}, Different},
		{"two numbers", ID{7, 100, 5}, ID{8, 100, 5}, Different},
		{"two starts", ID{7, 100, 0}, ID{7, 101, 0}, Different},
		{"two starts, one inode known", ID{7, 100, 5}, ID{7, 101, 0}, Different},
		{"one tick is no proof", ID{7, 100, 0}, ID{7, 100, 0}, Perhaps},
		{"one tick, one inode known", ID{7, 100, 5}, ID{7, 100, 0}, Perhaps},
		{"start unknown", ID{7, 0, 0}, ID{7, 100, 0}, Perhaps},
		{"start unknown, one inode known", ID{7, 0, 5}, ID{7, 100, 0}, Perhaps},
		{"only the number", ID{PID: 7}, ID{PID: 7}, Perhaps},
	} {
		if got := c.a.Match(c.b); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
		if got := c.b.Match(c.a); got != c.want {
			t.Errorf("%s, the other way round: %d, want %d", c.name, got, c.want)
		}
	}
}

// Match is never certain without an inode on both sides, and different PIDs never match.
func TestMatchClaimsNoMoreThanIsKnown(t *testing.T) {
	rule := func(pids [2]bool, starts, inodes [2]uint8) bool {
		id := func(i int) ID {
			pid := 10
			if pids[i] {
				pid = 11
			}
			return ID{pid, uint64(starts[i] % 3), uint64(inodes[i] % 3)}
		}
		a, b := id(0), id(1)
		switch a.Match(b) {
		case Same:
			return a.PID == b.PID && a.Inode == b.Inode && a.Inode != 0
		case Perhaps:
			return a.PID == b.PID && (a.Inode == 0 || b.Inode == 0)
		}
		return a != b
	}
	if err := quick.Check(rule, &quick.Config{MaxCount: 5000}); err != nil {
		t.Error(err)
	}
}

func TestDead(t *testing.T) {
	for _, c := range []struct {
		state   byte
		threads int
		want    bool
	}{
		{'R', 1, false}, {'S', 1, false}, {'D', 1, false}, {'T', 1, false},
		{'t', 1, false}, {'I', 1, false}, {'P', 1, false},
		{'X', 1, true}, {'x', 1, true}, {'X', 2, true},
		{'Z', 1, true}, {'Z', 0, true},
		{'Z', 2, false}, {'Z', 30, false}, // the first thread has ended, others run
		{0, 0, false}, // unknown is not dead
	} {
		if got := (Info{State: c.state, Threads: c.threads}).Dead(); got != c.want {
			t.Errorf("state %q with %d threads: %t", c.state, c.threads, got)
		}
	}
}

func TestStatus(t *testing.T) {
	for _, c := range []struct {
		exit Exit
		want int
	}{
		{Exit{}, 0}, {Exit{Known: true, Code: 7}, 7}, {Exit{Known: true, Code: 255}, 255},
		{Exit{Known: true, Signal: TERM}, 143}, {Exit{Known: true, Signal: KILL}, 137},
		{Exit{Known: true, Signal: INT}, 130}, {Exit{Known: true, Signal: QUIT}, 131},
	} {
		if got := c.exit.Status(); got != c.want {
			t.Errorf("%+v gives %d, want %d", c.exit, got, c.want)
		}
	}
}

func TestNames(t *testing.T) {
	if got := (ID{7, 100, 5}).String(); got != "7@100" {
		t.Errorf("ID: %q", got)
	}
	if got := TERM.String(); got != "SIGTERM" {
		t.Errorf("signal: %q", got)
	}
}
