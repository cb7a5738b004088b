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
	"runtime"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"leash/internal/ledger"
	"leash/internal/proc"
	"leash/internal/runid"
	"leash/internal/snapshot"
)

// reader reads files of /proc into a buffer of its own, so that two of them can read at the
// same time.
type reader struct {
	Kernel
	proc int // /proc
	// entries are some of /proc. Kernel.dents cannot be used: it is overwritten meanwhile.
	entries []byte
	found   []snapshot.Process
	// seen are all PIDs that were read; unread counts as in snapshot.Snapshot.
	seen   []int
	unread int
	// asked is the group whose session was read last, and inSession whether that is one of
	// extras: all processes of a group are in one session.
	asked     int
	inSession bool
	torn      error // Snapshot.Incomplete
}

// readerBuffer is enough for the environment and the arguments of nearly every process.
const readerBuffer = 128 << 10

// maxArgs bounds what is kept of a process's arguments for reports: thousands of processes may
// have megabytes of them.
const maxArgs = 32 << 10

// entriesBuffer is a reader's share of the table: some 40 processes, so that neither reader is
// left with many at the end.
const entriesBuffer = 1 << 10

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

// short reads a file with one read(2): if a file of a process returns less than was requested,
// that is all of it.
func (r *reader) short(pid int, name string) ([]byte, error) {
	p := of(pid, name)
	fd, err := openRetry(r.proc, &p, 0)
	if err != nil {
		r.note(pid, name, err)
		return nil, err
	}
	n, err := readRetry(fd, r.buf)
	unix.Close(fd)
	if err != nil {
		r.note(pid, name, err)
		return nil, err
	}
	if n == len(r.buf) { // a large one: start again, and read to its end
		return r.readFile(r.proc, p)
	}
	return r.buf[:n], nil
}

// note records that a file could not be read for lack of descriptors or memory.
func (r *reader) note(pid int, name string, err error) {
	if Scarce(err) {
		r.torn = fmt.Errorf("/proc/%d/%s: %w", pid, name, err)
	}
}

// Scarce reports whether an error says that descriptors or memory are lacking.
func Scarce(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM)
}

// extras are snapshot.Extras, and which other processes are read.
type extras struct {
	snapshot.Extras
	// initial: ours is the first PID namespace, the one with kernel threads.
	initial bool
	// only limits the scan to processes of this user; 0 is all.
	only uint32
}

// initialNS is the inode of the first PID namespace (PROC_PID_INIT_INO in
// include/linux/proc_ns.h, the same in every kernel since 3.8).
const initialNS = 0xEFFFFFFC

var (
	runVariable = []byte("_RUN_ID=")
	runFlag     = []byte("-run-id")
	// watchdogName is in the command line of a watchdog and of its sentinel. Either may have a
	// worker although neither its arguments nor its environment name a run.
	watchdogName = []byte("watchdog")
)

// inspect reads one process and keeps it if it may matter. Of most processes two files are
// read and nothing is kept.
func (r *reader) inspect(pid int, x *extras) {
	// Raw, because it does not block: without the scheduler's bookkeeping for this call,
	// ownerOf and executable, a scan of 3,000 processes takes 145 ms of processor time, not
	// 152.
	pgid, _, _ := unix.RawSyscall(unix.SYS_GETPGID, uintptr(pid), 0, 0)
	// Kernel threads are in group 0, and so are, in other PID namespaces, processes that
	// entered from outside.
	if pgid == 0 && x.initial {
		return
	}
	hit := x.PIDs[pid] || x.Groups[int(pgid)]
	if !hit && len(x.Sessions) > 0 {
		if r.asked != int(pgid) {
			sid, _, e := unix.RawSyscall(unix.SYS_GETSID, uintptr(pid), 0, 0)
			if r.asked, r.inSession = int(pgid), x.Sessions[int(sid)]; e != 0 { // it has ended
				r.asked = 0
			}
		}
		hit = r.inSession
	}
	// /proc shows root as the owner of a process that is not dumpable (proc(5)).
	if !hit && x.only != 0 && ownerOf(r.proc, of(pid, "")) != x.only {
		return
	}
	r.seen = append(r.seen, pid)
	var p snapshot.Process
	env, err := r.ofProgram(pid, "environ")
	if err == unix.EACCES || err == unix.EPERM {
		r.unread++
	}
	if err == nil && (hit || bytes.Contains(env, runVariable)) {
		hit = true
		setLabels(&p, env)
	}
	args, err := r.ofProgram(pid, "cmdline")
	ours := false // may be of a program of ours
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

// ofProgram reads environ or cmdline. If the first thread has ended and others run, only the
// others still have them: the environ of the first belongs to root then, and other users are
// refused (EACCES, seen on Linux 6.1 to 6.18).
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

// read reads all that a snapshot holds of a process.
func (r *reader) read(pid int) (p snapshot.Process, err error) {
	if env, err := r.ofProgram(pid, "environ"); err == nil {
		setLabels(&p, env)
	}
	if args, err := r.ofProgram(pid, "cmdline"); err == nil {
		setArgs(&p, args)
	}
	return p, r.complete(&p, pid)
}

func setLabels(p *snapshot.Process, env []byte) {
	l := runid.ReadEnviron(env)
	p.EnvRuns, p.Worker, p.Owner = l.Runs, l.Worker, l.Owner
}

func setArgs(p *snapshot.Process, args []byte) {
	p.Args, p.ArgRuns, p.Guards = snapshot.SplitArgs(args[:min(len(args), maxArgs)]), runid.AllFromArgs(args), snapshot.GuardedPID(snapshot.SplitArgs(args))
}

// complete reads the rest. If the PID became another process's after its labels were read, the
// start time shows it: that process started after the scan began.
func (r *reader) complete(p *snapshot.Process, pid int) error {
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
	p.UID = st.UIDs[1]
	p.Mixed = st.UIDs[0] != st.UIDs[1] || st.UIDs[1] != st.UIDs[2]
	p.Mixed = p.Mixed || p.Owner != "" && r.raised(pid, p.UID)
	p.Foreign = st.Spaces != 1
	// A program that is installed elsewhere is known by its name, unless its environment names
	// a run. Then the file itself must carry our mark.
	dir, name := r.executable(r.proc, of(pid, "exe"))
	p.Leash = r.beside(dir, name) || leashNamed(name) && (len(p.EnvRuns) == 0 || marked(r.proc, of(pid, "exe")))
	if !p.Leash {
		p.Guards = 0
	}
	return nil
}

// raised reports whether the program got its privileges by execve(2) (set-user-ID and the
// like; AT_SECURE and AT_UID in getauxval(3)) from another user than it runs as: that user
// wrote its environment.
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

func setStat(p *snapshot.Process, b []byte, pid int) error {
	info, err := ParseStat(b)
	if err != nil || info.PID != pid {
		return errStat
	}
	p.Info, p.Name = info, statName(b)
	return nil
}

// goneError turns the errors that reading an ended process returns into proc.ErrGone.
func goneError(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
		return proc.ErrGone
	}
	return err
}

