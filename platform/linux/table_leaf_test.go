//go:build linux

package linux

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"leash/internal/ledger"
	"leash/internal/proc"
	"leash/internal/testkit"
)

func TestLeafOf(t *testing.T) {
	type leaf struct {
		ns   uint64
		pid  int
		tick uint64
	}
	for name, want := range map[string]leaf{
		"leash-4026531836-12-345":            {4026531836, 12, 345},
		"leash-7-1-0":                        {7, 1, 0},
		leafName(7, 1<<31-1, 18446744073709): {7, 1<<31 - 1, 18446744073709},
		"leash-12-345":                       {}, "leash-7-0-1": {}, "leash-7--1-1": {}, "leash-7-12": {}, "leash-7-12-": {},
		"leash-7--345": {}, "leash-7-2147483648-1": {}, "leash-7-99999999999999999999-1": {},
		"leash-7-1-99999999999999999999": {}, "leash-7-12-345-6": {}, "leash-7-12-345 ": {}, "leash-7-12x-345": {},
		"leash-7-+1-2": {}, "leash-a-b-c": {}, "leash--1-2": {}, "xleash-7-12-345": {}, "Leash-7-12-345": {},
		"leash": {}, "leash-": {}, "": {}, "user.slice": {},
	} {
		ns, pid, tick, ok := leafOf(name)
		if got := (leaf{ns, pid, tick}); ok != (want.pid != 0) || got != want {
			t.Errorf("%q: %+v, %t", name, got, ok)
		}
	}
}

// ownBase moves this process into a cgroup of its own, so that the test does not interfere
// with the machine's watchdogs and reapers.
func ownBase(t *testing.T) (*Table, string) {
	t.Helper()
	testkit.NeedRoot(t)
	k, err := NewKernel()
	if err != nil {
		t.Fatal(err)
	}
	outer := k.cgroupDir()
	if outer == "" {
		testkit.Skip(t, "this test needs cgroup v2")
	}
	base, err := os.MkdirTemp(outer, "test-")
	if err != nil {
		testkit.Skip(t, "this test needs to make cgroups: "+err.Error())
	}
	enter(t, base, os.Getpid())
	t.Cleanup(func() {
		enter(t, outer, os.Getpid())
		entries, _ := os.ReadDir(base)
		for _, e := range entries {
			if e.IsDir() {
				os.Remove(base + "/" + e.Name())
			}
		}
		if err := os.Remove(base); err != nil {
			t.Error(err)
		}
	})
	if got := k.cgroupDir(); got != base {
		t.Fatalf("the cgroup is %s, want %s", got, base)
	}
	table, err := NewTable(k)
	if err != nil {
		t.Fatal(err)
	}
	return table, base
}

