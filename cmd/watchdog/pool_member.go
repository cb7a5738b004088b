package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"leash/internal/event"
	"leash/internal/proc"
	"leash/internal/rpc"
	"leash/platform"
	"leash/watch"
	"leash/watch/pool"
)

// launching is how a pool starts a worker.
type launching struct {
	program   *poolProgram // nil: this is no member of a pool
	poolRunID string
	part      int // which of the pool's workers it is
	argv      []string
	env       []string // the pool's own, with the changes of the request
	dir       string
	outputs   [2]output // standard output and error
	streams   []*rpc.Stream
}

// output is where a worker's standard output or error goes: lines, null, stderr or file.
type output struct{ kind, path string }

// member is one worker of a pool.
type member struct{ *watchdog }

var _ pool.Member = member{}

// Run starts a worker.
func (p *poolProgram) Run(id string, params *rpc.Value) (pool.Member, *rpc.Error) {
	f, given, failed := p.params.read(params, p.defaults, true, "worker_id", "argv", "env", "cwd", "stdout", "stderr")
	if failed != nil {
		return nil, failed
	}
	if len(f.Run.KeepFd) > 0 {
		return nil, rpc.Errorf(rpc.Refused, "keep_fd: descriptors that the pool was given go to no worker")
	}
	w := p.newMember(id, f, true)
	if failed := w.takeRun(params); failed != nil {
		return nil, failed
	}
	if err := w.checkMember(given); err != nil {
		return nil, rpc.Errorf(rpc.InvalidParams, "%s", asParameter(err))
	}
	w.Worker = watch.NewMember(p.sys, w.pollInterval, true, p.above)
	w.known = w.Worker
	w.Borrow(p.base.Worker)
	if err := w.start(false); err != nil {
		w.endStreams()
		w.Worker.Close()
		return nil, startFailed(err)
	}
	return member{w}, nil
}

// startFailed is the answer for a worker that could not be started.
func startFailed(err error) *rpc.Error {
	var bad *badOutput
	if errors.As(err, &bad) {
		return rpc.Errorf(rpc.InvalidParams, "%v", err)
	}
	var c *commandError
	if errors.As(err, &c) && c.status != exitFailed {
		failed := rpc.Errorf(rpc.CannotExecute, "%s", strings.TrimPrefix(err.Error(), "run: "))
		failed.Status = c.status
		return failed
	}
	return rpc.Errorf(rpc.Refused, "%s", asParameter(err))
}

// Guard takes a worker that runs already.
func (p *poolProgram) Guard(id string, params *rpc.Value) (pool.Member, *rpc.Error) {
	f, given, failed := p.params.read(params, p.defaults, false, "worker_id", "pid")
	if failed != nil {
		return nil, failed
	}
	v := params.Get("pid")
	if v == nil {
		return nil, rpc.Errorf(rpc.InvalidParams, "pid: it is missing")
	}
	pid, ok := v.Int()
	if !ok {
		return nil, rpc.Errorf(rpc.InvalidParams, "pid: it must be a whole number")
	}
	w := p.newMember(id, f, false)
	w.workerPID = pid
	if err := checkPID("pid", pid); err != nil {
		return nil, rpc.Errorf(rpc.InvalidParams, "%v", err)
	}
	if err := w.checkMember(given); err != nil {
		return nil, rpc.Errorf(rpc.InvalidParams, "%s", asParameter(err))
	}
	if slices.Contains(p.base.parents, pid) {
		return nil, rpc.Errorf(rpc.Refused, "pid: %d is the parent, whose death ends the workers", pid)
	}
	if other, yes := p.pool.Guards(pid); yes {
		return nil, rpc.Errorf(rpc.Refused, "pid: %d is guarded already, as worker %q", pid, other)
	}
	w.Worker = watch.NewMember(p.sys, w.pollInterval, false, p.above)
	w.known = w.Worker
	w.Borrow(p.base.Worker)
	if failed := w.adoptMember(); failed != nil {
		w.Worker.Close()
		return nil, failed
	}
	return member{w}, nil
}

