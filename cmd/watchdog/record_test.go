package main

import (
	"os"
	"testing"

	"leash/internal/ledger"
	"leash/platform"
)

// surveyed is a host whose looks are made up.
type surveyed struct {
	platform.Host
	seen  uint64
	stale bool
}

func (*surveyed) Survey() {}
func (s *surveyed) Refresh(r *ledger.Record) bool {
	r.Seen = s.seen
	return s.stale
}

// Who is born during a look, and not found by it, must be younger than the record
// at the next one. So a look that is not written down changes nothing.
func TestALookThatIsNotWrittenDownChangesNothing(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	h := &surveyed{seen: 20}
	w := &watchdog{settings: newSettings(), Host: h, record: record{dir: dir, saved: true, warned: true}}
	w.record.Seen = 10
	if w.Survey(); w.record.Seen != 10 {
		t.Errorf("seen %d", w.record.Seen)
	}
	h.stale = true
	if w.Survey(); w.record.Seen != 20 {
		t.Errorf("seen %d, after it was written", w.record.Seen)
	}
}
