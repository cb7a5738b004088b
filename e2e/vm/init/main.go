//go:build linux

// Init is process 1 of the virtual machine: it mounts what programs expect, runs
// the jobs of the plan one after the other, reports, and ends the machine.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"leash/e2e/vm/plan"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "init is for a virtual machine: see docs/vm-tests.md")
		os.Exit(125)
	}
	if err := boot(); err != nil {
		fmt.Fprintln(os.Stderr, "init:", err)
		end()
	}
	defer end()
	port, err := openPort()
	if err != nil {
		fmt.Fprintln(os.Stderr, "init:", err)
		return
	}
	r := &reporter{out: json.NewEncoder(port)}
	r.say(plan.Line{Kind: plan.Boot, Text: release()})
	if err := runAll(r); err != nil {
		r.say(plan.Line{Kind: plan.Error, Text: err.Error()})
		return
	}
	r.say(plan.Line{Kind: plan.End})
	_ = unix.IoctlSetInt(int(port.Fd()), unix.TCSBRK, 1) // tcdrain(3): all of it is out
}

type reporter struct{ out *json.Encoder }

func (r *reporter) say(l plan.Line) { _ = r.out.Encode(l) }

func runAll(r *reporter) error {
	text, err := os.ReadFile(plan.File)
	if err != nil {
		return err
	}
	var p plan.Plan
	if err := json.Unmarshal(text, &p); err != nil {
		return err
	}
	if err := setCgroups(); err != nil {
		return err
	}
	for _, j := range p.Jobs {
		if err := runJob(r, j); err != nil {
			return fmt.Errorf("%s: %w", j.Name(), err)
		}
	}
	return nil
}

// boot mounts the file systems.
func boot() error {
	for _, m := range []struct {
		kind, at, options string
		mode              os.FileMode
	}{
		{"proc", "/proc", "", 0o555},
		{"sysfs", "/sys", "", 0o555},
		{"devtmpfs", "/dev", "mode=755", 0o755},
		{"devpts", "/dev/pts", "ptmxmode=666", 0o755},
		{"tmpfs", "/dev/shm", "mode=1777", 0o1777},
		{"tmpfs", "/run", "mode=755", 0o755},
		{"tmpfs", "/tmp", "mode=1777", 0o1777},
		{"cgroup2", "/sys/fs/cgroup", "", 0o555},
	} {
		if err := os.MkdirAll(m.at, m.mode); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.at, m.kind, 0, m.options); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.kind, m.at, err)
		}
	}
	for link, to := range map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"} {
		_ = os.Symlink(to, "/dev/"+link)
	}
	for _, dir := range []string{"/home/user", runtimeDir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		if err := os.Chmod(dir, 0o700); err != nil {
			return err
		}
		if err := os.Chown(dir, plan.UID, plan.UID); err != nil {
			return err
		}
	}
	return nil
}

// openPort opens the port and has it pass on what is written as it stands.
func openPort() (*os.File, error) {
	port, err := os.OpenFile(plan.Port, os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	t, err := unix.IoctlGetTermios(int(port.Fd()), unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", plan.Port, err)
	}
	t.Oflag &^= unix.OPOST
	if err := unix.IoctlSetTermios(int(port.Fd()), unix.TCSETS, t); err != nil {
		return nil, fmt.Errorf("%s: %w", plan.Port, err)
	}
	return port, nil
}

func release() string {
	b, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return strings.TrimSpace(string(b))
}

// end is the end of the machine: qemu, told not to reboot, ends.
func end() {
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	select {}
}

// reap waits until the process has ended, and reaps whatever comes to process 1
// meanwhile.
func reap(pid int) (syscall.WaitStatus, error) {
	for {
		var ws syscall.WaitStatus
		got, err := syscall.Wait4(-1, &ws, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return ws, err
		case got == pid:
			return ws, nil
		}
	}
}

// endBackOff kills whatever a job has left behind and names it. A process that was
// just about to end gets its time.
func endBackOff() (left []string) {
	for patience := time.Now().Add(10 * time.Second); ; {
		for {
			if got, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err != nil || got <= 0 {
				break
			}
		}
		rest := processes()
		if len(rest) == 0 {
			return left
		}
		if time.Now().Before(patience) {
			_, _ = unix.Poll(nil, 10)
			continue
		}
		for pid, what := range rest {
			left = append(left, what)
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		_, _ = reap(-1) // until there is no child
	}
}

// processes are all besides this one and the kernel's threads, which have no
// program.
func processes() map[int]string {
	found := make(map[int]string)
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		var pid int
		if _, err := fmt.Sscan(filepath.Base(dir), &pid); err != nil || pid == 1 {
			continue
		}
		if exe, err := os.Readlink(dir + "/exe"); err == nil {
			args, _ := os.ReadFile(dir + "/cmdline")
			found[pid] = fmt.Sprintf("process %d, %s: %q", pid, exe, strings.Split(strings.TrimRight(string(args), "\x00"), "\x00"))
		}
	}
	return found
}
