package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"leash/internal/event"
	"leash/internal/proc"
	"leash/internal/runid"
	"leash/platform"
	"leash/watch"
)

// watchdog joins the settings, the host and the machine.
type watchdog struct {
	*settings
	platform.Host
	log    *event.Logger // of this worker
	unborn *event.Logger // without a worker
	stop   proc.Signal
	parent int // named in the events
	worker proc.Info
	label  string // of the worker, by which its strays are known
	note   string
	record record
	naming

	beatsAt string // the worker's beatVar
	unheard bool   // by the manager above us, and told so
	assumed bool   // nobody named the parent
}

func newWatchdog(s *settings) (*watchdog, error) {
	w := &watchdog{settings: s}
	w.stop, _ = platform.ParseSignal(s.stopSignal)
	if err := w.openLog(); err != nil {
		return nil, err
	}
	h, err := platform.New(s.backend, s.pollInterval)
	if err != nil {
		return nil, err
	}
	w.Host = h
	if s.sentinelFD >= 0 {
		h.UseSentinel(s.sentinelFD, s.sentinelPID) // else another is started with the worker
	}
	return w, nil
}

func (w *watchdog) openLog() error {
	fd := 2
	switch {
	case w.logFile != "":
		// Non-blocking: a FIFO that nobody reads is an error, not a wait.
		f, err := openLogFile(w.logFile)
		if err != nil {
			return fmt.Errorf("--log-file: %w", err)
		}
		fd = f
	case w.logFD >= 0:
		fd = w.logFD
	}
	sink, err := platform.Sink(fd)
	if err != nil {
		return fmt.Errorf("the event stream (descriptor %d): %w", fd, err)
	}
	w.log = event.New(sink, w.logFormat, event.Level(w.logLevel, true))
	return nil
}

// guard watches until the worker's end and returns the exit status.
func (w *watchdog) guard() (int, error) {
	defer w.Close()
	if !w.run {
		if err := w.CheckWorker(w.workerPID); err != nil {
			return 0, fmt.Errorf("--worker-pid: %w", err)
		}
	}
	first, err := w.watchParents()
	if err != nil {
		return 0, err
	}
	if err := w.Listen(w.run); err != nil {
		return 0, err
	}
	if w.run {
		err = w.start(first != nil)
	} else {
		err = w.adopt()
	}
	if err != nil {
		return 0, err
	}
	w.begin(first != nil)
	var events []watch.Event
	if first != nil {
		events = append(events, first)
	}
	if w.worker.PID == 0 {
		return w.nothingToGuard(first), nil
	}
	m := watch.NewMachine(w.config())
	return watch.Guard(m, w, events...)
}

// nothingToGuard ends a watch that never began: the worker was gone already,
// or there is nobody left to start one for. Then the status is that of a
// worker which the stop signal ended at once.
func (w *watchdog) nothingToGuard(first watch.Event) int {
	outcome, status := watch.WorkerEnded, 0
	if dead, ok := first.(watch.ParentDied); ok {
		outcome = watch.ParentEnded
		r := watch.ParentDeath(dead)
		r.Text, r.Warn = "the parent has exited, or never was", true
		if w.run {
			r.Text += ": no worker is started"
		}
		w.Log(r)
		if w.run {
			status = 128 + w.stop.Num
		}
	}
	w.Log(watch.StoppedRecord(outcome, status))
	return status
}

// watchParents takes a handle on every parent. An event means that one of them
// is dead already.
func (w *watchdog) watchParents() (watch.Event, error) {
	w.parent = w.defaultParent
	// PID 0 is a parent outside our PID namespace: we are the first process of
	// a container, and its end is ours.
	if len(w.parents) == 0 && w.parentFD < 0 && w.defaultParent != 0 {
		if w.defaultParent < 0 { // os.Getppid looks for it in a table of all processes on Windows
			return nil, errors.New("it cannot be told which process started the watchdog: name the parent with --parent-pid")
		}
		w.parents, w.assumed = []int{w.defaultParent}, true
	}
	var dead watch.Event
	if len(w.parents) > 0 {
		w.parent = w.parents[0]
	}
	for _, pid := range w.parents {
		alive, err := w.AddParent(pid)
		if err != nil {
			return nil, fmt.Errorf("--parent-pid: %w", err)
		}
		// The one that started us has no other number for as long as it is our
		// parent: if it is no more, its number may be another's by now.
		if now := os.Getppid(); pid == w.defaultParent && now != pid && now >= 0 {
			alive = false
		}
		if !alive && dead == nil {
			dead = watch.ParentDied{PID: pid, By: "start"}
		}
	}
	if w.parentFD >= 0 {
		alive, err := w.AddLifeline(w.parentFD)
		if err != nil {
			return nil, fmt.Errorf("--parent-fd: %w", err)
		}
		if !alive && dead == nil {
			dead = watch.ParentDied{By: "lifeline"}
		}
	}
	return dead, nil
}

// adopt takes the running worker. One that has ended already is no error: what is
// left of its tree is ended.
func (w *watchdog) adopt() error {
	w.flags = names{w.runID, w.workerID}
	a, err := w.Adopt(w.workerPID)
	if errors.Is(err, proc.ErrGone) {
		w.adoptGone()
		return nil
	}
	if err != nil {
		return fmt.Errorf("--worker-pid: %w", err)
	}
	if w.worker = a.Info; a.Info.Dead() {
		w.nameDead()
		return nil
	}
	w.name(names{a.RunID, a.WorkerID})
	if err := w.listenForBeats(); err != nil {
		return err
	}
	if !w.Leads() {
		w.note = "the worker does not lead its process group: it and its descendants are signalled one by one"
	}
	return nil
}