func enter(t *testing.T, dir string, pid int) {
	t.Helper()
	if err := os.WriteFile(dir+"/cgroup.procs", []byte(itoa(pid)), 0); err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, dir string) string {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func exists(dir string) bool {
	_, err := os.Lstat(dir)
	return err == nil
}

// A record may name any path. Only a cgroup that its watchdog can have made is a leaf.
func TestLeaf(t *testing.T) {
	table, base := ownBase(t)
	good := mkdir(t, base+"/leash-7-12-345")
	others := mkdir(t, base+"/leash-7-12-346")
	if err := os.Chown(others, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	outside := mkdir(t, t.TempDir()+"/leash-7-12-345")
	link := t.TempDir() + "/leash-7-12-345"
	if err := os.Symlink(good, link); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		path     string
		watchdog int
		uid      uint32
		want     bool
	}{
		"its own":             {good, 12, 0, true},
		"a user's own":        {others, 12, 65534, true},
		"another user's":      {others, 12, 0, false},
		"not the user's":      {good, 12, 65534, false},
		"another watchdog's":  {good, 13, 0, false},
		"a shorter number":    {good, 1, 0, false},
		"not there":           {base + "/leash-7-12-347", 12, 0, false},
		"outside":             {outside, 12, 0, false},
		"a link":              {link, 12, 0, false},
		"a link to a leaf":    {"/proc/self/root" + good, 12, 0, false},
		"a slash at the end":  {good + "/", 12, 0, false},
		"two slashes":         {base + "//leash-7-12-345", 12, 0, false},
		"round about":         {base + "/x/../leash-7-12-345", 12, 0, false},
		"below the leaf":      {good + "/cgroup.procs", 12, 0, false},
		"relative":            {"leash-7-12-345", 12, 0, false},
		"the cgroup above":    {base, 12, 0, false},
		"no path":             {"", 12, 0, false},
		"a NUL in it":         {good + "\x00", 12, 0, false},
		"another name":        {filepath.Dir(base), 12, 0, false},
		"a file of that name": {base + "/cgroup.procs", 12, 0, false},
	} {
		r := ledger.Record{Cgroup: c.path, UID: c.uid, NS: 7, Watchdog: proc.ID{PID: c.watchdog}}
		if got := table.leaf(&r); got != c.want {
			t.Errorf("%s: %s of watchdog %d and user %d: %t", name, c.path, c.watchdog, c.uid, got)
		}
		if !c.want {
			table.RemoveLeaf(&r)
		}
	}
	for _, dir := range []string{good, others, outside, link} {
		if !exists(dir) {
			t.Errorf("%s was removed", dir)
		}
	}
	r := ledger.Record{Cgroup: good, NS: 7, Watchdog: proc.ID{PID: 12}}
	sleeper := occupy(t, good)
	if table.RemoveLeaf(&r); !exists(good) {
		t.Error("a leaf with a process in it was removed")
	}
	testkit.StillAlive(t, sleeper.Ident)
	sleeper.Kill()
	sleeper.Wait()
	if table.RemoveLeaf(&r); exists(good) {
		t.Error("the empty leaf is still there")
	}
}

// occupy starts a process in a cgroup.
func occupy(t *testing.T, dir string) *testkit.Proc {
	t.Helper()
	p := testkit.Start(t, exec.Command("sleep", "1000"))
	enter(t, dir, p.PID)
	return p
}

// Only empty leaves of watchdogs that are certainly dead are removed.
func TestRemoveLeaves(t *testing.T) {
	table, base := ownBase(t)
	gone := testkit.Start(t, exec.Command("true"))
	gone.Wait()
	now := itoa(int(table.Kernel.Tick()))
	mine := itoa(os.Getpid())
	leaf := func(name string) string { return mkdir(t, base+"/"+name) }
	here := leafName(table.ns, 0, 0)
	here = here[:len(here)-len("0-0")]
	full := leaf(here + itoa(gone.PID) + "-1")
	sleeper := occupy(t, full)
	stay := []string{
		full,
		leaf(here + mine + "-" + now),            // the watchdog lives
		leaf("leash-7-" + itoa(gone.PID) + "-1"), // in another PID namespace
		leaf(here + itoa(gone.PID)),              // not named like a leaf
		leaf(here + itoa(gone.PID) + "-x"),       //
		leaf("test-" + itoa(gone.PID) + "-1"),    //
		leaf(itoa(gone.PID) + "-1"),              //
	}
	stay = append(stay, mkdir(t, stay[len(stay)-1]+"/"+here+itoa(gone.PID)+"-2")) // not beside our own
	t.Cleanup(func() { os.Remove(stay[len(stay)-1]) })
	leave := []string{
		leaf("leash-8-" + mine + "-" + now), // the namespace has ended
		leaf(here + itoa(gone.PID) + "-" + now),
		leaf(here + mine + "-1"), // another process has the PID, and started later
	}
	table.RemoveLeaves(func(ns uint64) bool { return ns == 8 })
	for _, dir := range stay {
		if !exists(dir) {
			t.Errorf("%s was removed", dir)
		}
	}
	for _, dir := range leave {
		if exists(dir) {
			t.Errorf("%s is still there", dir)
		}
	}
	testkit.StillAlive(t, sleeper.Ident)
	sleeper.Kill()
	sleeper.Wait()
	if table.RemoveLeaves(func(ns uint64) bool { return ns == 8 }); exists(full) {
		t.Errorf("%s is empty now and still there", full)
	}
}
