//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// helperWord as first argument turns the bench into the parent of a scene.
const helperWord = "scene-parent"

// cast says what the parent of a scene starts. In every argument and
// environment entry {n} stands for the number of the worker, {parent} for the
// PID of the parent and {pid} for that of the worker.
type cast struct {
	Count   int
	Worker  []string // the worker, perhaps inside the tool that supervises it
	Env     []string // added to the worker's environment
	Watcher []string // a second process beside each worker, or none
	Pool    []string // one process that starts and watches all workers, or none
	Plain   bool     // nothing guards the worker: it ends with the parent by PR_SET_PDEATHSIG
}

// runParent is the parent that gets killed. It starts its cast, prints the
// PID of each watcher and waits for the end of its lifeline, so that it never
// outlives the bench.
func runParent(spec string) error {
	// PDEATHSIG is bound to the thread that forks, so there is only one.
	runtime.LockOSThread()
	var c cast
	if err := json.Unmarshal([]byte(spec), &c); err != nil {
		return err
	}
	if c.Pool != nil {
		if err := c.startInPool(); err != nil {
			return err
		}
		c.Count = 0
	}
	for n := range c.Count {
		if err := c.start(n); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	_, err := io.Copy(io.Discard, os.NewFile(lifelineFD, "lifeline"))
	return err
}

func (c *cast) start(n int) error {
	fill := func(text, pid string) string {
		return strings.NewReplacer("{n}", strconv.Itoa(n), "{parent}", strconv.Itoa(os.Getpid()), "{pid}", pid).Replace(text)
	}
	env := os.Environ()
	for _, entry := range c.Env {
		env = append(env, fill(entry, ""))
	}
	attr := &syscall.SysProcAttr{}
	if c.Watcher != nil {
		attr.Setsid = true // as a BEAM does for its ports
	}
	if c.Plain {
		attr.Pdeathsig = syscall.SIGKILL
	}
	pid, err := forkExec(c.Worker, env, attr, func(s string) string { return fill(s, "") })
	if err != nil {
		return err
	}
	if c.Watcher != nil {
		worker := strconv.Itoa(pid)
		pid, err = forkExec(c.Watcher, os.Environ(), nil, func(s string) string { return fill(s, worker) })
		if err != nil {
			return err
		}
	}
	if !c.Plain {
		fmt.Println("watcher", pid)
	}
	return nil
}

// forkExec starts a program with our standard streams. It is the plain system
// call: os.StartProcess would keep a pidfd for each of a thousand children.
func forkExec(argv, env []string, attr *syscall.SysProcAttr, fill func(string) string) (int, error) {
	filled := make([]string, len(argv))
	for i, arg := range argv {
		filled[i] = fill(arg)
	}
	pid, err := syscall.ForkExec(filled[0], filled, &syscall.ProcAttr{Env: env, Files: []uintptr{0, 1, 2}, Sys: attr})
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", filled[0], err)
	}
	return pid, nil
}
