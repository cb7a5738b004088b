//go:build linux

package linux

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"slices"
	"strconv"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"leash/internal/ledger"
	"leash/internal/proc"
	"leash/internal/runid"
	"leash/scan"
)

// reader reads files of /proc with a buffer of its own, so that two of them can
// read at a time.
type reader struct {
	Kernel
	proc int // /proc
	// entries are some of /proc. They are no Kernel's dents: those are used while
	// these are gone through.
	entries []byte
	found   []scan.Process
	// seen are all that were looked at, unread counts as in scan.Snapshot.
	seen   []int
	unread int
	torn   error // as in scan.Snapshot
}

// readerBuffer holds the environment and the arguments of nearly everybody.
const readerBuffer = 128 << 10

// maxArgs bounds what is kept of somebody's arguments, for people to read:
// thousands of processes may have megabytes of them.
const maxArgs = 32 << 10

// entriesBuffer is a reader's share of the table: some 150 processes.
const entriesBuffer = 4 << 10

func newReader(k *Kernel, procFD int) *reader {
	r := &reader{Kernel: *k, proc: procFD}
	r.buf, r.dents, r.entries = make([]byte, readerBuffer), nil, make([]byte, entriesBuffer)
	return r
}

// of is the path of a process's file below /proc.
func of(pid int, name string) (p path) {
	b := strconv.AppendInt(p[:0], int64(pid), 10)
	if name != "" {
		b = append(append(b, '/'), name...)
	}
	_ = b
	return p
}

// short reads a file in one read: what the files of a process give less of than
// was asked is all there is.
func (r *reader) short(pid int, name string) ([]byte, error) {
	p := of(pid, name)
	fd, err := openRetry(r.proc, &p, 0)
	if err != nil {
		r.note(pid, name, err)
		return nil, err
	}
	n, err := readRaw(fd, r.buf)
	closeRaw(fd)
	if err != nil {
		r.note(pid, name, err)
		return nil, err
	}
	if n == len(r.buf) { // a giant: begin anew, to its end
		return r.readFile(r.proc, p)
	}
	return r.buf[:n], nil
}

// note keeps that something was there and could not be read for want of means.
func (r *reader) note(pid int, name string, err error) {
	if Scarce(err) {
		r.torn = fmt.Errorf("/proc/%d/%s: %w", pid, name, err)
	}
}

// Scarce reports whether an error says that we have too little of something.
func Scarce(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM)
}

// extras are processes that are taken in though nothing in their arguments or
// environment speaks for it.
type extras struct {
	pids             map[int]bool
	groups, sessions map[int]bool
	// initial: ours is the first PID namespace, the one with kernel threads.
	initial bool
	// only processes of this user are looked at; 0 is everybody.
	only uint32
}

// initialNS is the inode of the first PID namespace (PROC_PID_INIT_INO in
// include/linux/proc_ns.h, the same in every kernel since 3.8).
const initialNS = 0xEFFFFFFC

var (
	runVariable = []byte("_RUN_ID=")
	runFlag     = []byte("-run-id")
	// watchdogName is in the command line of a watchdog and of its sentinel, both of which
	// may have a worker although nothing speaks of a run.
	watchdogName = []byte("watchdog")
)

// glance looks at one process and keeps it if it may matter. Most do not, and
// of those two files are read and nothing is kept.
func (r *reader) glance(pid int, w *extras) {
	pgid, _, _ := unix.RawSyscall(unix.SYS_GETPGID, uintptr(pid), 0, 0)
	// Kernel threads are of group 0, and so is, in other PID namespaces, who
	// came in from outside.
	if pgid == 0 && w.initial {
		return
	}
	hit := w.pids[pid] || w.groups[int(pgid)]
	if !hit && len(w.sessions) > 0 {
		sid, _, _ := unix.RawSyscall(unix.SYS_GETSID, uintptr(pid), 0, 0)
		hit = w.sessions[int(sid)]
	}
	// Of those who may not be dumped, /proc says that root owns them.
	if !hit && w.only != 0 && ownerOf(r.proc, of(pid, "")) != w.only {
		return
	}
	r.seen = append(r.seen, pid)
	var p scan.Process
	env, err := r.ofProgram(pid, "environ")
	if err == unix.EACCES || err == unix.EPERM {
		r.unread++
	}
	if err == nil && (hit || bytes.Contains(env, runVariable)) {
		hit = true
		setLabels(&p, env)
	}
	args, err := r.ofProgram(pid, "cmdline")
	ours := false // perhaps
	if err == nil && (hit || bytes.Contains(args, runFlag)) {
		hit = true
		setArgs(&p, args)
	} else if ours = err == nil && bytes.Contains(args, watchdogName); ours {
		setArgs(&p, args)
	}
	if (hit || ours) && r.complete(&p, pid) == nil && (hit || p.Leash) {
		r.found = append(r.found, p)
	}
}

