//go:build linux

package linux

import (
	"cmp"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"leash/internal/proc"
	"leash/internal/runid"
	"leash/internal/stop"
	"leash/platform/posix"
)

// search lists processes that may belong to a worker's tree but cannot be found by following
// parents: those in its process group, in its session, or with its labels.
func (s *System) search(t *stop.Tree) ([]int, error) {
	if !needsSearch(t) {
		return nil, nil
	}
	root, label := t.Worker(), labelHash(t.RunID, t.WorkerID)
	session := root.SID == root.PID
	var pids []int
	table, err := s.sharedTable()
	eachRow(table, func(r row) {
		if t.Leads() && int(r.PGID) == root.PID || session && int(r.SID) == root.PID || label != 0 && r.Label == label {
			pids = append(pids, int(r.PID))
		}
	})
	return pids, err
}

// needsSearch reports whether search could find any process.
func needsSearch(t *stop.Tree) bool {
	root := t.Worker()
	if t.RunID != "" && t.WorkerID != "" || root.SID == root.PID {
		return true
	}
	return t.Leads() && !errors.Is(t.Root.SignalGroup(proc.Signal{}), proc.ErrGone)
}

const (
	tableFile = "table"
	tableNew  = "table.new"
	tableLock = "table.lock"
	// gather is how long a search waits before it starts. When the parent of a thousand
	// workers exits, watchdogs that have not sent their first signal yet need the processor
	// more, and one scan then serves many.
	gather = 20 * time.Millisecond
	// patience is how long to wait for one scan by another process, which may be stopped.
	patience = 3 * time.Second
)

// sharedTable returns a table whose scan began after this call. When a thousand watchdogs need
// one at the same time, not each should scan: the process that gets the lock scans and writes
// the table to the state directory for the others. An error says that processes may be
// missing; such a table is not shared.
func (k *Kernel) sharedTable() ([]byte, error) {
	asked := monotonic()
	dir, err := posix.StateDir()
	if err != nil || k.alone || k.loop != nil && k.loop.set != nil { // waiting for the lock needs a timer
		return k.scan()
	}
	defer dir.Close()
	lock := openShared(dir, tableLock, unix.O_CREAT)
	if lock < 0 {
		return k.scan()
	}
	defer unix.Close(lock)
	pause(gather)
	if !lockWhile(lock, func() uint64 { _, began := readTable(dir); return began }) {
		k.alone = true
		return k.scan()
	}
	if b, began := readTable(dir); began > asked && began <= monotonic() {
		return b, nil
	}
	b, err := k.scan()
	if err == nil {
		writeTable(dir, b)
	}
	return b, err
}

// lockWhile takes the lock, and waits for it as long as its holder makes progress. The kernel
// queues the waiting processes; if a thousand of them polled instead, the holder would get no
// processor time.
func lockWhile(lock int, progress func() uint64) bool {
	granted := make(chan struct{}, 1)
	go func() {
		for unix.Flock(lock, unix.LOCK_EX) == unix.EINTR {
		}
		granted <- struct{}{}
	}()
	for last := progress(); ; {
		select {
		case <-granted:
			return true
		case <-time.After(patience):
		}
		now := progress()
		if now == last {
			return false
		}
		last = now
	}
}

// openShared opens a regular file of our own in the state directory.
func openShared(dir *os.File, name string, flags int) int {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC|flags, 0o600)
	if err != nil {
		return -1
	}
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || int(st.Uid) != os.Geteuid() {
		unix.Close(fd)
		return -1
	}
	return fd
}

// readTable returns the latest table and when its scan began; 0 if there is none.
func readTable(dir *os.File) (b []byte, began uint64) {
	fd := openShared(dir, tableFile, 0)
	if fd < 0 {
		return nil, 0
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Size > maxFile {
		return nil, 0
	}
	b = make([]byte, st.Size)
	if n, _ := unix.Pread(fd, b, 0); n != len(b) || eachRow(b, func(row) {}) != nil {
		return nil, 0
	}
	return b, tableBegan(b)
}

// writeTable writes a new file and renames it, so that readers need no lock; the writer holds
// it. If that fails, other processes scan for themselves.
func writeTable(dir *os.File, b []byte) {
	unix.Unlinkat(int(dir.Fd()), tableNew, 0)
	fd := openShared(dir, tableNew, unix.O_CREAT|unix.O_EXCL)
	if fd < 0 {
		return
	}
	n, err := unix.Write(fd, b)
	unix.Close(fd)
	if err == nil && n == len(b) {
		unix.Renameat(int(dir.Fd()), tableNew, int(dir.Fd()), tableFile)
	}
}

// scan reads the whole process table. An error says that a process could not be read for lack
// of descriptors or memory.
func (k *Kernel) scan() ([]byte, error) {
	began := monotonic()
	var rows []row
	var torn error
	err := k.eachNumber(pathOf("/proc"), func(pid int) {
		r, ok, err := k.scanOne(pid)
		if ok {
			rows = append(rows, r)
		}
		if Scarce(err) {
			torn = err
		}
	})
	return encodeTable(began, rows), cmp.Or(err, torn)
}

const kthreadd = 2 // the parent of all kernel threads

func (k *Kernel) scanOne(pid int) (r row, ok bool, err error) {
	info, err := k.statOf(pid)
	if err != nil || info.Dead() || info.PPID == kthreadd || pid == kthreadd {
		return row{}, false, err
	}
	r = row{PID: uint32(pid), PGID: uint32(info.PGID), SID: uint32(info.SID)}
	// The kernel refuses other users' environments, unless we are root.
	env, err := k.readFile(unix.AT_FDCWD, pathIn(pid, "environ"))
	if err == nil {
		r.Label = labelHash(runid.FromEnviron(env))
	}
	return r, true, err
}

// monotonic is CLOCK_MONOTONIC in nanoseconds, which is the same in all processes.
func monotonic() uint64 {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) != nil {
		return 0
	}
	return uint64(ts.Nano())
}
