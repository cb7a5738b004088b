//go:build linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"leash/internal/testkit"
)

// Whatever there is too little of, it is one line and 125, or it works.
func TestTooFewDescriptors(t *testing.T) {
	for _, call := range []string{
		testkit.Watchdog(t) + " run -- true", testkit.Watchdog(t) + " run --log-format json --log-file /dev/null -- true",
		testkit.Reaper(t) + " --dry-run", testkit.Reaper(t) + " list",
	} {
		for n := range 16 {
			cmd := exec.Command("sh", "-c", fmt.Sprintf("ulimit -n %d; exec %s", n+3, call))
			cmd.Env = plainly(t).Env
			status, _, stderr := testkit.Run(t, cmd)
			if status != 0 && status != 125 || status == 125 && (stderr == "" || strings.Contains(stderr, "\n")) || n+3 < 12 && status == 0 {
				t.Errorf("%s with %d descriptors: status %d, %q", call, n+3, status, stderr)
			}
		}
	}
}

func TestBrokenLogReaderStopsNothing(t *testing.T) {
	for name, prepare := range map[string]func(r, w *os.File){
		"gone":    func(r, w *os.File) { r.Close() },
		"stalled": fill,
	} {
		t.Run(name, func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			prepare(r, w)
			cmd := watchdog(t, "run", "--", "sh", "-c", "echo ready; exec sleep 1000000")
			cmd.Stderr = w
			p := testkit.Start(t, cmd)
			w.Close()
			p.Stdout.Await("ready")
			p.Signal(syscall.SIGHUP) // forwarded, and its record cannot be written
			if status := p.Wait(); status != 128+1 {
				t.Errorf("status %d", status)
			}
			r.Close()
		})
	}
}

// fill writes into a pipe until not one byte more goes in.
func fill(_, w *os.File) {
	fd := int(w.Fd())
	syscall.SetNonblock(fd, true)
	for b := make([]byte, 4096); ; {
		if _, err := syscall.Write(fd, b); err != nil {
			if len(b) == 1 {
				break
			}
			b = b[:1]
		}
	}
	syscall.SetNonblock(fd, false)
}
