// Package ledger keeps one small file per guarded worker, so that processes that dead
// watchdogs left can be found even without labels.
//
// No file is synced to disk: after a power failure all records are of an earlier boot, and
// may be removed anyway.
package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"time"

	"leash/internal/proc"
	"leash/internal/runid"
)

// Record says which watchdog guards which worker, and for which parents.
type Record struct {
	RunID, WorkerID string
	// Parents are the processes at whose exit the worker is ended; none with a lifeline
	// only.
	Parents          []proc.ID
	Watchdog, Worker proc.ID
	// Group and Session are the worker's process group and session.
	Group, Session int
	// Cgroup is the directory of the worker's own cgroup; empty if it has none.
	Cgroup string
	// Boot and NS are the boot and the PID namespace of all the PIDs (see package owner).
	Boot string
	NS   uint64
	// Ending: the watchdog is ending the worker.
	Ending  bool
	Started time.Time // of the watch, to the millisecond
	// Seen is when the worker was last known to live, in the unit of proc.ID.Start. Until
	// then its PID, and a group and session with that ID, were its own.
	Seen uint64
	// Beat is when the last heartbeat came, a few seconds late at most; zero without any.
	Beat time.Time
	// Counts are of all workers of this watchdog, Folded is what of them the totals hold.
	Counts, Folded Counts

	// UID owns the file; set when it was read.
	UID uint32
	// Part, from 1 on, tells the records of a watchdog of several workers apart. It is in the
	// name of the file alone.
	Part int
}

const (
	head = "leash 1\n"
	// maxSize bounds a file in bytes, and with maxFiles what another user can make root
	// read. A worker ID and a path of 4 KiB each, and some parents, fit.
	maxSize = 16 << 10
	// maxParents bounds how many processes the reaper must read because of one file.
	maxParents = 16
)

var errRecord = errors.New("not a record of this version")

// Append appends the text of the record's file: a line for each field, and last a checksum
// by which a truncated file is detected.
func (r *Record) Append(b []byte) []byte {
	from := len(b)
	b = append(b, head...)
	quoted := func(name, value string) {
		b = strconv.AppendQuoteToASCII(append(append(b, name...), ' '), value)
		b = append(b, '\n')
	}
	number := func(name string, values ...uint64) {
		b = append(b, name...)
		for _, v := range values {
			b = strconv.AppendUint(append(b, ' '), v, 10)
		}
		b = append(b, '\n')
	}
	id := func(name string, id proc.ID) { number(name, uint64(id.PID), id.Start, id.Inode) }
	quoted("run", r.RunID)
	quoted("worker-id", r.WorkerID)
	for _, p := range r.Parents {
		id("parent", p)
	}
	id("watchdog", r.Watchdog)
	id("worker", r.Worker)
	number("group", uint64(r.Group))
	number("session", uint64(r.Session))
	quoted("cgroup", r.Cgroup)
	quoted("boot", r.Boot)
	number("pid-namespace", r.NS)
	ending := uint64(0)
	if r.Ending {
		ending = 1
	}
	number("ending", ending)
	number("started-ms", uint64(r.Started.UnixMilli()))
	number("seen", r.Seen)
	// Left out where there are none, as all versions wrote it before they were counted.
	if !r.Beat.IsZero() {
		number("beat-ms", uint64(r.Beat.UnixMilli()))
	}
	if r.Counts != (Counts{}) {
		number("counts", r.Counts.values()...)
		number("folded", r.Folded.values()...)
	}
	number("sum", checksum(b[from:]))
	return b
}

// checksum is 64-bit FNV-1a: each step is a bijection of the state, so that every change of
// a single byte is detected. Package hash/crc32 would make a table of 8 KiB in every
// watchdog.
func checksum(b []byte) uint64 {
	h := fnv.New64a()
	h.Write(b)
	return h.Sum64()
}

// Parse parses the text that Append writes. Any other text is an error.
func Parse(b []byte) (Record, error) {
	var r Record
	if len(b) > maxSize {
		return r, fmt.Errorf("larger than %d bytes: %w", maxSize, errRecord)
	}
	last := bytes.LastIndex(b, []byte("\nsum ")) + 1
	if !bytes.HasPrefix(b, []byte(head)) || last == 0 {
		return r, errRecord
	}
	sum, ok := numbers(bytes.TrimSuffix(b[last+len("sum "):], []byte("\n")), 1)
	if !ok || b[len(b)-1] != '\n' || sum[0] != checksum(b[:last]) {
		return r, fmt.Errorf("torn: %w", errRecord)
	}
	for line := range bytes.Lines(b[len(head):last]) {
		name, value, _ := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(" "))
		if !r.set(string(name), value) {
			return r, fmt.Errorf("line %q: %w", name, errRecord)
		}
	}
	if err := r.check(); err != nil {
		return r, err
	}
	if !bytes.Equal(r.Append(make([]byte, 0, len(b))), b) { // a line is missing, or there twice
		return r, fmt.Errorf("not as it is written: %w", errRecord)
	}
	return r, nil
}