// ofProgram reads environ or cmdline. Where the first thread has ended and
// others run, only those others still have them: its own environ is root's then, so
// that other users are refused (EACCES, seen on Linux 6.1 to 6.18).
func (r *reader) ofProgram(pid int, name string) ([]byte, error) {
	b, err := r.short(pid, name)
	if len(b) > 0 || err != nil && err != unix.ESRCH && err != unix.EACCES {
		return b, err
	}
	st, e := r.short(pid, "stat")
	if e != nil {
		return b, err
	}
	if info, e := ParseStat(st); e != nil || info.State != 'Z' || info.Dead() {
		return nil, err
	}
	r.eachNumber(pathIn(pid, "task"), func(tid int) {
		if tid != pid && len(b) == 0 {
			b, err = r.short(pid, "task/"+itoa(tid)+"/"+name)
		}
	})
	return b, err
}

// read reads all that is wanted of a process.
func (r *reader) read(pid int) (p scan.Process, err error) {
	if env, err := r.ofProgram(pid, "environ"); err == nil {
		setLabels(&p, env)
	}
	if args, err := r.ofProgram(pid, "cmdline"); err == nil {
		setArgs(&p, args)
	}
	return p, r.complete(&p, pid)
}

func setLabels(p *scan.Process, env []byte) {
	l := runid.ReadEnviron(env)
	p.EnvRuns, p.Worker, p.Owner = l.Runs, l.Worker, l.Owner
}

func setArgs(p *scan.Process, args []byte) {
	p.Args, p.ArgRuns, p.Guards = splitArgs(args[:min(len(args), maxArgs)]), runid.AllFromArgs(args), guardedPID(args)
}

// complete reads the rest. If the number changed hands since its labels were
// read, the start time says so: the new owner started after the look began.
func (r *reader) complete(p *scan.Process, pid int) error {
	b, err := r.short(pid, "stat")
	if err != nil {
		return goneError(err)
	}
	if err := setStat(p, b, pid); err != nil {
		return err
	}
	if b, err = r.short(pid, "status"); err != nil {
		return goneError(err)
	}
	st, err := ParseStatus(b)
	if err != nil {
		return err
	}
	p.UID, p.Memory = st.UIDs[1], st.RSS
	p.Mixed = st.UIDs[0] != st.UIDs[1] || st.UIDs[1] != st.UIDs[2]
	p.Mixed = p.Mixed || p.Owner != "" && r.raised(pid, p.UID)
	p.Foreign = st.Spaces != 1
	// The name of one installed elsewhere is taken for it, unless its environment says
	// that it is of a run. Then the file must prove it.
	dir, name := r.executable(r.proc, of(pid, "exe"))
	p.Leash = r.beside(dir, name) || leashNamed(name) && (len(p.EnvRuns) == 0 || marked(r.proc, of(pid, "exe")))
	if !p.Leash {
		p.Guards = 0
	}
	return nil
}

// raised reports whether the program was given rights by execve(2) (set-user-ID
// and the like; AT_SECURE and AT_UID in getauxval(3)) by another user than it runs as: that
// one wrote its environment.
func (r *reader) raised(pid int, uid uint32) bool {
	b, err := r.ofProgram(pid, "auxv")
	return err != nil || raisedBy(b, uid)
}

func raisedBy(auxv []byte, uid uint32) bool {
	const word = bits.UintSize / 8
	read := func(b []byte) uint64 {
		if word == 4 {
			return uint64(binary.NativeEndian.Uint32(b))
		}
		return binary.NativeEndian.Uint64(b)
	}
	secure, by := false, uint64(uid)
	for ; len(auxv) >= 2*word; auxv = auxv[2*word:] {
		switch v := read(auxv[word:]); read(auxv) {
		case auxSecure:
			secure = v != 0
		case auxUID:
			by = v
		}
	}
	return secure && by != uint64(uid)
}

// Entries of the auxiliary vector (elf.h).
const (
	auxUID    = 11
	auxSecure = 23
)

func setStat(p *scan.Process, b []byte, pid int) error {
	info, err := ParseStat(b)
	if err != nil || info.PID != pid {
		return errStat
	}
	p.Info, p.Name = info, statName(b)
	return nil
}

// goneError says ErrGone for what a process that ended leaves behind.
func goneError(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
		return proc.ErrGone
	}
	return err
}

