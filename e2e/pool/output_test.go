//go:build linux

package pool

import (
	"strings"
	"testing"
	"time"

	"leash/internal/testkit"
)

func (c *client) output(worker string) (lines []string, partial []bool) {
	for _, m := range c.messages(worker) {
		if m.Method == "output" {
			lines = append(lines, m.Params["line"].(string))
			p, _ := m.Params["partial"].(bool)
			partial = append(partial, p)
		}
	}
	return lines, partial
}

func TestOutput(t *testing.T) {
	t.Parallel()
	testkit.Need(t, "python3")
	c := start(t)
	const text = `
import sys, os
w = os.write
w(1, b"plain\n\nquo\"te\\ \t\x1b\x00 \xc3")
w(1, b"\xa4\xff\xe2\x82 \xf0\x9f\x98\x80\n")
w(1, b"\xe2\x82\xac" * 30000 + b"\n")
w(1, b"x" * 65536 + b"\n" + b"y" * 65537 + b"\n")
w(1, b"last")
`
	c.run("a", nil, "python3", "-c", text)
	c.event("a", "watchdog.stopped")
	lines, partial := c.output("a")
	if len(lines) != 9 {
		t.Fatalf("%d lines", len(lines))
	}
	euros := strings.Repeat("€", 30000)
	if lines[0] != "plain" || lines[1] != "" || lines[2] != "quo\"te\\ \t\x1b\x00 ä\ufffd\ufffd\ufffd 😀" && lines[2] != "quo\"te\\ \t\x1b\x00 ä\ufffd\ufffd 😀" {
		t.Errorf("%q", lines[:3])
	}
	if lines[3]+lines[4] != euros || !partial[3] || partial[4] || len(lines[3]) > 64<<10 {
		t.Errorf("%d and %d bytes, partial %v", len(lines[3]), len(lines[4]), partial)
	}
	if lines[5] != strings.Repeat("x", 65536) || partial[5] || lines[6]+lines[7] != strings.Repeat("y", 65537) || !partial[6] || partial[7] {
		t.Errorf("%d, %d, %d bytes, partial %v", len(lines[5]), len(lines[6]), len(lines[7]), partial)
	}
	if lines[8] != "last" || partial[8] {
		t.Errorf("%q, partial %v", lines[8], partial[8])
	}
}

// A process that keeps the pipe open delays neither event.
func TestPipeThatStaysOpen(t *testing.T) {
	t.Parallel()
	parent := start(t, "--grace=200ms")
	// A guarded process is in nobody's tree: it keeps the pipe of the worker that made it.
	dir := t.TempDir()
	parent.run("a", nil, "sh", "-c", "echo mine; trap 'exit 0' TERM; (trap '' TERM; while :; do echo tree; done) & echo $! > "+dir+"/pid; wait")
	parent.line("a", "tree")
	parent.call("stop", params{"worker_id": "a"})
	order := []string{}
	for _, m := range parent.messages("a") {
		if m.Method == "output" {
			if line := m.Params["line"].(string); len(order) == 0 || order[len(order)-1] != line {
				order = append(order, line)
			}
		} else if name := m.event(); name == "process.terminated" || name == "process.cleanup_completed" {
			order = append(order, name)
		}
	}
	last := order[len(order)-1]
	if order[0] != "mine" || last != "process.cleanup_completed" {
		t.Errorf("%q", order)
	}
}

// One worker that floods delays no other's answers.
func TestFlood(t *testing.T) {
	t.Parallel()
	c := start(t, "--grace=1s")
	c.run("flood", nil, "yes", strings.Repeat("flood ", 20))
	c.line("flood", "flood")
	longest := time.Duration(0)
	for range 20 {
		began := time.Now()
		c.run("quick", nil, "sh", "-c", "echo hello; exec sleep 1000000")
		c.call("stop", params{"worker_id": "quick"})
		longest = max(longest, time.Since(began))
	}
	t.Logf("the longest of a start and a stop: %v", longest)
	if longest > 20*time.Second {
		t.Errorf("a start and a stop took %v", longest)
	}
	c.call("stop", params{"worker_id": "flood"})
}
