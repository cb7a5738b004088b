//go:build linux

package posix

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTerminal(t *testing.T) {
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	check(err)
	defer master.Close()
	fd := int(master.Fd())
	check(unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	check(err)
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	check(err)
	defer tty.Close()
	for _, columns := range []int{0, 1, 80, 65535} { // 0: the width is unknown
		check(unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: uint16(columns)}))
		if !IsTerminal(tty) || Width(tty) != columns {
			t.Errorf("%d columns: %t, %d", columns, IsTerminal(tty), Width(tty))
		}
	}
}

func TestNoTerminal(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	closed, err := os.Create(t.TempDir() + "/file")
	if err != nil {
		t.Fatal(err)
	}
	for _, open := range []bool{true, false} {
		for _, f := range []*os.File{r, w, null, closed} {
			if IsTerminal(f) || Width(f) != 0 {
				t.Errorf("%s: %t, %d", f.Name(), IsTerminal(f), Width(f))
			}
		}
		if open {
			closed.Close()
		}
	}
}
