//go:build linux

package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

// Filters of system calls may refuse epoll in whole or in part. The watchdog
// then checks again and again, and waits by poll(2).
func TestWhereEpollIsRefused(t *testing.T) {
	py := testkit.NeedPython(t)
	for name, call := range map[string]int{"create": unix.SYS_EPOLL_CREATE1, "ctl": unix.SYS_EPOLL_CTL} {
		refuse := filtered(fmt.Sprintf("ins(0x15,0,1,%d) + ins(0x06,0,0,0x00050001)", call)) // EPERM
		behind := func(program string, args ...string) *exec.Cmd {
			cmd := exec.Command(py, append([]string{"-c", refuse, program}, args...)...)
			cmd.Env = plainly(t).Env
			return cmd
		}
		t.Run(name, func(t *testing.T) {
			dog := testkit.Watchdog(t)
			log := filepath.Join(t.TempDir(), "log")
			if status, out, stderr := testkit.Run(t, behind(dog, "run", "--log-file", log, "--", "sh", "-c", "echo hi; exit 3")); status != 3 || out != "hi" || stderr != "" {
				t.Errorf("run: status %d, %q, %q", status, out, stderr)
			}
			status, _, stderr := testkit.Run(t, behind(dog, "run", "--backend", "event", "--", "true"))
			if status != 125 || !strings.HasPrefix(stderr, "watchdog: --backend event: the system refuses epoll") || strings.Contains(stderr, "\n") {
				t.Errorf("event: status %d, %q", status, stderr)
			}
			for _, command := range []string{"--dry-run", "list", "metrics", "doctor"} {
				if status, out, stderr := testkit.Run(t, behind(testkit.Reaper(t), command)); status != 0 || out == "" || stderr != "" {
					t.Errorf("reaper %s: status %d, %q, %q", command, status, out, stderr)
				}
			}

			parent, worker := sleeper(t), scriptWorker(t, "trap '' TERM; setsid sleep 1000000 & echo ready; wait; wait")
			tree := testkit.Descendants(t, worker.PID)
			g := testkit.Start(t, behind(dog, "guard", "--log-format", "json", "--grace", "200ms", "--poll-interval", "50ms",
				"--worker-pid", pid(worker), "--parent-pid", pid(parent)))
			if b := g.Stderr.AwaitEvent("watchdog.started").Str("backend"); b != "poll" {
				t.Errorf("backend %q", b)
			}
			parent.Kill()
			worker.Wait()
			if status := g.Wait(); status != 0 {
				t.Errorf("guard: status %d", status)
			}
			testkit.AwaitGone(t, append(tree, worker.Ident)...)

			// A lifeline, with a tree to be killed.
			cmd := behind(dog, "run", "--parent-fd", "0", "--grace", "100ms", "--", "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			p := testkit.Start(t, cmd)
			p.Stdout.Await("ready")
			in.Close()
			if status := p.Wait(); status != 137 {
				t.Errorf("lifeline: status %d", status)
			}
			if status, _, _ := testkit.Run(t, behind(dog, "run", "--parent-fd", "0", "--", "echo", "no parent")); status != 143 {
				t.Errorf("/dev/null as a lifeline: status %d", status)
			}
		})
	}
}
