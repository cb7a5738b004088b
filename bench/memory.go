//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

const instances = 5 // of each program; more than one, so that code pages are shared

// lineup is one scene for each contender, all at the same time.
type lineup struct {
	contenders []*contender
	scenes     map[*contender]*scene
}

func (b *bench) lineUp(contenders []*contender) (*lineup, error) {
	l := &lineup{contenders: contenders, scenes: make(map[*contender]*scene)}
	err := interleave(1, contenders, func(c *contender) error {
		s, err := b.stage(c, instances)
		if err == nil {
			l.scenes[c] = s
		}
		return err
	})
	if err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

func (l *lineup) close() error {
	var err error
	for _, s := range l.scenes {
		err = errors.Join(err, s.close())
	}
	return err
}

// sample reads a number from every watcher: by contender, in the order of the
// watchers.
func (l *lineup) sample(read func(pid int) (int64, error)) (map[*contender][]int64, error) {
	result := make(map[*contender][]int64)
	for c, s := range l.scenes {
		for _, h := range s.watchers {
			value, err := read(h.pid)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			result[c] = append(result[c], value)
		}
	}
	return result, nil
}

// measureMemory: what an idle watcher costs that no other process pays for.
func (b *bench) measureMemory() ([]row, error) {
	ours := []*contender{b.guard(), b.run()}
	floor := b.minimalGo()
	peers := []*contender{floor, b.shellLoop("dash"), b.shellLoop("bash"), b.psutilLoop()}
	l, err := b.lineUp(append(ours, peers...))
	if err != nil {
		return nil, err
	}
	time.Sleep(5 * time.Second) // until start-up is over in all of them
	anonymous, err1 := l.sample(func(pid int) (int64, error) { return withSentinel(pid, "Anonymous:") })
	unique, err2 := l.sample(func(pid int) (int64, error) { return withSentinel(pid, "Private_Clean:", "Private_Dirty:") })
	if err := errors.Join(err1, err2, l.close()); err != nil {
		return nil, err
	}
	// Of run it is what both of its processes have.
	rows := memoryRows("idle, anonymous memory", ours, peers, anonymous)
	more := memoryRows("idle, unique set", ours, peers, unique)
	for i, c := range ours {
		most, goal := int64(1<<20), "< 1 MiB"
		if i == 1 {
			most, goal = 2<<20, "< 2 MiB, both processes"
		}
		if c.absent == "" {
			more[i].verdict = verdict(median(unique[c]) <= most)
		}
		more[i].goal = goal
	}
	return append(rows, more...), nil
}

func memoryRows(label string, ours, peers []*contender, bytes map[*contender][]int64) []row {
	var cells []string
	for _, c := range peers {
		cells = append(cells, c.name+" "+orAbsent(c, showKB(median(bytes[c]))))
	}
	var rows []row
	for i, c := range ours {
		r := row{measure: label + ", " + c.name, ours: orAbsent(c, showKB(median(bytes[c]))),
			ratio: showRatio(ratio(median(bytes[c]), median(bytes[peers[0]])), peers[0].name), verdict: "-"}
		if i == 0 {
			r.peers = cells
		}
		rows = append(rows, r)
	}
	return rows
}

func orAbsent(c *contender, cell string) string {
	if c.absent != "" {
		return c.absent
	}
	return cell
}

func showKB(bytes int64) string {
	return fmt.Sprintf("%d kB", bytes>>10) // as /proc counts them: 1024 bytes
}

// withSentinel adds up fields of a process and of those children of it that run the
// same program.
func withSentinel(pid int, fields ...string) (int64, error) {
	sum, err := smaps(pid, fields...)
	program, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	for _, child := range childrenOf(pid) {
		if other, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", child)); err != nil || other != program {
			continue
		}
		var more int64
		more, err = smaps(child, fields...)
		sum += more
	}
	return sum, err
}

// smaps adds up fields of /proc/PID/smaps_rollup, in bytes.
func smaps(pid int, fields ...string) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	return sumFields(string(text), 1<<10, fields...)
}

// sumFields adds up the numbers of lines that begin with one of the fields.
func sumFields(text string, unit int64, fields ...string) (int64, error) {
	var sum int64
	found := 0
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		for _, field := range fields {
			if len(words) < 2 || words[0] != field {
				continue
			}
			number, err := strconv.ParseInt(words[1], 10, 64)
			if err != nil {
				return 0, err
			}
			sum += number * unit
			found++
		}
	}
	if found != len(fields) {
		return 0, fmt.Errorf("found %d of %v", found, fields)
	}
	return sum, nil
}
