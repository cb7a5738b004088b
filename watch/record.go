package watch

import (
	"log/slog"
	"strings"
)

// Record is one lifecycle event for the log, without the attributes of every record.
type Record struct {
	Event string
	Text  string // one sentence for people
	Level slog.Level
	// Parent is the PID of the parent that it is about, if not the first.
	Parent int
	Attrs  []slog.Attr
}

func (r Record) String() string {
	var b strings.Builder
	b.WriteString(r.Event)
	for _, a := range r.Attrs {
		b.WriteByte(' ')
		b.WriteString(a.String())
	}
	return b.String()
}
