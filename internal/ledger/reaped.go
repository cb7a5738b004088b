package ledger

import (
	"bytes"
	"strconv"
	"time"
)

// LastReap is what the last reap found and did; it is kept in the state folder.
type LastReap struct {
	At                                             time.Time
	Scanned, Terminated, Killed, Survived, Skipped int
}

const reapedHead = "leash reap 1\n"

func (l *LastReap) fields() []*int {
	return []*int{&l.Scanned, &l.Terminated, &l.Killed, &l.Survived, &l.Skipped}
}

func (l *LastReap) text() []byte {
	b := strconv.AppendInt([]byte(reapedHead), l.At.UnixMilli(), 10)
	for _, n := range l.fields() {
		b = strconv.AppendInt(append(b, ' '), int64(*n), 10)
	}
	return append(b, '\n')
}

func parseReaped(b []byte) (l LastReap, ok bool) {
	text, ok := bytes.CutPrefix(b, []byte(reapedHead))
	if !ok || len(text) == 0 || text[len(text)-1] != '\n' {
		return l, false
	}
	n, ok := numbers(text[:len(text)-1], 1+len(l.fields()))
	if !ok || n[0] > maxCount {
		return l, false
	}
	l.At = time.UnixMilli(int64(n[0]))
	for i, p := range l.fields() {
		if n[i+1] >= 1<<31 {
			return LastReap{}, false
		}
		*p = int(n[i+1])
	}
	return l, true
}
