//go:build linux || windows

package testkit

import (
	"fmt"
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

	t     testing.TB
	cmd   *exec.Cmd
	done  chan struct{} // closed when the process has ended
	known bool          // the test has its status and all that it printed
}

// Start starts the command, in a process group of its own unless SysProcAttr says otherwise,
// and collects what it prints. When the test ends, the process and its descendants are
// killed; if the test has failed, the output is shown and written to the log of the test.
func Start(t testing.TB, cmd *exec.Cmd) *Proc {
	t.Helper()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = ownGroup()
	}
	p := &Proc{t: t, cmd: cmd, done: make(chan struct{})}
	// Not cmd's own pipes: these stay open after the end of the process, so that the
	// output of its children still arrives.
	var ours []*os.File
	if cmd.Stdout == nil {
		w := p.pipe(&p.Stdout, "standard output")
		cmd.Stdout, ours = w, append(ours, w)
	}
	if cmd.Stderr == nil {
		w := p.pipe(&p.Stderr, "standard error")
		cmd.Stderr, ours = w, append(ours, w)
	}
	err := cmd.Start()
	for _, w := range ours {
		w.Close()
	}
	if err != nil {
		t.Fatalf("start %q: %v", cmd.Args, err)
	}
	// Package os has a handle on it, or it is a zombie at least: it was not waited for
	// yet, so its PID was not reused.
	p.Ident = Identify(t, cmd.Process.Pid)
	seen.Store(p.Ident, p.call())
	go func() {
		_ = cmd.Wait() // ProcessState has the details
		close(p.done)
	}()
	t.Cleanup(p.cleanup)
	return p
}

// Run runs the command to its end and returns its status and output. When the test
// has failed, the output is in the log of the test.
func Run(t testing.TB, cmd *exec.Cmd) (status int, stdout, stderr string) {
	t.Helper()
	p := Start(t, cmd)
	status, stdout, stderr = p.Wait(), p.Stdout.AwaitEnd(), p.Stderr.AwaitEnd()
	p.known = true
	return status, stdout, stderr
}

// pipe makes the pipe for one output. The reading end stays open until the
// test ends.
func (p *Proc) pipe(lines **Lines, name string) *os.File {
	r, w, err := os.Pipe()
	if err != nil {
		p.t.Fatal(err)
	}
	*lines = collect(p.t, r, name+" of "+p.call())
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
		p.t.Fatalf("expected %v to end, but it still runs after %v (log: %s)\n%s", p.Ident, Patience, logPath(p.t), p.output())
	}
	return exitStatus(p.cmd.ProcessState)
}

// Done is closed when the process has ended and was waited for.
func (p *Proc) Done() <-chan struct{} { return p.done }

func (p *Proc) cleanup() {
	// Descendants first: they are not found once their parent has been reaped. A process
	// that is being created is left to Main.
	below, err := descendants(p.Ident)
	if err != nil {
		p.t.Error(err)
	}
	end(p.t, append(below, p.Ident))
	p.Wait()
	if !p.t.Failed() {
		return
	}
	text := fmt.Sprintf("output of %s:\n%s", p.call(), p.output())
	if err := appendLog(p.t, text); err != nil || !p.known {
		p.t.Log(text)
	}
}

// call is the command line.
func (p *Proc) call() string { return strings.Join(p.cmd.Args, " ") }

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
