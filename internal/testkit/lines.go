//go:build linux || windows

package testkit

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Patience is how long anything may take before a test gives up. It is far
// more than needed: machines that run tests are sometimes very busy.
const Patience = 3 * time.Minute

// Lines collects what a process prints. Each line is returned once; lines that were not
// awaited yet are kept, so the order of the calls does not matter.
type Lines struct {
	t  testing.TB
	of string // where they come from

	mu     sync.Mutex
	all    []string
	unread []string
	closed bool
	change chan struct{} // closed and replaced when a line or the end comes
}

// Collect reads lines from r in the background until its end.
func Collect(t testing.TB, r io.Reader) *Lines { return collect(t, r, "the output that is collected") }

func collect(t testing.TB, r io.Reader, of string) *Lines {
	l := &Lines{t: t, of: of, change: make(chan struct{})}
	go l.read(r)
	return l
}

func (l *Lines) read(r io.Reader) {
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadString('\n')
		l.mu.Lock()
		if line != "" {
			line = strings.TrimRight(line, "\r\n")
			l.all = append(l.all, line)
			l.unread = append(l.unread, line)
		}
		l.closed = err != nil
		close(l.change)
		l.change = make(chan struct{})
		l.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Await returns the rest of the next unread line that begins with prefix. The
// test fails, with all that was printed, if none comes.
func (l *Lines) Await(prefix string) string {
	l.t.Helper()
	line := l.await(fmt.Sprintf("a line that begins with %q", prefix), func(line string) bool {
		return strings.HasPrefix(line, prefix)
	})
	return line[len(prefix):]
}

// AwaitMatch returns the next unread line that the expression matches, and its
// groups, as regexp.FindStringSubmatch does.
func (l *Lines) AwaitMatch(re *regexp.Regexp) []string {
	l.t.Helper()
	return re.FindStringSubmatch(l.await("a line like "+re.String(), re.MatchString))
}

// AwaitEvent returns the next unread event of that name. The other lines may
// be anything.
func (l *Lines) AwaitEvent(name string) Event {
	l.t.Helper()
	var ev Event
	l.await("event "+name, func(line string) bool {
		ev = parseEvent(line)
		return ev.Name() == name
	})
	return ev
}

// Happens waits for the event of that name, and reports whether it came before the end of
// the output.
func (l *Lines) Happens(name string) bool {
	l.t.Helper()
	_, ok := l.find("event "+name, func(line string) bool { return parseEvent(line).Name() == name })
	return ok
}

// AwaitEnd waits until every process that had the other end of the pipe has ended or closed
// it. It returns the whole output.
func (l *Lines) AwaitEnd() string {
	l.t.Helper()
	late := time.After(Patience)
	for {
		l.mu.Lock()
		closed, change := l.closed, l.change
		l.mu.Unlock()
		if closed {
			return l.All()
		}
		select {
		case <-change:
		case <-late:
			l.t.Fatalf("expected the end of %s, but it is still open after %v (log: %s); so far:\n%s", l.of, Patience, logPath(l.t), l.All())
		}
	}
}

// All returns everything printed so far.
func (l *Lines) All() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.all, "\n")
}

// Events returns all events so far.
func (l *Lines) Events() []Event { return Events(strings.NewReader(l.All())) }

func (l *Lines) await(what string, want func(string) bool) string {
	l.t.Helper()
	line, ok := l.find(what, want)
	if !ok {
		l.t.Fatalf("expected %s in %s, but it ended without (log: %s):\n%s", what, l.of, logPath(l.t), l.All())
	}
	return line
}

// find takes the next unread line that is wanted. There is none if the output
// ends before.
func (l *Lines) find(what string, want func(string) bool) (line string, ok bool) {
	l.t.Helper()
	late := time.After(Patience)
	for {
		l.mu.Lock()
		i := slices.IndexFunc(l.unread, want)
		closed, change := l.closed, l.change
		if i >= 0 {
			line := l.unread[i]
			l.unread = slices.Delete(l.unread, i, i+1)
			l.mu.Unlock()
			return line, true
		}
		l.mu.Unlock()
		if closed {
			return "", false
		}
		select {
		case <-change:
		case <-late:
			l.t.Fatalf("expected %s in %s, but none came in %v (log: %s); so far:\n%s", what, l.of, Patience, logPath(l.t), l.All())
		}
	}
}

// Event is one line of an event log in JSON.
type Event map[string]any

// Events parses the event lines among the lines of r.
func Events(r io.Reader) []Event {
	var events []Event
	for in := bufio.NewScanner(r); in.Scan(); {
		if ev := parseEvent(in.Text()); ev.Name() != "" {
			events = append(events, ev)
		}
	}
	return events
}

// parseEvent also finds an event behind what another process has begun to print on
// the same pipe, without the end of its line.
func parseEvent(line string) Event {
	var ev Event
	if at := strings.Index(line, `{"time":`); at > 0 {
		line = line[at:]
	}
	if json.Unmarshal([]byte(line), &ev) != nil {
		return nil
	}
	return ev
}

// Name is the kind of event, as "watchdog.started". It is empty if the line
// is none.
func (e Event) Name() string { return e.Str("event") }

// Str returns a text value, or "" if there is none.
func (e Event) Str(key string) string {
	s, _ := e[key].(string)
	return s
}

// Int returns a number, or -1 if there is none.
func (e Event) Int(key string) int {
	n, ok := e[key].(float64)
	if !ok {
		return -1
	}
	return int(n)
}

// Time returns when the event was logged.
func (e Event) Time() time.Time {
	at, _ := time.Parse(time.RFC3339Nano, e.Str("time"))
	return at
}
