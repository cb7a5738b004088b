// Package heartbeat parses the messages of the sd_notify(3) protocol and decides when a
// worker has timed out. It is pure: sockets and clocks are elsewhere.
package heartbeat

import (
	"bytes"
	"math"
	"time"
	"unicode/utf8"
)

// MaxSize is the longest datagram that is read, in bytes; systemd has the same bound
// (NOTIFY_BUFFER_MAX, PIPE_BUF). A longer one is dropped whole.
const MaxSize = 4096

// Beat is the value of WATCHDOG in a message.
type Beat uint8

const (
	NoBeat Beat = iota
	// Alive: WATCHDOG=1.
	Alive
	// Trigger: WATCHDOG=trigger, the worker itself says that it is hung.
	Trigger
)

// Message is one datagram of sd_notify(3): lines of KEY=VALUE.
type Message struct {
	Ready, Stopping, Reloading bool
	Beat                       Beat
	// Extend is EXTEND_TIMEOUT_USEC; 0 if it was not given.
	Extend time.Duration
	// Within is WATCHDOG_USEC, if Rewatch; 0 turns heartbeats off.
	Within  time.Duration
	Rewatch bool
	// Status is STATUS, one line for a reader, without control characters.
	Status string
	// Barrier: BARRIER=1 and nothing else. The sender waits until the
	// descriptor that came with it is closed.
	Barrier bool
}

// Longest bounds the times in a message; a longer one counts as Longest.
const Longest = 24 * time.Hour

// maxStatus bounds what is kept of STATUS, in bytes.
const maxStatus = 1024

// Parse parses a datagram. Like systemd (manager_invoke_notify_message) it takes each line
// by itself, and also ends a line at a carriage return. A line that is not KEY=VALUE, or
// has an unknown key or an invalid value, is ignored. ok is false if the datagram is no
// message: longer than MaxSize, with a NUL inside, or without any KEY=VALUE line.
func Parse(b []byte) (m Message, ok bool) {
	// Some senders include the terminating NUL (old sd_notify, C libraries).
	b = bytes.TrimSuffix(b, []byte{0})
	if len(b) > MaxSize || bytes.IndexByte(b, 0) >= 0 {
		return m, false
	}
	lines := 0
	barrier := false
	for len(b) > 0 {
		var line []byte
		if line, b = cutLine(b); len(line) == 0 {
			continue
		}
		lines++
		key, value, found := bytes.Cut(line, []byte{'='})
		if !found || !isKey(key) {
			continue
		}
		ok = true
		barrier = barrier || string(line) == "BARRIER=1"
		m.set(key, value)
	}
	m.Barrier = barrier && lines == 1
	return m, ok
}

func cutLine(b []byte) (line, rest []byte) {
	for i, c := range b {
		if c == '\n' || c == '\r' {
			return b[:i], b[i+1:]
		}
	}
	return b, nil
}

// isKey reports whether b could be the name of an environment variable, as all keys in
// sd_notify(3) are.
func isKey(b []byte) bool {
	for _, c := range b {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && (c < 'a' || c > 'z') {
			return false
		}
	}
	return len(b) > 0
}

func (m *Message) set(key, value []byte) {
	one := string(value) == "1"
	switch string(key) {
	case "READY":
		m.Ready = m.Ready || one
	case "STOPPING":
		m.Stopping = m.Stopping || one
	case "RELOADING":
		m.Reloading = m.Reloading || one
	case "WATCHDOG":
		switch {
		case string(value) == "trigger":
			m.Beat = Trigger
		case one && m.Beat == NoBeat:
			m.Beat = Alive
		}
	case "EXTEND_TIMEOUT_USEC":
		if d, ok := usec(value); ok && d > 0 {
			m.Extend = d
		}
	case "WATCHDOG_USEC":
		if d, ok := usec(value); ok && (d == 0 || d >= minWithin) {
			m.Within, m.Rewatch = d, true
		}
	case "STATUS":
		m.Status = printable(value)
	}
}

// minWithin is the least WATCHDOG_USEC but 0: a value in the wrong unit must not end a
// worker at once.
const minWithin = time.Millisecond

// usec parses microseconds; more than Longest is Longest. A number of more than 64 bits is
// invalid, as for systemd (safe_atou64): it may be a mistake or an attack, and must not
// turn the timeout off for a day.
func usec(b []byte) (time.Duration, bool) {
	if len(b) == 0 {
		return 0, false
	}
	n := uint64(0)
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		digit := uint64(c - '0')
		if n > (math.MaxUint64-digit)/10 {
			return 0, false
		}
		n = 10*n + digit
	}
	return time.Duration(min(n, uint64(Longest/time.Microsecond))) * time.Microsecond, true
}

// printable returns the value as one line of valid UTF-8, with blanks for control characters.
func printable(b []byte) string {
	if len(b) > maxStatus {
		b = b[:maxStatus]
	}
	out := make([]byte, 0, len(b))
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError && n == 1 || r == '\u2028' || r == '\u2029' {
			r = ' '
		}
		out = utf8.AppendRune(out, r)
		b = b[n:]
	}
	return string(bytes.TrimSpace(out))
}
