//go:build unix || windows

package ledger

import (
	"bytes"
	"io"
	"os"
	"strconv"

	"leash/internal/proc"
)

// The file totals holds what the watchdogs of ended workers have counted: a line for each,
// appended before its record is removed. So a reader that finds both counts it once, and no
// sum goes backwards. The lines of workers without a record become one now and then.

// maxTotals bounds the file in bytes, and manyTotals is when lines are put together.
const (
	maxTotals  = 4 << 20
	manyTotals = 64 << 10
)

// total is a line of the file; life is zero in the line of many.
type total struct {
	life
	Counts
}

// appendTotal appends a line. It begins with a line feed and ends with a dot, so that a torn
// one spoils no other and is not read itself.
func appendTotal(b []byte, t total) []byte {
	b = append(b, '\n')
	for _, n := range append([]uint64{t.ns, uint64(t.worker.PID), t.worker.Start}, t.Counts.values()...) {
		b = append(strconv.AppendUint(b, n, 10), ' ')
	}
	return append(b, ".\n"...)
}

// parseTotals parses the file. What is no whole line is passed over.
func parseTotals(b []byte) (list []total) {
	for line := range bytes.Lines(b) {
		text, whole := bytes.CutSuffix(line, []byte(" .\n"))
		if !whole {
			continue
		}
		n, ok := numbers(text, 3+len(new(Counts).fields()))
		if !ok || n[1] >= 1<<31 {
			continue
		}
		c, ok := readCounts(n[3:])
		if ok {
			list = append(list, total{life{n[0], proc.ID{PID: int(n[1]), Start: n[2]}}, c})
		}
	}
	return list
}

// together is the file with the lines of many workers as one. The workers that still have a
// record keep theirs.
func together(list []total, recorded map[life]bool) []byte {
	var sum Counts
	var b []byte
	for _, t := range list {
		if recorded[t.life] {
			b = appendTotal(b, t)
		} else {
			sum.Add(t.Counts)
		}
	}
	return appendTotal(b, total{Counts: sum})
}

// Total is the sum of what the watchdogs of a folder have counted. entries are its records,
// read before.
func Total(dir *os.File, entries []Entry) Counts {
	var sum Counts
	ended := make(map[life]bool)
	for _, t := range readTotals(dir) {
		sum.Add(t.Counts)
		ended[t.life] = true
	}
	for i := range entries {
		if r := &entries[i].Record; !ended[r.life()] {
			sum.Add(r.Counts.Less(r.Folded))
		}
	}
	return sum
}

func readTotals(dir *os.File) []total {
	f, _, err := openFile(dir, totals, maxTotals)
	if err != nil {
		return nil
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxTotals))
	if err != nil {
		return nil
	}
	return parseTotals(b)
}

// Fold adds to the totals what a worker's record has more than was folded before. It is called
// before the record is removed, and where that fails the counts are lost.
func Fold(dir *os.File, r *Record) error {
	more := r.Counts.Less(r.Folded)
	if more == (Counts{}) {
		return nil
	}
	return appendTo(dir, appendTotal(nil, total{r.life(), more}))
}
