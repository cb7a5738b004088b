//go:build linux

package linux

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"leash/internal/ledger"
	"leash/internal/proc"
	"leash/internal/snapshot"
)

const (
	// maxSubgroups bounds how many cgroups below the leaves of one user are read in one scan:
	// a user can create any number of them.
	maxSubgroups = 4096
	// maxNaming bounds how many records of one cgroup count: normally there is one.
	maxNaming = 8
	// maxNested bounds how many records name one process by its cgroup.
	maxNested = 64
	// maxEntries bounds how many entries of our own cgroup are read.
	maxEntries = 100_000
)

// groups is what one scan finds in cgroups.
type groups struct {
	inside  map[int][]int          // by PID, the records that name the cgroup it is in
	leaves  map[int]*snapshot.Leaf // by PID, the leaf of a dead watchdog that it is in
	left    map[uint32]int         // by user, how many more subgroups may be read
	partial map[string]bool
	passed  []error
}

// groups reads the cgroups that records name, each once, and those of dead watchdogs beside
// our own.
func (t *Table) groups(s *snapshot.Snapshot) *groups {
	g := &groups{inside: make(map[int][]int), leaves: make(map[int]*snapshot.Leaf), left: make(map[uint32]int),
		partial: make(map[string]bool)}
	var paths []string
	naming := make(map[string][]int)
	point := ""
	for n := range s.Records {
		r := &s.Records[n]
		if r.Cgroup == "" || r.Boot != s.Boot || r.NS != s.NS {
			continue
		}
		if point == "" {
			if point = t.mountPoint(); point == "" {
				break
			}
		}
		if !leafAt(r, point) {
			continue
		}
		switch list := naming[r.Cgroup]; {
		case len(list) == 0:
			paths = append(paths, r.Cgroup)
			fallthrough
		case len(list) < maxNaming:
			naming[r.Cgroup] = append(list, n)
		case !g.partial[r.Cgroup]:
			g.partial[r.Cgroup] = true
			g.pass("%s: more than %d records name it: the others are passed over", r.Cgroup, maxNaming)
		}
	}
	for _, dir := range paths {
		records := naming[dir]
		g.walk(dir, s.Records[records[0]].UID, func(pid int) {
			switch was := g.inside[pid]; {
			case len(was) == 0:
				g.inside[pid] = records
			case len(was) < maxNested: // a leaf in a leaf
				g.inside[pid] = slices.Concat(was, records)
			}
		})
	}
	t.leaves(g, naming)
	return g
}

func (g *groups) pass(format string, args ...any) {
	g.passed = append(g.passed, fmt.Errorf(format, args...))
}

// walk calls f for each process of a cgroup and of those below it. It reads at most
// maxSubgroups of one user: the processes in the others are unknown.
func (g *groups) walk(top string, uid uint32, f func(pid int)) {
	if _, ok := g.left[uid]; !ok {
		g.left[uid] = maxSubgroups
	}
	todo := []string{top}
	for len(todo) > 0 {
		dir := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		pids, err := procsIn(dir)
		for _, pid := range pids {
			f(pid)
		}
		if err != nil && !vanished(err) {
			g.miss(top, err)
		}
		err = eachFolder(dir, func(name string) bool {
			if g.left[uid] == 0 {
				return false
			}
			g.left[uid]--
			todo = append(todo, dir+"/"+name)
			return true
		})
		if err != nil {
			g.miss(top, err)
		}
	}
}

// miss notes that a cgroup was not read completely.
func (g *groups) miss(top string, err error) {
	if !g.partial[top] {
		g.partial[top] = true
		g.pass("%s: not read to the end, and what else is in it is unknown: %w", top, err)
	}
}

var errMany = errors.New("its user has too many cgroups")

func vanished(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) // removed while we had it open
}

// eachFolder calls f for each folder in a folder until it returns false, which gives errMany.
// It does not use package os, which polls the files that it opens: where epoll is refused that
// crashes the program (see pollSet).
func eachFolder(dir string, f func(name string) bool) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		if vanished(err) {
			return nil
		}
		return &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	buf := make([]byte, 16<<10)
	for {
		n, err := unix.Getdents(fd, buf)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil && vanished(err), err == nil && n == 0:
			return nil
		case err != nil:
			return &fs.PathError{Op: "getdents64", Path: dir, Err: err}
		}
		for b := buf[:n]; len(b) > direntName; {
			size := int(binary.NativeEndian.Uint16(b[16:]))
			if size <= direntName || size > len(b) {
				break
			}
			name, kind := unix.ByteSliceToString(b[direntName:size]), b[18]
			if b = b[size:]; kind == unix.DT_DIR && name != "." && name != ".." && !f(name) {
				return errMany
			}
		}
	}
}