func (w *watchdog) adoptMember() *rpc.Error {
	if err := w.CheckWorker(w.workerPID); err != nil {
		return rpc.Errorf(rpc.Refused, "pid: %v", err)
	}
	err := w.adopt()
	switch {
	case err != nil && errors.Is(err, proc.ErrGone), err == nil && w.worker.PID == 0:
		return rpc.Errorf(rpc.ProcessGone, "pid: there is no process %d", w.workerPID)
	case err != nil:
		return rpc.Errorf(rpc.Refused, "%s", strings.ReplaceAll(asParameter(err), "worker_pid", "pid"))
	case w.startedByAnother():
		return rpc.Errorf(rpc.Refused, "pid: %d was started by a watchdog, which guards it already", w.workerPID)
	}
	return nil
}

// startedByAnother reports whether the worker's parent is a watchdog or a sentinel.
func (w *watchdog) startedByAnother() bool {
	h, err := w.Sys.Open(w.worker.PPID)
	if err != nil {
		return false
	}
	defer h.Close()
	info, err := h.Info()
	return err == nil && info.Leash
}

// newMember is a worker with the settings of a request.
func (p *poolProgram) newMember(id string, f *memberFlags, run bool) *watchdog {
	s := newSettings()
	s.run, s.member, s.workerID = run, true, id
	s.common(&f.common)
	s.workerID, s.parents, s.parentFD, s.logFD, s.logFile, s.logLevel = id, nil, none, none, "", p.logLevel
	s.closeFDs, s.sentinel = true, p.sentinel
	s.restart, s.maxRestarts = f.Run.Restart, f.Run.MaxRestarts
	if s.runID = ""; run || p.named {
		s.runID = p.runID
	}
	w := &watchdog{settings: s, log: p.log, parent: p.base.parent}
	w.program, w.poolRunID = p, p.runID
	w.stop, _ = platform.ParseSignal(s.stopSignal)
	p.parts++
	w.part = p.parts
	w.record.dir = p.stateDir()
	return w
}

// checkMember checks the settings of one worker.
func (w *watchdog) checkMember(given map[string]bool) error {
	if !w.run { // the PID was checked
		w.run = true
		defer func() { w.run = false }()
		if w.heartbeat != "off" && w.notifySocket == "" {
			return errors.New("--heartbeat notify: guard needs --notify-socket too: what the worker was given as " + beatVar)
		}
	}
	err := w.check(given)
	w.parents = w.program.base.parents
	return err
}

// stateDir is the folder of the ledger, which is opened once; nil if it cannot be.
func (p *poolProgram) stateDir() *os.File {
	if p.state == nil {
		p.state, _ = platform.StateDir()
	}
	return p.state
}

// Config are the settings of the machine.
func (m member) Config() watch.Config { return m.config() }

// Watched is the worker.
func (m member) Watched() *watch.Worker { return m.Worker }

// PID is that of the worker.
func (m member) PID() int { return m.worker.PID }

// Began tells that the watch has begun.
func (m member) Began() { m.begin(false) }

// Log tells what the worker has printed before it tells of its end, and what its tree has
// printed before that is told to be gone.
func (m member) Log(r watch.Record) {
	switch r.Event {
	case event.ProcessTerminated:
		m.program.out.Drain(false, m.streams...)
	case event.CleanupCompleted:
		m.endStreams()
	}
	m.watchdog.Log(r)
}

// Released removes the record of a worker that lives on.
func (m member) Released() { m.RemoveRecord() }

// Close releases what the pool holds of the worker.
func (m member) Close() {
	m.endStreams()
	m.Worker.Close()
}

func (w *watchdog) endStreams() {
	if len(w.streams) > 0 {
		w.program.out.Drain(true, w.streams...)
		w.streams = nil
	}
}

// givenEnv is the environment from which the worker's is made.
func (w *watchdog) givenEnv() []string {
	if w.member {
		return w.env
	}
	return w.originalEnv()
}

// badOutput is a file for output that cannot be used.
type badOutput struct{ error }

