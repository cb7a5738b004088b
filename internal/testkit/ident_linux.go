//go:build linux

package testkit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Lookup returns the process that has the PID now, and whether there is one.
func Lookup(pid int) (id Ident, ok bool) {
	st, err := readStat(pid)
	return Ident{pid, st.start}, err == nil
}

// Alive reports whether the process lives. A zombie is dead, unless other threads of the
// process still run after the first one has ended.
func (id Ident) Alive() bool {
	st, err := readStat(id.PID)
	if err != nil || st.start != id.Start || st.state == 'X' {
		return false
	}
	return st.state != 'Z' || st.threads > 1
}

// Signal sends sig through a pidfd, after checking the start time. It returns unix.ESRCH if
// the process has been reaped.
func (id Ident) Signal(sig unix.Signal) error {
	fd, err := id.open()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.PidfdSendSignal(fd, sig, nil, 0)
}

// Kill sends SIGKILL. A process that has ended already is no error.
func (id Ident) Kill() error {
	if err := id.Signal(unix.SIGKILL); !errors.Is(err, unix.ESRCH) {
		return err
	}
	return nil
}

// program is the program of the process, while it lives.
func (id Ident) program() string {
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", id.PID))
	if err != nil || !id.Alive() {
		return ""
	}
	return strings.TrimSpace(string(bytes.ReplaceAll(args, []byte{0}, []byte{' '})))
}

// open takes a pidfd first and checks the start time after, so that the
// descriptor cannot belong to a later process.
func (id Ident) open() (int, error) {
	fd, err := unix.PidfdOpen(id.PID, 0)
	if err == unix.EINVAL || err == unix.ENOENT { // ended, and its PID is the ID of a group, session or thread now
		return -1, unix.ESRCH
	}
	if err != nil {
		return -1, err
	}
	if st, err := readStat(id.PID); err != nil || st.start != id.Start {
		unix.Close(fd)
		return -1, unix.ESRCH
	}
	return fd, nil
}

// StayAlive watches the processes for a while and fails the test as soon as one of them
// ends. It is for tests that something has no effect, where there is no event to wait for.
func StayAlive(t testing.TB, window time.Duration, ids ...Ident) {
	t.Helper()
	end := time.Now().Add(window)
	for {
		for _, id := range ids {
			if !id.Alive() {
				t.Fatalf("expected %v to run on, but it has ended (log: %s)", id, logPath(t))
			}
		}
		left := time.Until(end)
		if left <= 0 {
			return
		}
		await(ids, left)
	}
}

// descendants of a process that has been reaped are not found: its PID may have been reused.
func descendants(of Ident) (found []Ident, err error) {
	if id, ok := Lookup(of.PID); !ok || id != of {
		return nil, nil
	}
	return below(of.PID), nil
}

func below(pid int) []Ident {
	var found []Ident
	for _, child := range children(pid) {
		if id, ok := Lookup(child); ok && id.Alive() {
			found = append(found, id)
		}
		found = append(found, below(child)...)
	}
	return found
}

// children reads the kernel's own lists, one for each thread, rather than the
// table of all processes.
func children(pid int) []int {
	var pids []int
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, name := range lists {
		text, _ := os.ReadFile(name)
		for _, field := range strings.Fields(string(text)) {
			if n, err := strconv.Atoi(field); err == nil {
				pids = append(pids, n)
			}
		}
	}
	return pids
}

// awaitGone waits for all the processes to end and returns those that did
// not.
func awaitGone(ids []Ident, patience time.Duration) []Ident {
	end := time.Now().Add(patience)
	for i, id := range ids {
		if !await([]Ident{id}, time.Until(end)) {
			return alive(ids[i:])
		}
	}
	return nil
}

func alive(ids []Ident) []Ident {
	var left []Ident
	for _, id := range ids {
		if id.Alive() {
			left = append(left, id)
		}
	}
	return left
}

// await waits until at least one of the processes has ended. A pidfd becomes
// readable when the whole process has, zombie or not.
func await(ids []Ident, patience time.Duration) bool {
	fds := make([]unix.PollFd, 0, len(ids))
	defer func() {
		for _, fd := range fds {
			unix.Close(int(fd.Fd))
		}
	}()
	for _, id := range ids {
		fd, err := id.open()
		if err != nil && !id.Alive() {
			return true
		}
		if err != nil { // out of descriptors, for example
			panic(fmt.Sprintf("testkit: pidfd of process %d: %v", id.PID, err))
		}
		fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	end := time.Now().Add(patience)
	for {
		left := max(time.Until(end).Milliseconds(), 0)
		n, err := unix.Poll(fds, int(left))
		if !errors.Is(err, unix.EINTR) {
			return n > 0
		}
	}
}

// stat is what we need of /proc/PID/stat.
type stat struct {
	state   byte
	threads int
	start   uint64
}

// readStat reads /proc/PID/stat. The name of a program stands in brackets and
// may hold anything, brackets too, so the fields count from the last bracket.
func readStat(pid int) (stat, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	return parseStat(string(text))
}

func parseStat(text string) (stat, error) {
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 {
		return stat{}, fmt.Errorf("stat line %q is too short", text)
	}
	threads, err := strconv.Atoi(fields[17])
	if err != nil {
		return stat{}, fmt.Errorf("threads: %w", err)
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return stat{}, fmt.Errorf("start time: %w", err)
	}
	return stat{state: fields[0][0], threads: threads, start: start}, nil
}