// procsIn lists the processes in a cgroup, without those in its subgroups.
func procsIn(dir string) ([]int, error) {
	fd, err := unix.Open(dir+"/cgroup.procs", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	f := os.NewFile(uintptr(fd), dir)
	defer f.Close()
	b, err := io.ReadAll(f)
	return ParsePIDs(b, nil), err
}

// direntName is the offset of the name in struct linux_dirent64 (getdents64(2)).
const direntName = 19

// leaves finds the processes in the leaves of dead watchdogs below and beside our own cgroup: a watchdog
// that was killed before it wrote a record left no other trace.
func (t *Table) leaves(g *groups, recorded map[string][]int) {
	for _, base := range t.leafFolders() {
		n := 0
		err := eachFolder(base, func(name string) bool {
			n++
			if l := t.deadLeaf(base, name); l != nil && recorded[base+"/"+name] == nil {
				g.leaf(base+"/"+name, l, t.deadLeaf)
			}
			return n < maxEntries
		})
		if err != nil {
			g.pass("%s: not read to the end: %w", base, err)
		}
	}
}

// deadLeaf describes a leaf if its watchdog is certainly dead, and was in our PID namespace.
// Only root considers another user's leaf.
func (t *Table) deadLeaf(dir, name string) *snapshot.Leaf {
	ns, pid, tick, ok := leafOf(name)
	if !ok || ns != t.ns {
		return nil
	}
	if info, err := t.Kernel.lookAt(pid); err == nil && !info.Dead() && info.Start <= tick || !t.leafless(pid, tick) {
		return nil // one read decides nearly always
	}
	var st unix.Stat_t
	if unix.Lstat(dir+"/"+name, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR || t.uid != 0 && st.Uid != t.uid {
		return nil
	}
	return &snapshot.Leaf{Name: name, UID: st.Uid, PID: pid, Tick: tick}
}

// leaf notes the processes in a leaf. Those in a leaf below it belong to that one alone.
func (g *groups) leaf(top string, l *snapshot.Leaf, deadLeaf func(dir, name string) *snapshot.Leaf) {
	type folder struct {
		path string
		leaf *snapshot.Leaf
	}
	if _, ok := g.left[l.UID]; !ok {
		g.left[l.UID] = maxSubgroups
	}
	todo := []folder{{top, l}}
	for len(todo) > 0 {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		pids, _ := procsIn(at.path)
		for _, pid := range pids {
			g.leaves[pid] = at.leaf
		}
		err := eachFolder(at.path, func(name string) bool {
			if g.left[l.UID] == 0 {
				return false
			}
			g.left[l.UID]--
			switch {
			case !strings.HasPrefix(name, leafPrefix):
				todo = append(todo, folder{at.path + "/" + name, at.leaf})
			default:
				if below := deadLeaf(at.path, name); below != nil {
					todo = append(todo, folder{at.path + "/" + name, below})
				}
			}
			return true
		})
		if err != nil {
			g.miss(top, err)
		}
	}
}

// mountPoint is where cgroup v2 is mounted.
func (t *Table) mountPoint() string {
	b, err := t.Kernel.readFile(unix.AT_FDCWD, pathOf("/proc/self/mountinfo"))
	if err != nil {
		return ""
	}
	_, point := cgroup2Mount(b)
	return point
}

// leafAt reports whether a record names a cgroup such as its watchdog makes. The record may be
// hostile, and no other cgroup may be read or removed.
func leafAt(r *ledger.Record, point string) bool {
	dir, name := filepath.Split(r.Cgroup)
	if point == "" || filepath.Clean(r.Cgroup) != r.Cgroup || !strings.HasPrefix(dir, point+"/") ||
		!isLeaf(name, r.NS, r.Watchdog.PID) {
		return false
	}
	var st unix.Stat_t
	return unix.Lstat(r.Cgroup, &st) == nil && st.Uid == r.UID && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

// addAncestors adds all ancestors of the processes in the leaves of dead watchdogs: another
// watchdog, or a sentinel, may be among them.
func (t *Table) addAncestors(s *snapshot.Snapshot) {
	known, todo := make(map[int]bool, len(s.Procs)), []int{}
	parents := make(map[int]int, len(s.Procs))
	for i := range s.Procs {
		p := &s.Procs[i]
		known[p.PID], parents[p.PID] = true, p.PPID
		if p.Leaf != nil {
			todo = append(todo, p.PID)
		}
	}
	done := make(map[int]bool)
	for _, pid := range todo {
		for pid = parents[pid]; pid > 1 && !done[pid]; pid = parents[pid] {
			done[pid] = true
			if known[pid] {
				continue
			}
			up, err := t.first.read(pid)
			if err != nil {
				break
			}
			parents[pid] = up.PPID
			s.Procs = append(s.Procs, up)
		}
	}
}

// namespaces are the PID namespaces that have a process, by inode. complete: there are no
// others. Any other has ended for ever then, for a namespace without a process has lost its
// init and takes no new process (pid_namespaces(7)).
type namespaces struct {
	living   map[uint64]bool
	complete bool
}

// namespaces reads every process. Only root in the first PID namespace sees all of them. A
// process that it may not read (ptrace(2), PTRACE_MODE_READ) must at least be shown to be in
// ours.
func (t *Table) namespaces() namespaces {
	n := namespaces{living: map[uint64]bool{t.ns: true}}
	if t.uid != 0 || t.ns != initialNS {
		return n
	}
	// If /proc hides processes, only a process that sees all of them can read init's
	// namespace.
	if ns, err := t.Kernel.namespaceOf(1); t.hiding() && (err != nil || ns != t.ns) {
		return n
	}
	var pids []int
	if eachFolder("/proc", func(name string) bool {
		if pid, ok := number([]byte(name)); ok {
			pids = append(pids, int(pid))
		}
		return true
	}) != nil {
		return n
	}
	for _, pid := range pids {
		ns, err := t.Kernel.namespaceOf(pid)
		switch {
		case err == nil && ns != t.ns:
			// A zombie's namespace is shown too; if its init is a zombie, it has ended.
			if info, err := t.Kernel.lookAt(pid); err != nil && !errors.Is(goneError(err), proc.ErrGone) || err == nil && !info.Dead() {
				n.living[ns] = true
			}
		case err == nil:
		case !errors.Is(err, proc.ErrGone) && !t.Kernel.sameNamespace(unix.AT_FDCWD, pathIn(pid, "status")):
			return n // its namespace is unknown
		}
	}
	n.complete = true
	return n
}

// hiding reports whether /proc may hide other users' processes (hidepid in proc(5)).
func (t *Table) hiding() bool {
	b, err := t.Kernel.readFile(unix.AT_FDCWD, pathOf("/proc/self/mountinfo"))
	return err != nil || hidesProcesses(b)
}

// hidesProcesses parses the options of the last file system that was mounted on /proc
// (proc_pid_mountinfo(5)).
func hidesProcesses(mountinfo []byte) (hides bool) {
	hides = true
	for line := range bytes.Lines(mountinfo) {
		left, right, _ := bytes.Cut(line, []byte(" - "))
		if f := bytes.Fields(left); len(f) >= 5 && string(f[4]) == "/proc" {
			hides = !bytes.HasPrefix(right, []byte("proc ")) || bytes.Contains(right, []byte("hidepid="))
		}
	}
	return hides
}

// NamespaceEnded returns a function that reports whether a PID namespace has certainly ended.
// The function reads the processes when it is first called.
func (t *Table) NamespaceEnded() func(ns uint64) bool {
	read := sync.OnceValue(t.namespaces)
	return func(ns uint64) bool {
		if ns == 0 || ns == t.ns {
			return false
		}
		n := read()
		return n.complete && !n.living[ns]
	}
}

// namespaceOf is the inode of a process's PID namespace; proc.ErrGone if there is no such
// process.
func (k *Kernel) namespaceOf(pid int) (uint64, error) {
	link, err := os.Readlink("/proc/" + itoa(pid) + "/ns/pid") // pid:[4026531836]
	if err != nil {
		return 0, goneError(err)
	}
	return strconv.ParseUint(strings.Trim(link, "pid:[]"), 10, 64)
}