// launchMember starts a worker with its own standard streams.
func (w *watchdog) launchMember(c platform.Command) (err error) {
	p := w.program
	c.Keep, c.Dir = nil, w.dir
	c.Stdio = []uintptr{p.null.Fd(), 0, 0}
	var readers [2]rpc.Source
	var ours []*os.File // to be closed when the worker has them
	defer func() {
		for _, f := range ours {
			f.Close()
		}
		for _, r := range readers {
			if err != nil && r != nil {
				r.Close()
			}
		}
	}()
	names := [2]string{"stdout", "stderr"}
	for i, o := range w.outputs {
		f := p.null
		switch o.kind {
		case "stderr":
			f = os.Stderr
		case "file":
			if f, err = platform.OpenOutput(o.path); err != nil {
				return &badOutput{fmt.Errorf("%s: %w", names[i], err)}
			}
			ours = append(ours, f)
		case "lines":
			r, end, err := platform.OutputPipe()
			if err != nil {
				return fmt.Errorf("%s: %w", names[i], err)
			}
			f, readers[i] = end, r
			ours = append(ours, f)
		}
		c.Stdio[1+i] = f.Fd()
	}
	if w.worker, err = w.Start(c); err != nil {
		return commandFailed(c.Args[0], err)
	}
	w.streams = nil
	for i, r := range readers {
		if r != nil {
			w.streams = append(w.streams, p.out.Attach(r, w.workerID, w.worker.PID, names[i]))
		}
	}
	return nil
}

// takeRun takes the parameters of run that are no flags.
func (w *watchdog) takeRun(params *rpc.Value) *rpc.Error {
	wrong := func(name, format string, args ...any) *rpc.Error {
		return rpc.Errorf(rpc.InvalidParams, "%s: %s", name, fmt.Sprintf(format, args...))
	}
	argv := params.Get("argv")
	if argv == nil {
		return wrong("argv", "it is missing")
	}
	if argv.Kind != rpc.List || len(argv.List) == 0 {
		return wrong("argv", "it must be a list of strings: the program and its arguments")
	}
	for _, a := range argv.List {
		if a.Kind != rpc.String || strings.ContainsRune(a.Text, 0) {
			return wrong("argv", "it must be a list of strings without NUL")
		}
		w.argv = append(w.argv, a.Text)
	}
	if w.argv[0] == "" {
		return wrong("argv", "the command is empty")
	}
	w.env = w.program.env
	if env := params.Get("env"); env != nil {
		if env.Kind != rpc.Object {
			return wrong("env", "it is %v, and must be an object", env.Kind)
		}
		var names, more []string
		for _, m := range env.Members {
			switch {
			case m.Name == "" || strings.ContainsAny(m.Name, "=\x00"):
				return wrong("env", "%q is no name of a variable", m.Name)
			case m.Value.Kind != rpc.String && m.Value.Kind != rpc.Null || strings.ContainsRune(m.Value.Text, 0):
				return wrong("env", "%s: the value must be a string without NUL, or null", m.Name)
			}
			names = append(names, m.Name)
			if m.Value.Kind == rpc.String {
				more = append(more, m.Name+"="+m.Value.Text)
			}
		}
		w.env = append(without(w.env, names...), more...)
	}
	if v := params.Get("cwd"); v != nil {
		if v.Kind != rpc.String || v.Text == "" || strings.ContainsRune(v.Text, 0) {
			return wrong("cwd", "it must be the path of a folder")
		}
		if st, err := os.Stat(v.Text); err != nil {
			return wrong("cwd", "%v", err)
		} else if !st.IsDir() {
			return wrong("cwd", "%s is no folder", v.Text)
		} else if err := platform.MayEnter(v.Text); err != nil {
			return wrong("cwd", "%s: %v", v.Text, err)
		}
		dir, err := filepath.Abs(v.Text) // the program's path may begin with it
		if err != nil {
			return wrong("cwd", "%v", err)
		}
		w.dir = dir
	}
	for i, name := range [2]string{"stdout", "stderr"} {
		w.outputs[i] = output{kind: "lines"}
		v := params.Get(name)
		if v == nil {
			continue
		}
		file := v.Get("file")
		switch {
		case v.Kind == rpc.String && (v.Text == "lines" || v.Text == "null" || v.Text == "stderr"):
			w.outputs[i].kind = v.Text
		case v.Kind == rpc.Object && len(v.Members) == 1 && file != nil && file.Kind == rpc.String && file.Text != "" && !strings.ContainsRune(file.Text, 0):
			w.outputs[i] = output{"file", file.Text}
		default:
			return wrong(name, `it must be "lines", "null", "stderr" or {"file": PATH}`)
		}
	}
	return nil
}
