//go:build linux

package linux

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"leash/internal/proc"
	"leash/internal/runid"
	"leash/platform/posix"
)

// searchAll lists processes that may belong to the worker's tree although no
// walk reaches them: of its group, its session, or with its labels.
func (h *Host) searchAll() []int {
	if !h.needsSearch() {
		return nil
	}
	root, label := h.tree.Worker(), labelHash(h.tree.RunID, h.tree.WorkerID)
	session := root.SID == root.PID
	var pids []int
	eachRow(h.Kernel.sharedTable(), func(r row) {
		if h.tree.Leads() && int(r.PGID) == root.PID || session && int(r.SID) == root.PID || label != 0 && r.Label == label {
			pids = append(pids, int(r.PID))
		}
	})
	return pids
}

// needsSearch reports whether anybody could be found that no walk reaches.
func (h *Host) needsSearch() bool {
	root := h.tree.Worker()
	if h.tree.RunID != "" && h.tree.WorkerID != "" || root.SID == root.PID {
		return true
	}
	return h.tree.Leads() && !errors.Is(h.worker.SignalGroup(proc.Signal{}), proc.ErrGone)
}

const (
	tableFile = "table"
	tableLock = "table.lock"
	// lockPatience bounds the wait for another's scan: he may be stopped.
	lockPatience = 500 * time.Millisecond
	lockRetry    = 5 * time.Millisecond
)

// sharedTable returns a table whose scan began after this call. When the
// parent of a thousand workers dies, a thousand watchdogs ask at once, and a
// scan by each would take minutes: so one scans and the others wait for what
// he writes into the state directory.
func (k *Kernel) sharedTable() []byte {
	asked := monotonic()
	dir, err := posix.StateDir()
	if err != nil {
		return k.scan()
	}
	defer dir.Close()
	lock := openShared(dir, tableLock)
	if lock < 0 {
		return k.scan()
	}
	defer unix.Close(lock)
	for wait := lockRetry; unix.Flock(lock, unix.LOCK_EX|unix.LOCK_NB) != nil; wait = min(2*wait, 8*lockRetry) {
		if monotonic()-asked > uint64(lockPatience) {
			return k.scan()
		}
		time.Sleep(wait)
	}
	file := openShared(dir, tableFile)
	if file < 0 {
		return k.scan()
	}
	defer unix.Close(file)
	if b := readTable(file, asked); b != nil {
		return b
	}
	b := k.scan()
	writeTable(file, b)
	return b
}

func openShared(dir *os.File, name string) int {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
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

// readTable returns the table if its scan began after asked, else nil.
func readTable(fd int, asked uint64) []byte {
	var head [headSize]byte
	if n, _ := unix.Pread(fd, head[:], 0); n < headSize || tableBegan(head[:]) <= asked || tableBegan(head[:]) > monotonic() {
		return nil
	}
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Size > maxFile {
		return nil
	}
	b := make([]byte, st.Size)
	if n, _ := unix.Pread(fd, b, 0); n != len(b) || eachRow(b, func(row) {}) != nil {
		return nil
	}
	return b
}

// writeTable writes the head last: a torn table is none.
func writeTable(fd int, b []byte) {
	var none [headSize]byte
	unix.Pwrite(fd, none[:], 0)
	unix.Ftruncate(fd, int64(len(b)))
	if n, err := unix.Pwrite(fd, b[headSize:], headSize); err == nil && n == len(b)-headSize {
		unix.Pwrite(fd, b[:headSize], 0)
	}
}

// scan reads the whole process table.
func (k *Kernel) scan() []byte {
	began := monotonic()
	var rows []row
	k.eachNumber(pathOf("/proc"), func(pid int) {
		if r, ok := k.scanOne(pid); ok {
			rows = append(rows, r)
		}
	})
	return encodeTable(began, rows)
}

const kthreadd = 2 // the parent of all kernel threads

func (k *Kernel) scanOne(pid int) (row, bool) {
	info, err := k.lookAt(pid)
	if err != nil || info.Dead() || info.PPID == kthreadd || pid == kthreadd {
		return row{}, false
	}
	r := row{PID: uint32(pid), PGID: uint32(info.PGID), SID: uint32(info.SID)}
	// Of others the kernel refuses it, unless we are root.
	if env, err := k.readFile(unix.AT_FDCWD, pathIn(pid, "environ")); err == nil {
		r.Label = labelHash(runid.FromEnviron(env))
	}
	return r, true
}

// monotonic is CLOCK_MONOTONIC in nanoseconds, the same for all processes.
func monotonic() uint64 {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) != nil {
		return 0
	}
	return uint64(ts.Nano())
}
