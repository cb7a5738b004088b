//go:build linux || windows

package testkit

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Proc is a process that a test started.
type Proc struct {
	Ident
	Stdout, Stderr *Lines // nil if the command had its own

	t    testing.TB
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
}

// Start starts the command, in a process group of its own unless SysProcAttr
// says otherwise, and collects what it prints. When the test ends, the process
// and all that descends from it are killed; when the test has failed, their
// output is shown.
func Start(t testing.TB, cmd *exec.Cmd) *Proc {
	t.Helper()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = ownGroup()
	}
	p := &Proc{t: t, cmd: cmd, done: make(chan struct{})}
	// Pipes of our own, not those of cmd: these stay open after the end of
	// the process, and what its children print still arrives.
	var ours []*os.File
	if cmd.Stdout == nil {
		w := p.pipe(&p.Stdout)
		cmd.Stdout, ours = w, append(ours, w)
	}
	if cmd.Stderr == nil {
		w := p.pipe(&p.Stderr)
		cmd.Stderr, ours = w, append(ours, w)
	}
	err := cmd.Start()
	for _, w := range ours {
		w.Close()
	}
	if err != nil {
		t.Fatalf("start %q: %v", cmd.Args, err)
	}
	// Package os has a handle on it, or it is a zombie at least: nobody has waited
	// for it yet.
	p.Ident = Identify(t, cmd.Process.Pid)
	go func() {
		_ = cmd.Wait() // the state tells more
		close(p.done)
	}()
	t.Cleanup(p.cleanup)
	return p
}

// Run runs the command to its end and returns its status and output.
func Run(t testing.TB, cmd *exec.Cmd) (status int, stdout, stderr string) {
	t.Helper()
	p := Start(t, cmd)
	status = p.Wait()
	return status, p.Stdout.AwaitEnd(), p.Stderr.AwaitEnd()
}

// pipe makes the pipe for one output. The reading end stays open until the
// test ends.
func (p *Proc) pipe(lines **Lines) *os.File {
	r, w, err := os.Pipe()
	if err != nil {
		p.t.Fatal(err)
	}
	*lines = Collect(p.t, r)
	// In the background: a read that is under way holds the file until the
	// last writer has ended, on Windows.
	p.t.Cleanup(func() { go r.Close() })
	return w
}

// Wait waits for the end of the process and returns its exit status, 128+N for
// signal N.
func (p *Proc) Wait() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(Patience):
		p.t.Fatalf("process still runs after %v: %v\n%s", Patience, p.Ident, p.output())
	}
	return exitStatus(p.cmd.ProcessState)
}

// Done is closed when the process has ended and was waited for.
func (p *Proc) Done() <-chan struct{} { return p.done }

func (p *Proc) cleanup() {
	// Descendants first: once their parent is gone they are not found below
	// it. A process that is created just now is left to Main.
	below, err := descendants(p.Ident)
	if err != nil {
		p.t.Error(err)
	}
	end(p.t, append(below, p.Ident))
	p.Wait()
	if p.t.Failed() {
		p.t.Logf("output of %s:\n%s", strings.Join(p.cmd.Args, " "), p.output())
	}
}

// output is all that was printed, for messages.
func (p *Proc) output() string {
	var text string
	if p.Stdout != nil {
		text += "stdout: " + p.Stdout.All() + "\n"
	}
	if p.Stderr != nil {
		text += "stderr: " + p.Stderr.All() + "\n"
	}
	return text
}
