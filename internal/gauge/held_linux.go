package gauge

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// firstRender is the number of the first render node.
const firstRender = 128

// gopsutil reads all descriptors of all processes for one port, and for each descriptor
// makes several strings: with 5,000 processes that took ten times as long as this. Package os
// is avoided for reading, as in statm_linux.go.

// eachLine reads a file of /proc in pieces, and calls each with every line until it returns
// false.
func eachLine(path string, each func(line []byte) bool) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	buf, kept := make([]byte, 64<<10), 0
	for {
		n, err := unix.Read(fd, buf[kept:])
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return err
		case n == 0:
			return nil
		}
		b := buf[:kept+n]
		for {
			i := bytes.IndexByte(b, '\n')
			if i < 0 {
				break
			}
			if !each(b[:i]) {
				return nil
			}
			b = b[i+1:]
		}
		if kept = copy(buf, b); kept == len(buf) { // no line is that long
			kept = 0
		}
	}
}

// lister reads the descriptors of processes.
type lister struct {
	dents []byte
	link  [4096]byte
}

func newLister() *lister { return &lister{dents: make([]byte, 8<<10)} }

// each calls f with the link of every descriptor of a process, and an open directory with the
// descriptor's name in it.
func (l *lister) each(pid int, f func(dir int, name *byte, link []byte)) error {
	dir, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/fd", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	for {
		n, err := unix.Getdents(dir, l.dents)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return err
		}
		for b := l.dents[:n]; len(b) > 19; { // struct linux_dirent64, getdents(2)
			size := int(binary.NativeEndian.Uint16(b[16:]))
			if size < 20 || size > len(b) {
				break
			}
			if b[19] != '.' {
				// Raw: a link in /proc takes no lock for which it would wait long.
				n, _, e := unix.RawSyscall6(unix.SYS_READLINKAT, uintptr(dir), uintptr(unsafe.Pointer(&b[19])),
					uintptr(unsafe.Pointer(&l.link[0])), uintptr(len(l.link)), 0, 0)
				if e == 0 {
					f(dir, &b[19], l.link[:n])
				}
			}
			b = b[size:]
		}
	}
}

// Holdings returns the ports and GPUs that each of the processes holds. One that cannot be
// read is absent.
func Holdings(pids []int) map[int]Held {
	found, l := make(map[int]*Held), newLister()
	// Which process has which socket, in each network namespace.
	type user struct {
		pid int
		ns  string
	}
	spaces := make(map[string]int) // a process in it
	sockets := make(map[uint64][]user)
	for _, pid := range pids {
		h, root, ns := &Held{}, "", ""
		err := l.each(pid, func(_ int, _ *byte, link []byte) {
			if inode, ok := socketInode(link); ok {
				if ns == "" {
					ns, _ = os.Readlink("/proc/" + strconv.Itoa(pid) + "/ns/net")
					spaces[ns] = pid
				}
				sockets[inode] = append(sockets[inode], user{pid, ns})
				return
			}
			if !bytes.Contains(link, []byte("/dev/")) {
				return
			}
			if root == "" {
				root = rootOf(pid)
			}
			if path := below(root, string(link)); isGPU(path) {
				h.GPUs = append(h.GPUs, path)
			}
		})
		if err == nil {
			found[pid] = h
		}
	}
	for ns, pid := range spaces {
		eachSocket("/proc/"+strconv.Itoa(pid)+"/net/", "", false, func(s *socket) {
			for _, u := range sockets[s.inode] {
				if h := found[u.pid]; h != nil && u.ns == ns {
					h.Ports = append(h.Ports, s.Port)
				}
			}
		})
	}
	held := make(map[int]Held, len(found))
	for pid, h := range found {
		held[pid] = h.sorted()
	}
	return held
}

func rootOf(pid int) string {
	root, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/root")
	if err != nil {
		return "/"
	}
	return root
}

