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
	"leash/scan"
)

const (
	// maxSubgroups bounds how many cgroups below the leaves of one user are read at
	// one look: that user may have made any number of them.
	maxSubgroups = 4096
	// maxNaming bounds how many records of one cgroup count: an honest one has one.
	maxNaming = 8
	// maxNested bounds how many records speak of one process by its cgroup.
	maxNested = 64
	// maxEntries bounds how many entries of our own cgroup are looked through.
	maxEntries = 100_000
)

// groups is what one look finds in cgroups.
type groups struct {
	inside  map[int][]int      // by PID, the records whose cgroup it is in
	leaves  map[int]*scan.Leaf // by PID, the leaf of a dead watchdog that it is in
	left    map[uint32]int     // by user, how many subgroups may be read yet
	partial map[string]bool
	passed  []error
}

// groups reads the cgroups that records name, each once, and those of dead
// watchdogs beside our own.
func (t *Table) groups(s *scan.Snapshot) *groups {
	g := &groups{inside: make(map[int][]int), leaves: make(map[int]*scan.Leaf), left: make(map[uint32]int),
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

// walk calls f for each process of a cgroup and of those below it. It does not go
// below more of one user than maxSubgroups: who is there is unknown.
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

// miss notes that a cgroup was not read to the end.
func (g *groups) miss(top string, err error) {
	if !g.partial[top] {
		g.partial[top] = true
		g.pass("%s: not read to the end, and who else is in it is unknown: %w", top, err)
	}
}

var errMany = errors.New("its user has too many cgroups")

func vanished(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) // removed while we had it open
}

// eachFolder calls f for each folder of a folder until it returns false, which is
// errMany. It does without package os, which polls what it opens: that ends the
// program where epoll is refused.
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

// procsIn lists the processes in a cgroup; subgroups are not looked into.
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

// direntName is where the name begins in struct linux_dirent64 (getdents64(2)).
const direntName = 19

// leaves finds who is in the leaf of a dead watchdog beside our own cgroup: one
// that was killed before it wrote a record left nothing else.
func (t *Table) leaves(g *groups, recorded map[string][]int) {
	base := t.Kernel.cgroupDir()
	if base == "" {
		return
	}
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

// deadLeaf describes a leaf if its watchdog is dead for certain, and was of our
// namespace. Of other users' only root's reaper can make anything.
func (t *Table) deadLeaf(dir, name string) *scan.Leaf {
	ns, pid, tick, ok := leafOf(name)
	if !ok || ns != t.ns {
		return nil
	}
	if info, err := t.Kernel.lookAt(pid); err == nil && !info.Dead() && info.Start <= tick || !t.leafless(pid, tick) {
		return nil // nearly all are settled by one read
	}
	var st unix.Stat_t
	if unix.Lstat(dir+"/"+name, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR || t.uid != 0 && st.Uid != t.uid {
		return nil
	}
	return &scan.Leaf{Name: name, UID: st.Uid, PID: pid, Tick: tick}
}

// leaf notes who is in a leaf. What is in a leaf below it is of that one alone.
func (g *groups) leaf(top string, l *scan.Leaf, deadLeaf func(dir, name string) *scan.Leaf) {
	type folder struct {
		path string
		leaf *scan.Leaf
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

// leafAt reports whether a record names a cgroup such as its watchdog makes: the
// record may be hostile, and nothing else is to be read or removed.
func leafAt(r *ledger.Record, point string) bool {
	dir, name := filepath.Split(r.Cgroup)
	if point == "" || filepath.Clean(r.Cgroup) != r.Cgroup || !strings.HasPrefix(dir, point+"/") ||
		!isLeaf(name, r.NS, r.Watchdog.PID) {
		return false
	}
	var st unix.Stat_t
	return unix.Lstat(r.Cgroup, &st) == nil && st.Uid == r.UID && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

// addAncestors takes in the parents of those in the leaves of dead watchdogs, and
// theirs: another watchdog, or a sentinel, may stand above them.
func (t *Table) addAncestors(s *scan.Snapshot) {
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

// namespaces are the PID namespaces that have a process, by inode; complete says
// that there is no other one: then any other is gone for ever, for a namespace
// without a process has lost its init and takes no new one (pid_namespaces(7)).
type namespaces struct {
	living   map[uint64]bool
	complete bool
}

// namespaces looks at every process. Only root in the first PID namespace sees all
// of them. Of one that it may not ask (ptrace(2), PTRACE_MODE_READ) it must at least
// be shown that it lives in ours.
func (t *Table) namespaces() namespaces {
	n := namespaces{living: map[uint64]bool{t.ns: true}}
	if t.uid != 0 || t.ns != initialNS {
		return n
	}
	// Where /proc hides processes, it shows init's namespace to those alone who see all.
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
			// A zombie's is told too, and a namespace whose init is one has ended.
			if info, err := t.Kernel.lookAt(pid); err != nil && !errors.Is(goneError(err), proc.ErrGone) || err == nil && !info.Dead() {
				n.living[ns] = true
			}
		case err == nil:
		case !errors.Is(err, proc.ErrGone) && !t.Kernel.sameNamespace(unix.AT_FDCWD, pathIn(pid, "status")):
			return n // this one's may be any
		}
	}
	n.complete = true
	return n
}

// hiding reports whether /proc may keep processes of others out of its list (hidepid
// in proc(5)).
func (t *Table) hiding() bool {
	b, err := t.Kernel.readFile(unix.AT_FDCWD, pathOf("/proc/self/mountinfo"))
	return err != nil || hidesProcesses(b)
}

// hidesProcesses reads the options of the last file system that was mounted on /proc
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

// Gone returns what reports whether a PID namespace has ended as a whole, for
// certain. The processes are looked at when it is first asked.
func (t *Table) Gone() func(ns uint64) bool {
	look := sync.OnceValue(t.namespaces)
	return func(ns uint64) bool {
		if ns == 0 || ns == t.ns {
			return false
		}
		n := look()
		return n.complete && !n.living[ns]
	}
}

// namespaceOf is the inode of a process's PID namespace; proc.ErrGone if there is no
// such process.
func (k *Kernel) namespaceOf(pid int) (uint64, error) {
	link, err := os.Readlink("/proc/" + itoa(pid) + "/ns/pid") // pid:[4026531836]
	if err != nil {
		return 0, goneError(err)
	}
	return strconv.ParseUint(strings.Trim(link, "pid:[]"), 10, 64)
}
