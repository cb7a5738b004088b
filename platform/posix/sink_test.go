//go:build linux

package posix

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

// line is a record of n bytes that ends with a line feed.
func line(n int) []byte { return append(bytes.Repeat([]byte("x"), n-1), '\n') }

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	var p [2]int
	// Not os.Pipe, which makes both ends non-blocking: these must block.
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	r, w = os.NewFile(uintptr(p[0]), "reader"), os.NewFile(uintptr(p[1]), "writer")
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

func streams(t *testing.T) (r, w *os.File) {
	t.Helper()
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	r, w = os.NewFile(uintptr(p[0]), "reader"), os.NewFile(uintptr(p[1]), "writer")
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

var ways = map[string]func(*testing.T) (r, w *os.File){"pipe": pipe, "socket": streams}

func sinkOf(t *testing.T, f *os.File) io.Writer {
	t.Helper()
	s, err := Sink(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// within fails the test if f blocks. release makes a blocked f return.
func within(t *testing.T, f, release func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(testkit.Patience):
		release()
		<-done
		t.Fatal("it blocked until its reader was closed")
	}
}

func TestReaderGetsWhatWasWritten(t *testing.T) {
	for name, make := range ways {
		t.Run(name, func(t *testing.T) {
			r, w := make(t)
			s := sinkOf(t, w)
			for _, text := range []string{"one\n", "two\n", ""} {
				if n, err := s.Write([]byte(text)); err != nil || n != len(text) {
					t.Errorf("%q: %d, %v", text, n, err)
				}
			}
			got := string(readExactly(t, r, 8))
			if got != "one\ntwo\n" {
				t.Errorf("read %q", got)
			}
		})
	}
}

func readExactly(t *testing.T, r io.Reader, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		t.Fatal(err)
	}
	return b
}

// A reader that does not read loses records; the writer does not wait. The reader finds whole
// records later, and new ones once there is space.
func TestStoppedReaderNeverBlocks(t *testing.T) {
	for name, make := range ways {
		t.Run(name, func(t *testing.T) {
			r, w := make(t)
			s, record := sinkOf(t, w), line(256)
			written := 0
			within(t, func() {
				for {
					n, err := s.Write(record)
					if err != nil {
						if !errors.Is(err, ErrFull) || n != 0 {
							t.Errorf("a full %s: %d, %v", name, n, err)
						}
						break
					}
					written++
				}
				for range 100 { // it stays full
					if _, err := s.Write(record); !errors.Is(err, ErrFull) {
						t.Errorf("still full: %v", err)
					}
				}
			}, func() { r.Close() })
			if t.Failed() || written < 16 {
				t.Fatalf("only %d records fitted", written)
			}
			for range written {
				if got := readExactly(t, r, len(record)); !bytes.Equal(got, record) {
					t.Fatalf("a torn record: %q", got)
				}
			}
			if _, err := s.Write([]byte("later\n")); err != nil {
				t.Errorf("after the pipe was read: %v", err)
			}
			if got := string(readExactly(t, r, 6)); got != "later\n" {
				t.Errorf("read %q", got)
			}
		})
	}
}

// A plain write to the full pipe of these tests would block.
func TestFullPipeHasNoRoom(t *testing.T) {
	r, w := pipe(t)
	if !hasRoom(t, w) {
		t.Error("an empty pipe has no space")
	}
	fillUp(t, r, w)
	if hasRoom(t, w) || flagsOf(t, int(w.Fd()))&unix.O_NONBLOCK != 0 {
		t.Error("a full pipe has space, or does not block")
	}
	readExactly(t, r, 4096)
	if !hasRoom(t, w) {
		t.Error("after a read the pipe has no space")
	}
}

func hasRoom(t *testing.T, w *os.File) bool {
	t.Helper()
	p := []unix.PollFd{{Fd: int32(w.Fd()), Events: unix.POLLOUT}}
	if _, err := unix.Poll(p, 0); err != nil {
		t.Fatal(err)
	}
	return p[0].Revents&unix.POLLOUT != 0
}

func fillUp(t *testing.T, r, w *os.File) {
	t.Helper()
	s := sinkOf(t, w)
	within(t, func() {
		for _, size := range []int{4096, 1} {
			for {
				if _, err := s.Write(line(size)); err != nil {
					break
				}
			}
		}
	}, func() { r.Close() })
}

func TestClosedReaderIsAnError(t *testing.T) {
	for name, make := range ways {
		t.Run(name, func(t *testing.T) {
			r, w := make(t)
			s := sinkOf(t, w)
			r.Close()
			for range 3 {
				if n, err := s.Write([]byte("record\n")); !errors.Is(err, unix.EPIPE) || n != 0 {
					t.Errorf("%d, %v", n, err)
				}
			}
		})
		t.Run(name+" closed before", func(t *testing.T) {
			r, w := make(t)
			r.Close()
			if n, err := sinkOf(t, w).Write([]byte("record\n")); !errors.Is(err, unix.EPIPE) || n != 0 {
				t.Errorf("%d, %v", n, err)
			}
		})
	}
}

// SIGPIPE does not end the process, also when the pipe is standard error.
func TestClosedReaderEndsNoProcess(t *testing.T) {
	for name, make := range ways {
		t.Run(name, func(t *testing.T) {
			r, w := make(t)
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), writesAlone+"=1")
			cmd.Stderr = w
			r.Close()
			p := testkit.Start(t, cmd)
			if status := p.Wait(); status != 0 {
				t.Errorf("status %d", status)
			}
			if got := p.Stdout.AwaitEnd(); got != strings.TrimSpace(strings.Repeat("0 broken pipe\n", 3)) {
				t.Errorf("it printed %q", got)
			}
		})
	}
	// A program that does not ignore SIGPIPE is ended.
	r, w := pipe(t)
	cmd := exec.Command("/bin/sh", "-c", "echo record >&2; echo record >&2")
	cmd.Stderr = w
	r.Close()
	if status := testkit.Start(t, cmd).Wait(); status != 128+int(unix.SIGPIPE) {
		t.Errorf("the shell ended with status %d", status)
	}
}

