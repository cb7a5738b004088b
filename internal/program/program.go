// Package program tells the programs of this project from others of the same name: Debian
// has a watchdog too, and a reaper.
package program

import (
	"bytes"
	"io"
	"os"
)

// mark is in the data of every program that searches for it, and so in watchdog and reaper,
// whatever their version.
var mark = []byte("leash: this file is a watchdog or a reaper, and no member of any run")

// Named reports whether a file has the name of one of the programs, on Windows without
// its .exe.
func Named(name string) bool {
	switch name {
	case "watchdog", "reaper", "leash-watchdog", "leash-reaper":
		return true
	}
	return false
}

// Marked reports whether an executable is one of the programs. It is false for a file that
// cannot be read: its name alone proves nothing.
func Marked(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return Holds(f)
}

// limit is far above the size of a program of this project, 4 to 5 MB.
const limit = 64 << 20

// Holds reports whether the mark is in the data of r.
func Holds(r io.Reader) bool {
	r = io.LimitReader(r, limit)
	buf := make([]byte, 64<<10)
	kept := 0 // bytes of the previous part, in which the mark may begin
	for {
		n, err := r.Read(buf[kept:])
		if bytes.Contains(buf[:kept+n], mark) {
			return true
		}
		if err != nil {
			return false
		}
		end := kept + n
		kept = copy(buf, buf[max(0, end-len(mark)+1):end])
	}
}
