// Package heartbeat reads what a worker says of itself by the sd_notify
// protocol, and judges its silence. It is pure: sockets and clocks are
// elsewhere.
package heartbeat

import (
	"bytes"
	"math"
	"time"
	"unicode/utf8"
)

// MaxSize is the longest datagram that is read; systemd's own bound
// (NOTIFY_BUFFER_MAX, PIPE_BUF). What is longer is dropped whole.
const MaxSize = 4096

// Beat is what a message says of the worker's life.
type Beat uint8

const (
	NoBeat Beat = iota
	// Alive: WATCHDOG=1.
	Alive
	// Trigger: WATCHDOG=trigger, the worker itself says that it is stuck.
	Trigger
)

// Message is one datagram of sd_notify(3): lines of KEY=VALUE.
type Message struct {
	Ready, Stopping, Reloading bool
	Beat                       Beat
	// Extend is EXTEND_TIMEOUT_USEC; 0 if it was not given.
	Extend time.Duration
	// Within is WATCHDOG_USEC, if Rewatch: 0 means that nobody is to watch.
	Within  time.Duration
	Rewatch bool
	// Status is a line for people, without control characters.
	Status string
	// Barrier: BARRIER=1 and nothing else. The sender waits until the
	// descriptor that came with it is closed.
	Barrier bool
}

// Longest bounds the times that a message may ask for.
const Longest = 24 * time.Hour

// maxStatus bounds what is kept of STATUS, in bytes.
const maxStatus = 1024

// Parse reads a datagram. As systemd does, it takes each line by itself, and a
// carriage return for the end of one too (manager_invoke_notify_message). Passed
// over is a line that is no KEY=VALUE, one whose key is unknown, one whose value
// makes no sense. ok is false if the whole is no message at all: too long, with a
// NUL inside, or without any KEY=VALUE line.
func Parse(b []byte) (m Message, ok bool) {
	// Some senders count the terminating NUL (sd_notify of old, C libraries).
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

// isKey: as environment variables are named (sd_notify(3) lists none else).
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

// minWithin keeps a slip of a unit from ending a worker at once.
const minWithin = time.Millisecond

// usec reads microseconds; more than Longest is Longest. What is no number of 64
// bits is no value at all, as for systemd (safe_atou64): it may be a slip or an
// attack, and must not keep anybody from being judged for a day.
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

// printable makes one line of valid UTF-8 out of whatever was said.
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