// The descriptor is shared with other processes, so its mode must not change.
func TestModeIsLeftAlone(t *testing.T) {
	for name, make := range ways {
		for _, blocking := range []bool{true, false} {
			_, w := make(t)
			fd := int(w.Fd())
			if err := unix.SetNonblock(fd, !blocking); err != nil {
				t.Fatal(err)
			}
			before := flagsOf(t, fd)
			s, err := Sink(fd)
			if err != nil {
				t.Fatal(err)
			}
			s.Write(line(100))
			if after := flagsOf(t, fd); after != before {
				t.Errorf("%s, blocking %t: flags went from %#o to %#o", name, blocking, before, after)
			}
			if (before&unix.O_NONBLOCK == 0) != blocking {
				t.Errorf("%s: the set-up failed: flags %#o", name, before)
			}
		}
	}
}

func flagsOf(t *testing.T, fd int) int {
	t.Helper()
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		t.Fatal(err)
	}
	return flags
}

func TestFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := sinkOf(t, f)
	want := line(1 << 20)
	if n, err := s.Write(want); err != nil || n != len(want) {
		t.Errorf("%d, %v", n, err)
	}
	if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes in the file, %v", len(got), err)
	}
}

func TestDevice(t *testing.T) {
	null, err := os.OpenFile("/dev/null", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if n, err := sinkOf(t, null).Write(line(100)); err != nil || n != 100 {
		t.Errorf("/dev/null: %d, %v", n, err)
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	if n, err := sinkOf(t, full).Write(line(100)); !errors.Is(err, unix.ENOSPC) || n != 0 {
		t.Errorf("/dev/full: %d, %v", n, err)
	}
}

func TestWhatCannotBeWritten(t *testing.T) {
	r, w := pipe(t)
	if _, err := Sink(int(r.Fd())); !errors.Is(err, unix.EBADF) {
		t.Errorf("the reading end: %v", err)
	}
	fd := int(w.Fd())
	w.Close()
	if _, err := Sink(fd); !errors.Is(err, unix.EBADF) {
		t.Errorf("a closed descriptor: %v", err)
	}
}

func TestTornRecordEndsItsLine(t *testing.T) {
	r, w := pipe(t)
	s := sinkOf(t, w)
	long := line(100_000) // more than a pipe holds
	n, err := s.Write(long)
	if !errors.Is(err, ErrFull) || n <= 0 || n >= len(long) {
		t.Fatalf("wrote %d: %v", n, err)
	}
	readExactly(t, r, n)
	if _, err := s.Write([]byte("next\n")); err != nil {
		t.Fatal(err)
	}
	if got := string(readExactly(t, r, 6)); got != "\nnext\n" {
		t.Errorf("after a torn record: %q", got)
	}
}
