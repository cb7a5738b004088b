//go:build unix || windows

package ledger

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"leash/internal/proc"
)

func counted(pid int, restarts, folded uint64) *Record {
	r := sample()
	r.Worker.PID, r.Watchdog.PID, r.Group, r.Session = pid, pid+1, pid, pid
	r.Counts, r.Folded = Counts{Restarts: restarts, Missed: 2 * restarts}, Counts{Restarts: folded, Missed: 2 * folded}
	return &r
}

func folder(t *testing.T) *os.File {
	t.Helper()
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return dir
}

// sums reads a folder as metrics does.
func sums(t *testing.T, dir *os.File) Counts {
	t.Helper()
	entries, _, problems := Read(dir)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return Total(dir, entries)
}

// No sum goes backwards, at whatever step of a worker's end it is read.
func TestTotalsNeverGoBackwards(t *testing.T) {
	dir := folder(t)
	want := Counts{}
	check := func(more uint64) {
		t.Helper()
		want.Add(Counts{Restarts: more, Missed: 2 * more})
		if got := sums(t, dir); got != want {
			t.Fatalf("%+v, want %+v", got, want)
		}
	}
	check(0)
	for pid := 100; pid < 110; pid++ {
		r := counted(pid, 3, 1)
		if err := Save(dir, r); err != nil {
			t.Fatal(err)
		}
		check(2) // one was folded with an earlier worker of this watchdog
		if err := Fold(dir, r); err != nil {
			t.Fatal(err)
		}
		check(0)
		if err := Remove(dir, r.Name()); err != nil {
			t.Fatal(err)
		}
		check(0)
		if err := Fold(dir, counted(pid, 3, 3)); err != nil { // nothing new
			t.Fatal(err)
		}
		check(0)
	}
	// A torn line spoils neither itself nor others.
	if err := appendTo(dir, []byte("\n1 2 3 4 5 6 7")); err != nil {
		t.Fatal(err)
	}
	if err := Fold(dir, counted(7, 1, 0)); err != nil {
		t.Fatal(err)
	}
	check(1)
}

func TestTogether(t *testing.T) {
	var b []byte
	list := []total{{counted(3, 0, 0).life(), Counts{Hangs: 1}}, {counted(4, 0, 0).life(), Counts{Hangs: 2}}, {counted(5, 0, 0).life(), Counts{Hangs: 4}}}
	for _, l := range list {
		b = appendTotal(b, l)
	}
	got := parseTotals(together(parseTotals(b), map[life]bool{list[1].life: true}))
	if len(got) != 2 || got[0] != list[1] || got[1] != (total{Counts: Counts{Hangs: 5}}) {
		t.Errorf("%+v", got)
	}
}

// A long file is put together, and its sum stays the same.
func TestTotalsAreFolded(t *testing.T) {
	dir := folder(t)
	var want Counts
	for n := 0; n < manyTotals; n += len(appendTotal(nil, total{counted(1, 1, 0).life(), Counts{Restarts: 1}})) {
		if err := Fold(dir, counted(1000+n, 1, 0)); err != nil {
			t.Fatal(err)
		}
		want.Add(Counts{Restarts: 1, Missed: 2})
	}
	living := counted(9, 1, 0)
	if err := Save(dir, living); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Fold(dir, living); err != nil {
			t.Fatal(err)
		}
		want.Add(Counts{Restarts: 1, Missed: 2})
	}
	if got := sums(t, dir); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	info, err := os.Stat(filepath.Join(dir.Name(), totals))
	if err != nil || info.Size() > manyTotals/2 && putsTogether {
		t.Errorf("%v, %d bytes", err, info.Size())
	}
}

// A hostile file is no reason to fail, and adds at most what fits.
func TestHostileTotals(t *testing.T) {
	dir := folder(t)
	path := filepath.Join(dir.Name(), totals)
	os.WriteFile(path, []byte("1 2 3 9007199254740992 0 0 0 0 .\n1 2 3 9007199254740993 0 0 0 0 .\n1 2 3 9007199254740992 0 0 0 0 .\nx\n"), 0o600)
	if got := Total(dir, nil); got != (Counts{Restarts: maxCount}) {
		t.Errorf("%+v", got)
	}
	os.Remove(path)
	os.Mkdir(path, 0o700)
	if got := Total(dir, nil); got != (Counts{}) {
		t.Errorf("%+v", got)
	}
	if Fold(dir, counted(5, 1, 0)) == nil {
		t.Error("a folder was written")
	}
}

func TestLastReap(t *testing.T) {
	dir := folder(t)
	if _, ok := ReadReap(dir); ok {
		t.Error("there was none")
	}
	want := LastReap{At: time.UnixMilli(1700000000123), Scanned: 60, Terminated: 1, Killed: 2, Survived: 3, Skipped: 4}
	for range 2 {
		if err := SaveReap(dir, &want); err != nil {
			t.Fatal(err)
		}
		if got, ok := ReadReap(dir); !ok || !got.At.Equal(want.At) || got.Scanned != 60 || got.Skipped != 4 || got.Killed != 2 {
			t.Errorf("%+v %t", got, ok)
		}
	}
	whole := want.text()
	for n := range whole {
		if _, ok := parseReaped(whole[:n]); ok {
			t.Errorf("torn after %d bytes, and read", n)
		}
	}
	entries, unfinished, problems := Read(dir)
	if len(entries)+len(unfinished)+len(problems) > 0 {
		t.Errorf("%v %v %v", entries, unfinished, problems)
	}
}

// A record without counts is written as before they were counted, and both are read.
func TestCountsInARecord(t *testing.T) {
	plain := sample()
	if b := plain.Append(nil); bytes.Contains(b, []byte("counts")) || bytes.Contains(b, []byte("beat")) {
		t.Errorf("%s", b)
	}
	r := sample()
	r.Beat, r.Counts, r.Folded = time.UnixMilli(1700000000999), Counts{1, 2, 3, 4, 5}, Counts{Hangs: 1}
	got, err := Parse(r.Append(nil))
	if err != nil || got.Counts != r.Counts || got.Folded != r.Folded || !got.Beat.Equal(r.Beat) {
		t.Errorf("%v %+v", err, got)
	}
	if l := got.life(); l.worker != (proc.ID{PID: 43, Start: 9}) {
		t.Errorf("%+v", l)
	}
}

func FuzzTotals(f *testing.F) {
	f.Add(appendTotal(nil, total{counted(3, 1, 0).life(), Counts{Hangs: 1}}))
	f.Add([]byte(reapedHead + "1700000000123 1 2 3 4 5\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		list := parseTotals(b)
		if got := parseTotals(together(list, nil)); len(list) > 0 && len(got) != 1 {
			t.Errorf("%q: %+v", b, got)
		}
		for _, l := range list {
			if again := parseTotals(appendTotal(nil, l)); len(again) != 1 || again[0] != l {
				t.Errorf("%+v became %+v", l, again)
			}
		}
		if l, ok := parseReaped(b); ok && (l.Killed < 0 || l.At.UnixMilli() < 0) {
			t.Errorf("%q: %+v", b, l)
		}
	})
}
