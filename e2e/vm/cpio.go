package main

import (
	"bufio"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"
)

// archive writes what the kernel unpacks as its first file system: cpio, "newc"
// (Documentation/driver-api/early-userspace/buffer-format.rst). All is root's.
type archive struct {
	file  *os.File
	out   *bufio.Writer
	size  int64
	ino   int
	known map[string]bool
	err   error
}

const (
	modeDir  = 0o040000
	modeFile = 0o100000
	modeLink = 0o120000
)

func newArchive(name string) (*archive, error) {
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	return &archive{file: f, out: bufio.NewWriterSize(f, 1<<20), known: map[string]bool{".": true, "/": true}}, nil
}

// put adds a file with the folders above it. The path is absolute.
func (a *archive) put(name string, mode int, content []byte) {
	a.putAt(time.Unix(0, 0), name, mode, content)
}

func (a *archive) putAt(changed time.Time, name string, mode int, content []byte) {
	a.dir(path.Dir(name))
	if !a.known[name] {
		a.known[name] = true
		a.entry(name, modeFile|mode, changed, content)
	}
}

// link adds a symbolic link.
func (a *archive) link(name, to string) {
	a.dir(path.Dir(name))
	if !a.known[name] {
		a.known[name] = true
		a.entry(name, modeLink|0o777, time.Unix(0, 0), []byte(to))
	}
}

func (a *archive) dir(name string) {
	if a.known[name] {
		return
	}
	a.dir(path.Dir(name))
	a.known[name] = true
	a.entry(name, modeDir|0o755, time.Unix(0, 0), nil)
}

// copy adds a file of this machine. Its time too: by it Python knows whether what
// it compiled before is still good.
func (a *archive) copy(name, from string) {
	b, err := os.ReadFile(from)
	if err != nil {
		a.fail(err)
		return
	}
	fi, err := os.Stat(from)
	if err != nil {
		a.fail(err)
		return
	}
	mode := 0o644
	if fi.Mode()&0o100 != 0 {
		mode = 0o755
	}
	a.putAt(fi.ModTime(), name, mode, b)
}

// tree adds a folder of this machine, if it is there, but not what is in the
// folders without.
func (a *archive) tree(name, from string, without ...string) {
	if _, err := os.Stat(from); err != nil {
		return
	}
	a.fail(filepath.WalkDir(from, func(p string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && slices.ContainsFunc(without, func(w string) bool { m, _ := path.Match(w, d.Name()); return m }) {
			return filepath.SkipDir
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err == nil {
			a.copy(path.Join(name, filepath.ToSlash(rel)), p)
		}
		return err
	}))
}

func (a *archive) close() error {
	a.entry("TRAILER!!!", 0, time.Unix(0, 0), nil)
	a.fail(a.out.Flush())
	a.fail(a.file.Close())
	return a.err
}

func (a *archive) entry(name string, mode int, changed time.Time, content []byte) {
	a.ino++
	name = trimSlash(name)
	// Magic, inode, mode, uid, gid, links, time, size, four numbers of devices,
	// length of the name with its NUL, checksum.
	a.write([]byte(fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		a.ino, mode, 0, 0, 1, uint32(changed.Unix()), len(content), 0, 0, 0, 0, len(name)+1, 0)))
	a.write([]byte(name + "\x00"))
	a.pad()
	a.write(content)
	a.pad()
}

func trimSlash(name string) string {
	if len(name) > 1 && name[0] == '/' {
		return name[1:]
	}
	return name
}

// pad fills up to a multiple of four.
func (a *archive) pad() { a.write(make([]byte, (4-a.size%4)%4)) }

func (a *archive) write(b []byte) {
	n, err := a.out.Write(b)
	a.size += int64(n)
	a.fail(err)
}

func (a *archive) fail(err error) {
	if a.err == nil {
		a.err = err
	}
}
