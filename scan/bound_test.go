package scan

import (
	"fmt"
	"testing"
)

// Another user can have a process counted to thousands of runs by a ledger of that user's.
// A few of them are enough: the evidence contradicts itself.
func TestRunsOfOneProcessAreBounded(t *testing.T) {
	s := newScene()
	for i := range 1000 {
		s.record(200)
		s.rec().RunID = fmt.Sprintf("r%06d", i)
	}
	s.add(200, inode(9200), session(200))
	s.add(201, session(200)) // only inherited evidence
	runs := Judge(&s.Snapshot, Request{Unclaimed: true})
	if len(runs) == 0 || len(runs) > enough {
		t.Fatalf("it counts to %d runs", len(runs))
	}
	for _, r := range runs {
		for _, m := range r.Members {
			if m.Verdict == End {
				t.Errorf("%s: %s", r.ID, m.Reason)
			}
		}
	}
}
