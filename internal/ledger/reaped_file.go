//go:build unix || windows

package ledger

import (
	"io"
	"os"
)

// SaveReap keeps what a reap did.
func SaveReap(dir *os.File, l *LastReap) error { return replace(dir, reaped, l.text()) }

// ReadReap returns what the last reap did that is kept in a folder, if it is one of this user's
// (or, for root, of root's).
func ReadReap(dir *os.File) (l LastReap, ok bool) {
	f, uid, err := openFile(dir, reaped, maxSize)
	if err != nil {
		return l, false
	}
	defer f.Close()
	if me := os.Geteuid(); me >= 0 && uid != uint32(me) {
		return l, false
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSize))
	if err != nil {
		return l, false
	}
	return parseReaped(b)
}
