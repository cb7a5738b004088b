//go:build linux

package posix

import (
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func nullDevice(t *testing.T, flags int) int {
	t.Helper()
	fd, err := unix.Open(os.DevNull, flags, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func TestCheckFD(t *testing.T) {
	const closed = 1 << 30 // above every limit
	for _, c := range []struct {
		fd          int
		read, write string // the end of the error
		kept        string
	}{
		{fd: -1, read: "from 0 on", write: "from 0 on", kept: "not above 2"},
		{fd: closed, read: "is not open", write: "is not open", kept: "is not open"},
		{fd: nullDevice(t, unix.O_RDONLY), write: "not open for writing"},
		{fd: nullDevice(t, unix.O_WRONLY), read: "not open for reading"},
		{fd: nullDevice(t, unix.O_RDWR)},
		{fd: nullDevice(t, unix.O_PATH), read: "not open for writing", write: "not open for writing"},
	} {
		for want, err := range map[*string]error{&c.read: CheckFD(c.fd, false), &c.write: CheckFD(c.fd, true), &c.kept: CheckKeptFD(c.fd)} {
			if (err == nil) != (*want == "") || err != nil && !strings.HasSuffix(err.Error(), *want) {
				t.Errorf("descriptor %d: %v, want %q", c.fd, err, *want)
			}
		}
	}
	if CheckKeptFD(2) == nil {
		t.Error("standard error may be kept")
	}
}

func TestGivenFDs(t *testing.T) {
	was := GivenFDs() // what the tests were given, and keep
	given, ours := nullDevice(t, unix.O_RDONLY), nullDevice(t, unix.O_RDONLY|unix.O_CLOEXEC)
	got := GivenFDs()
	if !slices.Contains(got, given) || slices.Contains(got, ours) || slices.Contains(got, 2) || len(got) != len(was)+1 {
		t.Errorf("given %v, not %v, and %d is", got, was, given)
	}
	CloseOthers(was)
	if got := GivenFDs(); !slices.Equal(got, was) {
		t.Errorf("given %v, want %v", got, was)
	}
	CloseOthers([]int{given})
	defer CloseOthers(was)
	if got := GivenFDs(); !slices.Equal(got, []int{given}) {
		t.Errorf("given %v, want %d alone", got, given)
	}
}
