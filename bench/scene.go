//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	lifelineFD = 3
	patience   = 3 * time.Minute // for everything that must happen in a scene
	politeness = 10 * time.Second
)

// scene is one parent with its workers and what watches them.
type scene struct {
	parent   *handle
	workers  []*handle
	watchers []*handle // empty where the worker itself is all there is
	lifeline *os.File
	output   *os.File
	log      string // standard error of all of them
}

// stage starts count workers under one parent and returns when all are there
// and watched.
func (b *bench) stage(c *contender, count int) (*scene, error) {
	s, err := b.raise(c, count)
	if err != nil {
		return nil, err
	}
	if err := s.await(c, count); err != nil {
		err = fmt.Errorf("%w%s", err, s.complaints())
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// raise starts the parent, with a lifeline, its output in a pipe and all
// errors and logs in a file: no process has to read that while the clock runs.
func (b *bench) raise(c *contender, count int) (*scene, error) {
	roles := c.cast
	roles.Count = count
	spec, err := json.Marshal(roles)
	if err != nil {
		return nil, err
	}
	log, err := os.CreateTemp(b.ram, "log")
	if err != nil {
		return nil, err
	}
	log.Close()
	files, mine, err := sceneFiles(log.Name())
	if err != nil {
		return nil, err
	}
	defer closeAll(files)
	parent, err := b.start([]string{b.self, helperWord, string(spec)}, files)
	if err != nil {
		closeAll(mine)
		return nil, err
	}
	return &scene{parent: parent, lifeline: mine[0], output: mine[1], log: log.Name()}, nil
}

// sceneFiles gives descriptors 0 to 3 of the parent, and the two ends that
// the bench keeps: of the lifeline, and of the output.
func sceneFiles(log string) (theirs, mine []*os.File, err error) {
	null, err1 := os.Open(os.DevNull)
	output, stdout, err2 := os.Pipe()
	// Appended to, by all of them at once.
	stderr, err3 := os.OpenFile(log, os.O_WRONLY|os.O_APPEND, 0)
	life, lifeline, err4 := os.Pipe()
	theirs, mine = []*os.File{null, stdout, stderr, life}, []*os.File{lifeline, output}
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		closeAll(theirs)
		closeAll(mine)
		return nil, nil, err
	}
	return theirs, mine, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close() // a nil *os.File only returns an error
	}
}

// start starts a process and holds it by a handle.
func (b *bench) start(argv []string, files []*os.File) (*handle, error) {
	spawning.Lock()
	defer spawning.Unlock()
	process, err := os.StartProcess(argv[0], argv, &os.ProcAttr{Env: b.env, Files: files})
	if err != nil {
		return nil, err
	}
	defer process.Release()
	return openHandle(process.Pid) // our child, not reaped yet: the number is its own
}