// Table is the process table that the reaper reads.
type Table struct {
	Kernel *Kernel
	proc   int
	boot   string
	ns     uint64
	uid    uint32
	never  []proc.Info
	wait   waiter
	// most is the highest descriptor for a handle: some must be left for reading.
	most   int
	first  *reader
	second *reader
}

// spare is how many descriptors are kept free for reading.
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

// Take reads every process that may be judged.
func (t *Table) Take(records []ledger.Record, held []snapshot.Held) (*snapshot.Snapshot, error) {
	s := &snapshot.Snapshot{Boot: t.boot, NS: t.ns, UID: t.uid, Tick: t.Kernel.Tick(),
		Records: records, Held: held, Protected: t.never}
	groups := t.groups(s)
	s.Partial, s.Passed = groups.partial, groups.passed
	x := t.extras(s, groups)
	if err := t.inspectAll(x); err != nil {
		return nil, err
	}
	all := slices.Concat(t.first.seen, t.second.seen)
	s.Procs = slices.Concat(t.first.found, t.second.found)
	s.Scanned, s.Unread = len(all), t.first.unread+t.second.unread
	t.addDescendants(s, all)
	for i := range s.Procs {
		p := &s.Procs[i]
		p.Inside, p.Leaf = groups.inside[p.PID], groups.leaves[p.PID]
		if x.PIDs[p.PID] && t.Kernel.pidfs {
			p.Inode = t.inode(p.ID)
		}
	}
	t.addAncestors(s)
	t.addParents(s)
	s.FillLives(t.Life)
	s.Incomplete = cmp.Or(t.first.torn, t.second.torn)
	return s, nil
}

// extras lists the processes that are included although neither their arguments nor their
// environment name a run.
func (t *Table) extras(s *snapshot.Snapshot, groups *groups) *extras {
	x := &extras{Extras: s.Extras(), initial: t.ns == initialNS, only: t.uid}
	for pid := range groups.inside {
		x.PIDs[pid] = true
	}
	for pid := range groups.leaves {
		x.PIDs[pid] = true
	}
	return x
}

// inspectAll inspects every process with two threads that share the directory. The kernel
// gives each entry to one of them only, because it locks the position of an open directory.
func (t *Table) inspectAll(x *extras) error {
	if _, err := unix.Seek(t.proc, 0, 0); err != nil {
		return err
	}
	run := func(r *reader) error {
		r.found, r.seen, r.unread, r.torn, r.asked = r.found[:0], r.seen[:0], 0, nil, 0
		for {
			n, err := unix.Getdents(t.proc, r.entries)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return err
			}
			if n == 0 {
				return nil
			}
			eachEntry(r.entries[:n], func(pid int) { r.inspect(pid, x) })
			runtime.Gosched()
		}
	}
	// The runtime takes the P of a system call that its monitor sees twice if no P is idle, or
	// if the goroutine has run for 10 ms (retake in runtime/proc.go), and wakes the monitor
	// every 20 µs from then on. With a P to spare and a goroutine that yields, a scan of 5,000
	// processes switches threads 150 times, not 1,300, and takes 162 ms of processor time, not
	// 185.
	if procs := runtime.GOMAXPROCS(0); procs < 3 {
		runtime.GOMAXPROCS(3)
		defer runtime.GOMAXPROCS(procs)
	}
	var other error
	var wg sync.WaitGroup
	wg.Go(func() { other = run(t.second) })
	err := run(t.first)
	wg.Wait()
	return cmp.Or(err, other)
}