func (r *Record) set(name string, value []byte) (ok bool) {
	switch name {
	case "run":
		r.RunID, ok = unquote(value)
	case "worker-id":
		r.WorkerID, ok = unquote(value)
	case "cgroup":
		r.Cgroup, ok = unquote(value)
	case "boot":
		r.Boot, ok = unquote(value)
	case "parent":
		var p proc.ID
		p, ok = identity(value)
		r.Parents = append(r.Parents, p)
	case "counts", "folded":
		var c Counts
		list, fits := numbers(value, len(c.fields()))
		if c, ok = readCounts(list); name == "counts" {
			r.Counts = c
		} else {
			r.Folded = c
		}
		return ok && fits
	case "watchdog":
		r.Watchdog, ok = identity(value)
	case "worker":
		r.Worker, ok = identity(value)
	default:
		n, fits := numbers(value, 1)
		return fits && r.setNumber(name, n[0])
	}
	return ok
}

func (r *Record) setNumber(name string, n uint64) bool {
	switch name {
	case "group":
		r.Group = int(n)
		return n < 1<<31
	case "session":
		r.Session = int(n)
		return n < 1<<31
	case "pid-namespace":
		r.NS = n
	case "ending":
		r.Ending = n == 1
		return n <= 1
	case "started-ms":
		r.Started = time.UnixMilli(int64(n))
		return n < 1<<53
	case "seen":
		r.Seen = n
	case "beat-ms":
		r.Beat = time.UnixMilli(int64(n))
		return n < 1<<53
	default:
		return false
	}
	return true
}

// check returns an error for values that no watchdog writes.
func (r *Record) check() error {
	switch {
	case !runid.Valid(r.RunID):
		return fmt.Errorf("no run ID: %w", errRecord)
	case r.Worker.PID <= 1 || r.Watchdog.PID < 1 || r.Worker.Start == 0:
		return fmt.Errorf("no worker or no watchdog: %w", errRecord)
	case len(r.Parents) > maxParents:
		return fmt.Errorf("more than %d parents: %w", maxParents, errRecord)
	case r.Boot == "":
		return fmt.Errorf("no boot ID: %w", errRecord)
	}
	return nil
}

func identity(b []byte) (proc.ID, bool) {
	n, ok := numbers(b, 3)
	if !ok || n[0] >= 1<<31 {
		return proc.ID{}, false
	}
	return proc.ID{PID: int(n[0]), Start: n[1], Inode: n[2]}, true
}

func numbers(b []byte, count int) ([]uint64, bool) {
	f := bytes.Split(b, []byte(" "))
	n := make([]uint64, 0, count)
	for _, w := range f {
		v, err := strconv.ParseUint(string(w), 10, 64)
		if err != nil {
			return make([]uint64, count), false
		}
		n = append(n, v)
	}
	return n, len(n) == count
}

func unquote(b []byte) (string, bool) {
	s, err := strconv.Unquote(string(b))
	return s, err == nil && len(b) > 0 && b[0] == '"'
}

// Name is the file name of the watchdog's record, unique in this boot.
func (r *Record) Name() string {
	return strconv.FormatUint(r.NS, 10) + "-" + strconv.Itoa(r.Watchdog.PID) + "-" +
		strconv.FormatUint(r.Watchdog.Start, 10) + r.part() + suffix
}

func (r *Record) part() string {
	if r.Part == 0 {
		return ""
	}
	return "-" + strconv.Itoa(r.Part)
}

// Writer parses a record's file name, finished or not.
func Writer(name string) (ns uint64, watchdog proc.ID, ok bool) {
	ns, watchdog, _, ok = parseName(name)
	return ns, watchdog, ok
}

// partOf is the part in a record's file name; 0 if there is none.
func partOf(name string) int {
	_, _, part, _ := parseName(name)
	return part
}

func parseName(name string) (ns uint64, watchdog proc.ID, part int, ok bool) {
	f := strings.Split(strings.TrimSuffix(strings.TrimSuffix(name, torn), suffix), "-")
	if len(f) == 4 {
		n, err := strconv.ParseUint(f[3], 10, 31)
		if err != nil || n == 0 {
			return 0, watchdog, 0, false
		}
		f, part = f[:3], int(n)
	}
	if len(f) != 3 {
		return 0, watchdog, 0, false
	}
	ns, err1 := strconv.ParseUint(f[0], 10, 64)
	pid, err2 := strconv.ParseUint(f[1], 10, 31)
	start, err3 := strconv.ParseUint(f[2], 10, 64)
	return ns, proc.ID{PID: int(pid), Start: start}, part, err1 == nil && err2 == nil && err3 == nil && pid > 0
}

const (
	suffix = ".worker"
	// torn is what a file is called until it is whole.
	torn = ".new"
)

// Leads reports whether the worker leads its group and its session.
func (r *Record) Leads() (group, session bool) {
	return r.Group == r.Worker.PID, r.Session == r.Worker.PID
}
