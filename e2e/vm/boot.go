package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"leash/e2e/vm/plan"
)

// boot runs the plan on one kernel.
func (v *vm) boot(kernel, initrd, console string) error {
	ctx, cancel := context.WithTimeout(v.ctx, bound)
	defer cancel()
	// The first serial port is the kernel's, the second one the report's. Without
	// mitigations, which emulation pays dearly for, it takes a quarter less time.
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "768",
		"-display", "none", "-monitor", "none", "-nodefaults", "-no-user-config", "-no-reboot",
		"-serial", "file:"+console, "-serial", "stdio",
		"-kernel", kernel, "-initrd", initrd, "-append", "console=ttyS0 quiet panic=-1 mitigations=off")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s := v.skips
	if v.run != "" {
		s = nil
	}
	verdict := newVerdict(v.jobs, v.tests, s)
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var l plan.Line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			verdict.complain("it reported %q: %v", lines.Text(), err)
			continue
		}
		verdict.take(l)
		v.show(verdict.release, l)
	}
	if err := lines.Err(); err != nil {
		verdict.complain("its report: %v", err)
	}
	if err := cmd.Wait(); err != nil {
		verdict.complain("qemu: %v", err)
	}
	if err := ctx.Err(); err != nil {
		verdict.complain("it may take %v: %v", bound, err)
	}
	verdict.used = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	complaints := verdict.close()
	v.print.Lock()
	defer v.print.Unlock()
	if len(complaints) == 0 {
		fmt.Println(verdict.summary())
		return nil
	}
	name := filepath.Base(filepath.Dir(kernel))
	for _, line := range verdict.output {
		fmt.Printf("%s| %s\n", verdict.release, line)
	}
	text, _ := os.ReadFile(console)
	fmt.Printf("console of %s:\n%s\n", name, text)
	return fmt.Errorf("%s:\n  %s", name, strings.Join(complaints, "\n  "))
}

func (v *vm) show(release string, l plan.Line) {
	v.print.Lock()
	defer v.print.Unlock()
	switch {
	case l.Kind == plan.Done:
		fmt.Printf("%-28s %-30s status %d, %.1f s\n", release, l.Job, l.Status, l.Seconds)
	case v.verbose && (l.Kind == plan.Pass || l.Kind == plan.Skip || l.Kind == plan.Fail):
		fmt.Printf("%-28s %-30s %s %s, %.1f s\n", release, l.Job, l.Kind, l.Test, l.Seconds)
	}
}
