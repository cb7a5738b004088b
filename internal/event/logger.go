package event

import (
	"context"
	"io"
	"log/slog"
)

// Logger writes events. It never fails: records that cannot be written are counted, and the
// next record that can be has the count.
type Logger struct {
	handler slog.Handler
	sink    *counter
	also    *Logger // nil: none
}

type counter struct {
	w    io.Writer
	lost int
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	if err != nil {
		c.lost++
	}
	return n, err
}

// New returns a Logger that writes records of at least that level as text or json.
func New(w io.Writer, format string, level slog.Level) *Logger {
	c := &counter{w: w}
	o := &slog.HandlerOptions{Level: level}
	var h slog.Handler
	if format == "json" {
		h = slog.NewJSONHandler(c, o)
	} else {
		h = slog.NewTextHandler(c, o)
	}
	return &Logger{handler: h, sink: c}
}

// With returns a Logger that adds these attributes to all records.
func (l *Logger) With(attrs ...slog.Attr) *Logger {
	c := &Logger{handler: l.handler.WithAttrs(attrs), sink: l.sink}
	if l.also != nil {
		c.also = l.also.With(attrs...)
	}
	return c
}

// Tee returns a Logger that writes all records to another too.
func (l *Logger) Tee(other *Logger) *Logger {
	return &Logger{handler: l.handler, sink: l.sink, also: other}
}

// Write writes one record.
func (l *Logger) Write(r slog.Record) {
	if l.also != nil {
		l.also.Write(r.Clone())
	}
	if !l.handler.Enabled(context.Background(), r.Level) {
		return
	}
	lost := l.sink.lost
	if lost > 0 {
		r.AddAttrs(slog.Int(Lost, lost))
	}
	l.handler.Handle(context.Background(), r)
	if l.sink.lost == lost { // it was written, and with it the count
		l.sink.lost = 0
	}
}