// await reads which processes there are, and waits until the workers have become what they
// are to be and the watchdogs say that they watch.
func (s *scene) await(c *contender, count int) error {
	s.output.SetReadDeadline(time.Now().Add(patience))
	reader := bufio.NewReader(s.output)
	wantWorkers := 0
	if c.speaks {
		wantWorkers = count
	}
	for ready := false; !ready || len(s.workers) < wantWorkers; {
		line, err := reader.ReadString('\n')
		if err != nil {
			return fmt.Errorf("%s: %d of %d workers came up: %w", c.name, len(s.workers), wantWorkers, err)
		}
		if strings.TrimSpace(line) == "ready" {
			ready = true
			continue
		}
		if err := s.enter(line); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	s.dropDoubles()
	if err := s.awaitSleep(); err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	if !c.logs {
		return nil
	}
	return s.awaitWatchdogs(c.name, count)
}

// awaitWatchdogs waits until each watchdog has logged that it watches, and no
// longer than all of them live.
func (s *scene) awaitWatchdogs(name string, count int) error {
	var ended bool
	err := waitFor(name+": a watchdog.started of each watchdog", func() bool {
		ended = slices.ContainsFunc(s.watchers, (*handle).dead)
		text, err := os.ReadFile(s.log)
		return ended || err == nil && bytes.Count(text, []byte("watchdog.started")) >= count
	})
	if ended {
		return fmt.Errorf("%s: a watchdog ended before its time", name)
	}
	return err
}

// enter takes a line such as "worker 123" or "watcher 124".
func (s *scene) enter(line string) error {
	role, number, _ := strings.Cut(strings.TrimSpace(line), " ")
	pid, err := strconv.Atoi(number)
	if err != nil {
		return fmt.Errorf("unexpected line %q", line)
	}
	h, err := openHandle(pid)
	if err != nil {
		return fmt.Errorf("%s has ended already: %w", role, err)
	}
	if role == "worker" {
		s.workers = append(s.workers, h)
	} else {
		s.watchers = append(s.watchers, h)
	}
	return nil
}

// dropDoubles forgets watchers that have become the worker by exec.
func (s *scene) dropDoubles() {
	workers := make(map[int]bool)
	for _, h := range s.workers {
		workers[h.pid] = true
	}
	kept := s.watchers[:0]
	for _, h := range s.watchers {
		if workers[h.pid] {
			h.close()
		} else {
			kept = append(kept, h)
		}
	}
	s.watchers = kept
}

// awaitSleep waits until each worker's shell has turned into sleep.
func (s *scene) awaitSleep() error {
	for _, h := range s.workers {
		comm := fmt.Sprintf("/proc/%d/comm", h.pid)
		err := waitFor("a worker that sleeps", func() bool {
			name, err := os.ReadFile(comm)
			return err == nil && string(bytes.TrimSpace(name)) == "sleep"
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func waitFor(what string, ready func() bool) error {
	for deadline := time.Now().Add(patience); !ready(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %v in vain for %s", patience, what)
		}
	}
	return nil
}

// toll is when the scene came to its end, from just before the parent was
// killed.
type toll struct {
	lastWorker  time.Duration
	lastWatcher time.Duration
}

// killParent kills the parent and waits for the end of every process.
func (s *scene) killParent() (toll, error) {
	all := append(append([]*handle{s.parent}, s.workers...), s.watchers...)
	start := time.Now()
	if err := s.parent.signal(unix.SIGKILL); err != nil {
		return toll{}, fmt.Errorf("kill the parent: %w", err)
	}
	died, err := awaitDeaths(all, patience)
	if err != nil {
		return toll{}, fmt.Errorf("%w%s", err, s.complaints())
	}
	workers, watchers := died[1:1+len(s.workers)], died[1+len(s.workers):]
	return toll{last(start, workers), last(start, watchers)}, nil
}

func last(start time.Time, moments []time.Time) time.Duration {
	var latest time.Duration
	for _, moment := range moments {
		latest = max(latest, moment.Sub(start))
	}
	return latest
}

// complaints gives the end of what was written to standard error.
func (s *scene) complaints() string {
	text, err := os.ReadFile(s.log)
	if err != nil || len(text) == 0 {
		return ""
	}
	return "\n" + string(text[max(0, len(text)-2000):])
}

// close ends what is left: first the parent, so that nothing is started
// again, then the watchers, then the workers. Watchers get the stop signal first, so
// that they can clear up behind themselves; those that do not are killed.
func (s *scene) close() error {
	err := s.parent.end()
	for _, h := range s.watchers {
		h.signal(unix.SIGTERM)
	}
	awaitDeaths(s.watchers, politeness)
	for _, group := range [][]*handle{s.watchers, s.workers} {
		for _, h := range group {
			err = errors.Join(err, h.end())
		}
	}
	// A worker that died before its watcher has become our child only now.
	reapOrphans()
	for _, h := range append(append([]*handle{s.parent}, s.watchers...), s.workers...) {
		h.close()
	}
	closeAll([]*os.File{s.lifeline, s.output})
	return errors.Join(err, os.Remove(s.log))
}
