package watch

import (
	"fmt"
	"strings"
	"time"

	"leash/internal/heartbeat"
	"leash/internal/ledger"
)

// saveBeats is how often the time of the last beat is written into the record at most.
const saveBeats = 5 * time.Second

// Tally is what is counted in the record.
type Tally struct {
	ledger.Counts
	// Beats: there was a beat, the last one so long ago.
	Beats bool
	Ago   time.Duration
}

func (t Tally) String() string {
	var b strings.Builder
	b.WriteString("tally")
	for _, c := range [...]struct {
		name string
		n    uint64
	}{{"restart", t.Restarts}, {"hang", t.Hangs}, {"missed", t.Missed}, {"parent-death", t.ParentDeaths}, {"exhausted", t.Exhausted}} {
		if c.n > 0 {
			b.WriteString(" " + c.name)
		}
	}
	if t.Beats {
		fmt.Fprintf(&b, " beat %v ago", t.Ago)
	}
	return b.String()
}

// tallies is what the machine knows of its counts in the record.
type tallies struct {
	beatenAt, beatSaved time.Duration // of the last beat, and of the last one that was written
	beaten              bool          // there was a beat
	// unsettled: something was counted that neither the record nor the totals hold.
	unsettled bool
}

// tally counts something that happened. The record is written when it is saved next.
func (m *Machine) tally(c ledger.Counts) {
	if m.cfg.Record {
		m.unsettled = true
		m.out = append(m.out, Action{Kind: DoTally, Tally: Tally{Counts: c}})
	}
}

// tallyBeat notes a beat, and writes the record if that was not done for a while.
func (m *Machine) tallyBeat(now time.Duration, msg heartbeat.Message) {
	if !m.cfg.Record || msg.Beat != heartbeat.Alive && !msg.Ready {
		return
	}
	first := !m.beaten
	m.beaten, m.beatenAt = true, now
	if first || now-m.beatSaved >= saveBeats {
		m.saveTally(now)
	}
}

// saveTally writes the record with all that was counted.
func (m *Machine) saveTally(now time.Duration) {
	if !m.cfg.Record {
		return
	}
	if m.beaten {
		m.beatSaved = now
		m.out = append(m.out, Action{Kind: DoTally, Tally: Tally{Beats: true, Ago: now - m.beatenAt}})
	}
	m.out = append(m.out, Action{Kind: DoSaveRecord})
}

// settle has the last counts written where no worker follows: with the removal of the record
// they go to the totals.
func (m *Machine) settle() {
	if m.cfg.Record && m.unsettled {
		m.endRecord()
	}
}

// tallied is what a Worker counts for its record.
type tallied struct {
	counts, folded ledger.Counts
	beat           time.Time
}

func (w *tallied) tally(t Tally) {
	w.counts.Add(t.Counts)
	if t.Beats {
		w.beat = time.Now().Add(-t.Ago)
	}
}

// Tallied writes into a record what was counted.
func (w *tallied) Tallied(r *ledger.Record) { r.Counts, r.Folded, r.Beat = w.counts, w.folded, w.beat }

// Folded notes that the totals have all that was counted so far.
func (w *tallied) Folded() { w.folded = w.counts }
