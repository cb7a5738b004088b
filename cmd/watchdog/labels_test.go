package main

import (
	"io"
	"log/slog"
	"os"
	"testing"

	"leash/internal/event"
	"leash/internal/proc"
)

// speaker is a worker that says this of itself.
type speaker struct {
	surveyed
	says, marks names
}

func (s *speaker) Labels() (run, worker string) { return s.says.run, s.says.worker }
func (s *speaker) Label(run, worker string)     { s.marks = names{run, worker} }

// What a worker says of itself counts from the scan on that reads it, in the tree,
// in the events and in the ledger. Silence takes nothing back.
func TestRename(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	h := &speaker{}
	w := &watchdog{settings: newSettings(), Host: h, record: record{dir: dir, saved: true, warned: true}}
	w.worker.PID, w.runID = 7, "1nvent3"
	w.plain = event.New(io.Discard, "text", slog.LevelInfo)
	w.record.Boot, w.record.NS, w.record.Watchdog, w.record.Worker = "b", 1, proc.ID{PID: 8, Start: 1}, proc.ID{PID: 7, Start: 1}
	for _, c := range []struct{ says, marks, known names }{
		{names{}, names{}, names{"1nvent3", ""}},
		{names{"aaaaaaa", ""}, names{"aaaaaaa", ""}, names{"aaaaaaa", ""}},
		{names{"aaaaaaa", "w1"}, names{"aaaaaaa", "w1"}, names{"aaaaaaa", "w1"}},
		{names{"aaaaaaa", ""}, names{"aaaaaaa", "w1"}, names{"aaaaaaa", "w1"}}, // in the middle of execve(2)
		{names{}, names{"aaaaaaa", "w1"}, names{"aaaaaaa", "w1"}},
		{names{"bbbbbbb", "w2"}, names{"bbbbbbb", "w2"}, names{"bbbbbbb", "w2"}},
	} {
		h.says = c.says
		w.Survey()
		if is := (names{w.runID, w.label}); h.marks != c.marks || is != c.known || is != (names{w.record.RunID, w.record.WorkerID}) && c.known.worker != "" {
			t.Errorf("%+v: marks %+v, known as %+v, in the ledger %s %s", c.says, h.marks, is, w.record.RunID, w.record.WorkerID)
		}
	}
	files, _ := os.ReadDir(dir.Name())
	if len(files) != 1 {
		t.Fatalf("%d records", len(files))
	}
	w.flags = names{"bbbbbbb", "w9"}
	h.says = names{"ccccccc", "w9"}
	if w.Survey(); h.marks != (names{}) || w.runID != "bbbbbbb" {
		t.Errorf("flags that are gainsaid: %+v, run ID %s", h.marks, w.runID)
	}
}

func TestReconcile(t *testing.T) {
	for _, c := range []struct {
		flags, own, is names
		alike          bool
	}{
		{names{}, names{}, names{}, true},
		{names{}, names{"a", "1"}, names{"a", "1"}, true},
		{names{"a", "1"}, names{}, names{"a", "1"}, true},
		{names{"a", "1"}, names{"a", "1"}, names{"a", "1"}, true},
		{names{"a", ""}, names{"", "1"}, names{"a", "1"}, true},
		{names{"a", ""}, names{"b", "1"}, names{"a", "1"}, false},
		{names{"", "2"}, names{"a", "1"}, names{"a", "2"}, false},
		{names{"b", "2"}, names{"a", "1"}, names{"b", "2"}, false},
	} {
		if is, alike := reconcile(c.flags, c.own); is != c.is || alike != c.alike {
			t.Errorf("%+v: %+v, %t", c, is, alike)
		}
	}
}