// commandError is a command that could not be started.
type commandError struct {
	err    error
	status int
}

func (e *commandError) Error() string { return e.err.Error() }

// start starts the worker, unless the parent is dead: then there is nobody to
// work for.
func (w *watchdog) start(dead bool) error {
	if err := w.ensureRunID(); err != nil {
		return err
	}
	if dead {
		_, err := w.command()
		return err
	}
	if err := w.listenForBeats(); err != nil {
		return err
	}
	if err := w.launch(); err != nil {
		return err
	}
	w.label = w.workerID
	w.Label(w.runID, w.label)
	return nil
}

func commandFailed(name string, err error) error {
	if errors.Is(err, platform.ErrSentinel) {
		return err // not the command's fault
	}
	status := exitCannot
	for _, ours := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EAGAIN} {
		if errors.Is(err, ours) { // want of means, not the command's fault
			status = exitFailed
		}
	}
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		status = exitNotFound
	}
	var e *exec.Error
	if errors.As(err, &e) {
		err = e.Err
	}
	hint := ""
	if status == exitNotFound {
		hint = quoted(name)
	}
	return &commandError{fmt.Errorf("run: %s: %w%s", name, err, hint), status}
}

func (w *watchdog) ensureRunID() (err error) {
	if w.runID == "" {
		w.runID, err = runid.New(platform.Random)
	}
	return err
}

// workerEnv is our own environment, with what the worker is known by and
// without what was meant for this watchdog alone.
func (w *watchdog) workerEnv() []string {
	env := without(w.originalEnv(), "LEASH_RUN_ID", "LEASH_WORKER_ID", "LEASH_RUN_OWNER", "SPT_NOENV",
		"LEASH_PARENT_PID", "LEASH_LOG_FD", "LEASH_NOTIFY_SOCKET", "LEASH_ROLE")
	if w.closeFDs { // and with them the sockets that these speak of (sd_listen_fds(3))
		env = without(env, "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID")
	}
	env = append(env, "LEASH_RUN_ID="+w.runID, "SPT_NOENV=1")
	if w.workerID != "" {
		env = append(env, "LEASH_WORKER_ID="+w.workerID)
	}
	if w.beatsAt != "" {
		env = append(without(env, managerVars...), w.beatEnv()...)
	}
	if owner := w.Owner(); owner != "" {
		env = append(env, "LEASH_RUN_OWNER="+owner)
	}
	return env
}

// begin reports that the watch has begun. dead: so is a parent.
func (w *watchdog) begin(dead bool) {
	if w.runID == "" {
		w.ensureRunID() // a label only: without it the watch goes on
	}
	pid := w.worker.PID
	if pid == 0 {
		pid = w.workerPID
	}
	w.plain = w.log
	w.nameLog(pid)
	started := watch.Record{Event: event.WatchdogStarted, Text: "watching"}
	if w.note != "" {
		started.Text += "; " + w.note
	}
	containment := "none"
	var unrecorded error
	if w.worker.PID != 0 {
		containment = w.Containment()
	}
	if w.worker.PID != 0 && !w.gone {
		unrecorded = w.enter(dead)
	}
	started.Attrs = append(started.Attrs, slog.String(event.Backend, w.Backend()),
		slog.String(event.Containment, containment), slog.String(event.KillMode, w.mode()))
	started.Attrs = w.creation(started.Attrs)
	w.Log(started)
	w.warnOrphan()
	if w.run && w.sentinel == sentinelAuto && platform.Sentinels && w.worker.PID != 0 && !strings.Contains(containment, "sentinel") {
		w.Log(watch.Record{Event: event.WatchdogWarning, Warn: true,
			Text: "no sentinel could be started: if this watchdog is killed, only the worker itself is sure to end with it"})
	}
	w.warn(noRecord, unrecorded)
	if w.run && w.worker.PID != 0 {
		w.Log(watch.Record{Event: event.ProcessStarted, Text: "the worker was started"})
	}
}

// Log is watch.Host's.
func (w *watchdog) Log(r watch.Record) {
	level := slog.LevelInfo
	switch {
	case r.Debug:
		level = slog.LevelDebug
	case r.Error:
		level = slog.LevelError
	case r.Warn:
		level = slog.LevelWarn
	}
	rec := slog.NewRecord(time.Now(), level, r.Text, 0)
	parent := w.parent
	if r.Parent != 0 {
		parent = r.Parent
	}
	rec.AddAttrs(slog.String(event.Event, r.Event), slog.Int(event.ParentPID, parent))
	rec.AddAttrs(r.Attrs...)
	if r.Event == event.CleanupCompleted {
		w.ended(r.Error)
		if r.Error {
			rec.AddAttrs(slog.String(event.SurvivorPIDs, w.survivors()))
		}
	}
	w.log.Write(rec)
}

// survivors says who is left and why, in one line.
func (w *watchdog) survivors() string {
	var b strings.Builder
	for i, l := range w.Survivors() {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%d: %s", l.PID, l.Reason)
	}
	return b.String()
}
