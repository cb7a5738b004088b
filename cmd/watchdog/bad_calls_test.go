//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// refused checks that a call fails with this one line.
func refused(t *testing.T, args []string, want string, env ...string) {
	t.Helper()
	clean(t, env...)
	_, err := parse(args, io.Discard)
	if err == nil {
		t.Errorf("%q was accepted", args)
	} else if err.Error() != want {
		t.Errorf("%q gives\n%s; want\n%s", args, err, want)
	} else if strings.Contains(err.Error(), "\n") {
		t.Errorf("%q gives more than one line: %s", args, err)
	}
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

// Descriptors that are open for reading instead of writing, or the reverse.
func TestBadDescriptors(t *testing.T) {
	clean(t)
	r, w := pipe(t)
	path, err := unix.Open("/", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(path)
	for _, c := range []struct {
		flag string
		fd   int
		want string
	}{
		{"--parent-fd", int(w.Fd()), "not open for reading"},
		{"--log-fd", int(r.Fd()), "not open for writing"},
		{"--log-fd", path, "not open for writing"},
	} {
		want := fmt.Sprintf("%s: descriptor %d is %s", c.flag, c.fd, c.want)
		_, err := parse([]string{"--worker-pid=1", fmt.Sprintf("%s=%d", c.flag, c.fd)}, io.Discard)
		if err == nil || err.Error() != want {
			t.Errorf("%v; want %s", err, want)
		}
	}
}

// A thread is not a process, although /proc has a folder for it.
func TestThreadIsNoProcess(t *testing.T) {
	clean(t)
	tids, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, e := range tids {
		tid := atoi(t, e.Name())
		if tid == os.Getpid() {
			continue
		}
		tried++
		_, err := parse([]string{"--worker-pid", e.Name()}, io.Discard)
		want := fmt.Sprintf("--worker-pid: %d is a thread of process %d: give the process", tid, os.Getpid())
		if err == nil || err.Error() != want {
			t.Errorf("%v; want %s", err, want)
		}
	}
	if tried == 0 {
		t.Fatal("a Go program has more than one thread")
	}
}

// An error is one line on standard error, and has its own exit status.
func TestFail(t *testing.T) {
	for err, want := range map[error]int{
		fmt.Errorf("two\nlines"):                                        exitFailed,
		&commandError{fmt.Errorf("x"), exitNotFound}:                    exitNotFound,
		fmt.Errorf("start: %w", &commandError{io.EOF, exitCannot}):      exitCannot,
		commandFailed("x", os.ErrNotExist):                              exitNotFound,
		commandFailed("x", &os.PathError{Op: "exec", Err: unix.ENOENT}): exitNotFound,
		commandFailed("x", unix.EACCES):                                 exitCannot,
		commandFailed("x", unix.ENOEXEC):                                exitCannot,
	} {
		text, status := stderrOf(t, func() int { return fail(err) })
		if status != want {
			t.Errorf("%v: status %d, want %d", err, status, want)
		}
		if !strings.HasPrefix(text, "watchdog: ") || strings.Count(text, "\n") != 1 || !strings.HasSuffix(text, "\n") {
			t.Errorf("%v is reported as %q", err, text)
		}
	}
}

func stderrOf(t *testing.T, f func() int) (string, int) {
	t.Helper()
	r, w := pipe(t)
	old := os.Stderr
	os.Stderr = w
	status := f()
	os.Stderr = old
	w.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text), status
}
