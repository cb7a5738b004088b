package darwin

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"

	"leash/internal/proc"
	"leash/internal/stop"
)

// A watchdog that is killed by SIGKILL can end nobody any more, and macOS has
// nothing that would do it instead. So run has a sentinel beside it: one more
// process of the same program, which holds the reading end of a pipe. At its
// end-of-file the watchdog is dead, for nobody else has the other end; and if it
// has not said before that all is over, the sentinel ends the worker's tree at
// once, as the watchdog would: open, look, signal.
//
// The worker must not run before the sentinel knows it. So it begins as a gate,
// the same program again, which executes the worker's in place when the watchdog
// says that it may; if the watchdog dies before, it ends.

// sentinel is the one process.
type sentinel struct {
	k     *Kernel
	root  *handle
	tree  *stop.Tree
	ended uint64 // the tick at which the watchdog was found dead
	pause func(time.Duration)
}

// What a watchdog tells, a line each; the sentinel answers the first.
const (
	newWorker = "worker"
	allOver   = "over\n"
	understood,
	refused = "yes\n", "no\n"
)

// workerLine introduces a worker.
func workerLine(id proc.ID, run, worker string) string {
	return fmt.Sprintf("%s %d %d %q %q\n", newWorker, id.PID, id.Start, run, worker)
}

// serve returns when there is nothing left to do.
func (s *sentinel) serve(orders io.Reader, answers io.Writer) error {
	lines := bufio.NewReader(orders)
	for {
		line, err := lines.ReadString('\n')
		switch {
		case err == io.EOF:
			return s.end()
		case err != nil: // then nobody knows whether it is dead
			return err
		case line == allOver:
			s.forget()
			continue
		}
		answer := understood
		if err := s.take(line); err != nil {
			answer = refused
		}
		io.WriteString(answers, answer)
	}
}

// take opens the worker first and looks second whether it is the one.
func (s *sentinel) take(line string) error {
	var word, run, worker string
	var id proc.ID
	if _, err := fmt.Sscanf(line, "%s %d %d %q %q", &word, &id.PID, &id.Start, &run, &worker); err != nil || word != newWorker {
		return fmt.Errorf("not an order: %q", line)
	}
	s.forget()
	h, err := s.k.open(id.PID)
	if err != nil {
		return err
	}
	h.worker = true
	tree := &stop.Tree{Kernel: s.k, Root: h, Never: s.k.ancestors(), RunID: run, WorkerID: worker}
	info, err := tree.Adopt()
	if err == nil && (info.Start != id.Start || info.Dead()) {
		err = proc.ErrGone
	}
	if err != nil {
		h.Close()
		return err
	}
	s.root, s.tree = h, tree
	tree.Search = func() ([]int, error) { return s.k.strays(tree, s.mayBeStray) }
	return nil
}

func (s *sentinel) forget() {
	if s.tree != nil {
		s.tree.Close()
		s.root.Close()
	}
	s.tree, s.root = nil, nil
}

// mayBeStray spares the next worker of the same name, whom another watchdog has
// started since: that watchdog is younger than our worker, and so is everybody
// whose parent is of the new tree. Who has lost his parent is launchd's. Start
// times are times of day: if our worker's is to come, the clock was set back, and
// nobody's tells anything.
func (s *sentinel) mayBeStray(e, parent *entry) bool {
	began := s.tree.Worker().Start
	return began < s.ended && e.Start < s.ended && parent != nil && parent.Start < began
}

// end ends the tree of a watchdog that is dead.
func (s *sentinel) end() error {
	if s.tree == nil {
		return nil
	}
	s.ended = s.k.Tick()
	return stop.EndNow(s.tree, s.pause)
}

// A child that was started as a part of ours is told what it is, and by whom,
// in this variable. No worker has it.
const roleVariable = "LEASH_ROLE"

const (
	roleSentinel = "sentinel"
	roleGate     = "gate"
)

// roleOf reads the variable. The PID in it is our parent's, so that no inherited
// one is ever taken for ours.
func roleOf(text string, parent int) (role, rest string, err error) {
	var pid int
	word, rest, _ := strings.Cut(text, " ")
	if _, err := fmt.Sscanf(word, "%d", &pid); err != nil || pid != parent {
		return "", "", fmt.Errorf("%s is set, and not by the watchdog that started this: unset it", roleVariable)
	}
	role, rest, _ = strings.Cut(rest, " ")
	return role, rest, nil
}
