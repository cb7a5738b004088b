package main

import (
	"io"
	"log/slog"
	"os"
	"testing"

	"leash/internal/event"
	"leash/internal/ledger"
	"leash/internal/proc"
)

// speaker is a worker with these labels.
type speaker struct {
	says, marks names
	seen        uint64
	stale       bool
}

func (s *speaker) Refresh(r *ledger.Record) bool {
	r.Seen = s.seen
	return s.stale
}

func (s *speaker) Labels() (run, worker string) { return s.says.run, s.says.worker }
func (s *speaker) Label(run, worker string)     { s.marks = names{run, worker} }

// survey performs what the machine wants at each scan.
func survey(w *watchdog) {
	w.ReadLabels(false)
	w.UpdateRecord()
}

// A process that is started during a scan, and not found by it, must be younger than the
// record at the next scan. So a scan after which no record is written changes nothing.
func TestAScanThatIsNotWrittenChangesNothing(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	h := &speaker{seen: 20}
	w := &watchdog{settings: newSettings(), naming: naming{known: h}, record: record{dir: dir, saved: true, warned: true}}
	w.record.Seen = 10
	if survey(w); w.record.Seen != 10 {
		t.Errorf("seen %d", w.record.Seen)
	}
	h.stale = true
	if survey(w); w.record.Seen != 20 {
		t.Errorf("seen %d, after it was written", w.record.Seen)
	}
}

// Before the ending labels that are known are not read again.
func TestLabelsAreNotReadAgainBeforeTheEnding(t *testing.T) {
	h := &speaker{says: names{"bbbbbbb", "w2"}}
	w := &watchdog{settings: newSettings(), naming: naming{known: h, agreed: true, own: names{"aaaaaaa", "w1"}}}
	w.worker.PID = 7
	if w.ReadLabels(true); w.own.run != "aaaaaaa" {
		t.Error("the labels were read")
	}
}

// New labels of a worker count from the scan that reads them, in the tree, in the events and
// in the ledger. Labels that are absent change nothing.
func TestRename(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	h := &speaker{}
	w := &watchdog{settings: newSettings(), naming: naming{known: h}, record: record{dir: dir, saved: true, warned: true}}
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
		survey(w)
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
	if survey(w); h.marks != (names{}) || w.runID != "bbbbbbb" {
		t.Errorf("labels that contradict the flags: %+v, run ID %s", h.marks, w.runID)
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