// Table is the process table as the reaper sees it.
type Table struct {
	Kernel *Kernel
	proc   int
	boot   string
	ns     uint64
	uid    uint32
	never  []proc.Info
	wait   waiter
	// most is the highest descriptor for a handle: some are needed to read on.
	most   int
	first  *reader
	second *reader
}

// spare is how many descriptors are kept free of handles.
const spare = 8

// NewTable prepares to read the process table.
func NewTable(k *Kernel) (*Table, error) {
	dir := pathOf("/proc")
	fd, err := openRetry(unix.AT_FDCWD, &dir, unix.O_DIRECTORY)
	if err != nil {
		return nil, fmt.Errorf("/proc: %w", err)
	}
	t := &Table{Kernel: k, proc: fd, uid: uint32(os.Geteuid()), never: k.ancestors()}
	if t.boot, t.ns, err = k.here(); err != nil {
		return nil, err
	}
	t.first, t.second = newReader(k, fd), newReader(k, fd)
	var limit unix.Rlimit
	if t.most = 1 << 30; unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil && limit.Cur < 1<<30 {
		t.most = int(limit.Cur) - spare
	}
	return t, t.wait.init(k)
}

// Take looks at every process that we may judge.
func (t *Table) Take(records []ledger.Record, held []scan.Held) (*scan.Snapshot, error) {
	s := &scan.Snapshot{Boot: t.boot, NS: t.ns, UID: t.uid, Tick: t.Kernel.Tick(),
		Records: records, Held: held, Never: t.never}
	groups := t.groups(s)
	s.Partial, s.Passed = groups.partial, groups.passed
	w := t.extras(s, groups)
	if err := t.glanceAll(w); err != nil {
		return nil, err
	}
	all := slices.Concat(t.first.seen, t.second.seen)
	s.Procs = slices.Concat(t.first.found, t.second.found)
	s.Scanned, s.Unread = len(all), t.first.unread+t.second.unread
	t.addDescendants(s, all)
	for i := range s.Procs {
		p := &s.Procs[i]
		p.Inside, p.Leaf = groups.inside[p.PID], groups.leaves[p.PID]
		if w.pids[p.PID] && t.Kernel.pidfs {
			p.Inode = t.inode(p.ID)
		}
	}
	t.addAncestors(s)
	t.addParents(s)
	s.Lives = make(map[proc.ID]scan.Life)
	for _, id := range s.Named() {
		if _, ok := s.Lives[id]; !ok {
			s.Lives[id] = t.Life(id)
		}
	}
	s.Torn = cmp.Or(t.first.torn, t.second.torn)
	return s, nil
}

// extras names those whom the records speak of.
func (t *Table) extras(s *scan.Snapshot, groups *groups) *extras {
	w := &extras{pids: make(map[int]bool), groups: make(map[int]bool), sessions: make(map[int]bool),
		initial: t.ns == initialNS, only: t.uid}
	for pid := range groups.inside {
		w.pids[pid] = true
	}
	for pid := range groups.leaves {
		w.pids[pid] = true
	}
	for i := range s.Records {
		if r := &s.Records[i]; r.Boot == s.Boot && r.NS == s.NS {
			w.pids[r.Worker.PID], w.pids[r.Watchdog.PID] = true, true
			group, session := r.Leads()
			w.groups[r.Group] = w.groups[r.Group] || group
			w.sessions[r.Session] = w.sessions[r.Session] || session
		}
	}
	for _, h := range s.Held {
		w.groups[h.Group] = w.groups[h.Group] || h.Group == h.PID
		w.sessions[h.Session] = w.sessions[h.Session] || h.Session == h.PID
	}
	return w
}

// glanceAll looks at everybody: two threads that share the directory. The
// kernel gives each entry to one of them only, because it locks the position of
// an open directory.
func (t *Table) glanceAll(w *extras) error {
	if _, err := unix.Seek(t.proc, 0, 0); err != nil {
		return err
	}
	run := func(r *reader) error {
		r.found, r.seen, r.unread, r.torn = r.found[:0], r.seen[:0], 0, nil
		for {
			n, _, e := unix.RawSyscall(unix.SYS_GETDENTS64, uintptr(t.proc),
				uintptr(unsafe.Pointer(unsafe.SliceData(r.entries))), uintptr(len(r.entries)))
			if e == unix.EINTR {
				continue
			}
			if e != 0 {
				return e
			}
			if n == 0 {
				return nil
			}
			eachEntry(r.entries[:n], func(pid int) { r.glance(pid, w) })
		}
	}
	var other error
	var wg sync.WaitGroup
	wg.Go(func() { other = run(t.second) })
	err := run(t.first)
	wg.Wait()
	return cmp.Or(err, other)
}
