//go:build unix || windows

package ledger

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// Entry is one file of the ledger.
type Entry struct {
	Record
	Dir  *os.File
	File string
}

const (
	// maxFiles bounds what is read of one directory.
	maxFiles = 20_000
	// maxForeign is the bound for a directory of another user, which may be hostile: root
	// reads the processes that each record names.
	maxForeign = 2_000
	// maxProblems bounds how many problems are returned.
	maxProblems = 50
)

// Why a file is skipped.
var (
	errNotRegular = errors.New("no regular file")
	errForeign    = errors.New("it belongs to another user")
)

// Read reads every record of a directory. A file that is no record is skipped and named in
// problems: links are not followed, devices not opened, and a FIFO does not block.
func Read(dir *os.File) (entries []Entry, unfinished []string, problems []error) {
	entries, unfinished, problems = readAll(dir)
	if more := len(problems) - maxProblems; more > 0 {
		problems = append(problems[:maxProblems], fmt.Errorf("%s: %d more files are passed over", dir.Name(), more))
	}
	return entries, unfinished, problems
}

func readAll(dir *os.File) (entries []Entry, unfinished []string, problems []error) {
	list, err := rewound(dir)
	if err != nil {
		return nil, nil, []error{err}
	}
	if list != dir {
		defer list.Close()
	}
	most, check := maxFiles, func(uint32) error { return nil }
	if owner, is := foreign(dir); is {
		most, check = maxForeign, func(uid uint32) error {
			if uid != owner && os.Geteuid() == 0 { // it is evidence for its owner's processes alone
				return errForeign
			}
			return nil
		}
	}
	for n := 0; ; {
		names, err := list.Readdirnames(1000)
		for _, name := range names {
			if n++; n > most {
				return entries, unfinished, append(problems, fmt.Errorf("%s: more than %d files: the others are passed over", dir.Name(), most))
			}
			switch {
			case strings.HasSuffix(name, suffix):
				r, err := read(dir, name)
				if err == nil {
					err = check(r.UID)
				}
				if errors.Is(err, fs.ErrNotExist) { // its watchdog has ended meanwhile
					continue
				}
				if err != nil {
					problems = append(problems, fmt.Errorf("%s/%q is passed over: %w", dir.Name(), name, err))
					continue
				}
				entries = append(entries, Entry{Record: r, Dir: dir, File: name})
			case strings.HasSuffix(name, suffix+torn):
				unfinished = append(unfinished, name)
			case !Others(name):
				problems = append(problems, fmt.Errorf("%s/%q is passed over: no file of the ledger", dir.Name(), name))
			}
		}
		if err == io.EOF {
			return entries, unfinished, problems
		}
		if err != nil {
			return entries, unfinished, append(problems, err)
		}
	}
}

// Others reports whether a file of the state directory is known not to be a record.
func Others(name string) bool {
	switch strings.TrimSuffix(name, torn) {
	case "table", "table.lock", probe, totals, reaped:
		return true
	}
	return false
}

// probe is the file that Probe makes.
const probe = "probe"

// Names of files beside the records: see Totals and LastReap.
const (
	totals = "totals"
	reaped = "reaped"
)

// read reads one file, if it is one that a watchdog may have written.
func read(dir *os.File, name string) (Record, error) {
	f, uid, err := openFile(dir, name, maxSize)
	if err != nil {
		return Record{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return Record{}, err
	}
	r, err := Parse(b)
	r.Part = partOf(name)
	if err == nil && r.Name() != name {
		err = fmt.Errorf("it holds the record %s: %w", r.Name(), errRecord)
	}
	r.UID = uid
	return r, err
}

func tooLarge(size, most int64) error {
	if size > most {
		return fmt.Errorf("larger than %d bytes", most)
	}
	return nil
}