// eachSocket calls f for the sockets that wait for peers or, with all, for every socket with a
// process; proto may be empty for both.
func eachSocket(dir, proto string, all bool, f func(*socket)) {
	for _, file := range [...]string{"tcp", "tcp6", "udp", "udp6"} {
		name := strings.TrimSuffix(file, "6")
		if proto != "" && name != proto {
			continue
		}
		eachLine(dir+file, func(line []byte) bool {
			s, ok := parseSocket(name, line)
			if ok && (all || s.waits()) && s.inode != 0 {
				f(&s)
			}
			// The kernel lists those that listen first (tcp_get_idx in net/ipv4/tcp_ipv4.c).
			return all || !ok || name != "tcp" || s.waits()
		})
	}
}

// search is a target while it is searched for.
type search struct {
	Target
	inodes map[uint64]uint32 // of sockets, and their users
	seen   map[uint64]bool
	stat   unix.Statx_t
	names  []string // of GPU devices
	pids   []int
}

// Find searches for the processes that hold each target, among pids or, if that is nil, among
// all. unread counts the processes that could not be read.
func Find(targets []Target, pids []int) (found []Finding, unread int, err error) {
	list := make([]*search, len(targets))
	for i, t := range targets {
		if list[i], err = prepare(t); err != nil {
			return nil, 0, err
		}
	}
	if pids == nil {
		if pids, err = allPIDs(); err != nil {
			return nil, 0, err
		}
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	n := min(runtime.GOMAXPROCS(0), len(pids))
	for part := range n {
		wg.Go(func() {
			l := newLister()
			for i := part; i < len(pids); i += n {
				hits, err := l.hits(pids[i], list)
				if len(hits) == 0 && err == nil {
					continue
				}
				mu.Lock()
				for _, h := range hits {
					s := list[h.target]
					if s.pids = append(s.pids, pids[i]); h.inode != 0 {
						s.seen[h.inode] = true
					}
				}
				if (errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM)) && hasArgs(pids[i]) {
					unread++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for _, s := range list {
		var f Finding
		slices.Sort(s.pids)
		f.PIDs = slices.Compact(s.pids)
		for inode, uid := range s.inodes {
			if !s.seen[inode] {
				f.Unseen = append(f.Unseen, uid)
			}
		}
		slices.Sort(f.Unseen)
		f.Unseen = slices.Compact(f.Unseen)
		found = append(found, f)
	}
	return found, unread, nil
}

func prepare(t Target) (*search, error) {
	s := &search{Target: t, inodes: make(map[uint64]uint32), seen: make(map[uint64]bool)}
	switch t.Kind {
	case PortOf:
		add := func(k *socket) {
			if k.Port.Port == t.Number {
				s.inodes[k.inode] = k.uid
			}
		}
		eachSocket("/proc/self/net/", t.Proto, t.Proto == "udp", add)
		if len(s.inodes) == 0 { // connections hold a port too
			eachSocket("/proc/self/net/", t.Proto, true, add)
		}
	case GPU:
		s.names = []string{nvidia + strconv.Itoa(t.Number)}
		if unix.Access("/dev/nvidiactl", unix.F_OK) != nil { // else its numbers are those of NVIDIA
			s.names = append(s.names, renderNode+strconv.Itoa(firstRender+t.Number))
		}
	case Socket:
		path := absolute(t.Path)
		err := eachLine("/proc/self/net/unix", func(line []byte) bool {
			if inode, name, ok := parseUnix(line); ok && absolute(name) == path {
				s.inodes[inode] = ownerOf(path)
			}
			return true
		})
		return s, err
	case File:
		return s, unix.Statx(unix.AT_FDCWD, t.Path, 0, unix.STATX_TYPE|unix.STATX_INO, &s.stat)
	}
	return s, nil
}

// absolute is a path without symbolic links, as far as it exists.
func absolute(path string) string {
	if !filepath.IsAbs(path) {
		if wd, err := os.Getwd(); err == nil {
			path = filepath.Join(wd, path)
		}
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return filepath.Clean(path)
}

func ownerOf(path string) uint32 {
	var st unix.Stat_t
	unix.Stat(path, &st)
	return st.Uid
}

type hit struct {
	target int
	inode  uint64
}

// hits lists which targets a process holds.
func (l *lister) hits(pid int, list []*search) (hits []hit, err error) {
	root, files := "", false
	for i, s := range list {
		if s.Kind == File {
			files = true
			for _, name := range [...]string{"cwd", "root", "exe"} {
				if s.is(unix.AT_FDCWD, "/proc/"+strconv.Itoa(pid)+"/"+name, name != "exe") {
					hits = append(hits, hit{i, 0})
					break
				}
			}
		}
	}
	err = l.each(pid, func(dir int, name *byte, link []byte) {
		inode, isSocket := socketInode(link)
		for i, s := range list {
			switch {
			case isSocket:
				if _, ok := s.inodes[inode]; ok {
					hits = append(hits, hit{i, inode})
				}
			case s.Kind == GPU && bytes.Contains(link, []byte("/dev/")):
				if root == "" {
					root = rootOf(pid)
				}
				if slices.Contains(s.names, below(root, string(link))) {
					hits = append(hits, hit{i, 0})
				}
			case s.Kind == File && len(link) > 0 && link[0] == '/':
				if s.is(dir, unix.BytePtrToString(name), false) {
					hits = append(hits, hit{i, 0})
				}
			}
		}
	})
	if files && err == nil {
		hits = append(hits, maps(pid, list)...)
	}
	return hits, err
}

// is reports whether a path leads to the target's file. A folder as working folder or root
// counts where folder is true. A file system that does not respond is not asked
// (AT_STATX_DONT_SYNC).
func (s *search) is(at int, path string, folder bool) bool {
	var st unix.Statx_t
	if unix.Statx(at, path, unix.AT_STATX_DONT_SYNC|unix.AT_NO_AUTOMOUNT, unix.STATX_TYPE|unix.STATX_INO, &st) != nil {
		return false
	}
	kind := st.Mode & unix.S_IFMT
	if kind != s.stat.Mode&unix.S_IFMT || folder && kind != unix.S_IFDIR {
		return false
	}
	if kind == unix.S_IFCHR || kind == unix.S_IFBLK { // the same device may have several names
		return st.Rdev_major == s.stat.Rdev_major && st.Rdev_minor == s.stat.Rdev_minor
	}
	return st.Ino == s.stat.Ino && st.Dev_major == s.stat.Dev_major && st.Dev_minor == s.stat.Dev_minor
}

// maps lists the targets that a process has mapped: their descriptors may be closed.
func maps(pid int, list []*search) (hits []hit) {
	paths := make([]string, len(list))
	for i, s := range list {
		if s.Kind == File && s.stat.Mode&unix.S_IFMT == unix.S_IFREG {
			paths[i] = absolute(s.Path)
		}
	}
	if strings.Join(paths, "") == "" {
		return nil
	}
	eachLine("/proc/"+strconv.Itoa(pid)+"/maps", func(line []byte) bool {
		for i, path := range paths {
			if path != "" && mapped(line, list[i].stat.Ino, path) {
				hits, paths[i] = append(hits, hit{i, 0}), ""
			}
		}
		return true
	})
	return hits
}

// hasArgs reports whether a process has arguments: threads of the kernel have none.
func hasArgs(pid int) bool {
	some := false
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/cmdline", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var b [1]byte
	n, err := unix.Read(fd, b[:])
	some = err == nil && n > 0
	return some
}

func allPIDs() (pids []int, err error) {
	dir, err := unix.Open("/proc", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/proc", Err: err}
	}
	defer unix.Close(dir)
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Getdents(dir, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return pids, err
		}
		for b := buf[:n]; len(b) > 19; {
			size := int(binary.NativeEndian.Uint16(b[16:]))
			if size < 20 || size > len(b) {
				break
			}
			if pid, err := strconv.Atoi(unix.ByteSliceToString(b[19:size])); err == nil {
				pids = append(pids, pid)
			}
			b = b[size:]
		}
	}
}
