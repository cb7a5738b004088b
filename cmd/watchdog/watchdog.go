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

// watchdog joins the settings, the worker and the machine.
type watchdog struct {
	*settings
	*watch.Worker
	log    *event.Logger // of this worker
	unborn *event.Logger // without a worker
	stop   proc.Signal
	parent int // in the events
	worker proc.Info
	label  string // worker ID, by which processes that left the tree are found
	note   string
	record record
	naming

	launching // how a pool starts its worker

	beatsAt string // the worker's beatVar
	unheard bool   // the service manager could not be reached, and that was logged
	assumed bool   // the parent is the default one
}

func newWatchdog(s *settings) (*watchdog, error) {
	w := &watchdog{settings: s}
	w.stop, _ = platform.ParseSignal(s.stopSignal)
	if err := w.openLog(); err != nil {
		return nil, err
	}
	sys, err := platform.New(s.backend)
	if err != nil {
		return nil, err
	}
	w.Worker = watch.NewWorker(sys, s.pollInterval, s.sentinelFD, s.sentinelPID)
	w.known = w.Worker
	return w, nil
}

func (w *watchdog) openLog() error {
	fd := 2
	switch {
	case w.logFile != "":
		// Non-blocking: a FIFO without a reader is an error, not a wait.
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
	defer w.Sys.Close()
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
	return watch.Guard(watch.NewMachine(w.config()), w.Worker, w, events...)
}

// nothingToGuard ends a watch that never began: the worker had ended already, or the parent
// exited before the worker was started. In that case the status is that of a worker that the
// stop signal ended at once.
func (w *watchdog) nothingToGuard(first watch.Event) int {
	outcome, status := watch.WorkerEnded, 0
	if dead, ok := first.(watch.ParentDied); ok {
		outcome = watch.ParentEnded
		r := watch.ParentDeath(dead)
		r.Text, r.Level = "the parent has exited, or never existed", slog.LevelWarn
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

// watchParents takes a handle on every parent. An event means that one of them has exited
// already.
func (w *watchdog) watchParents() (watch.Event, error) {
	w.parent = w.defaultParent
	// PID 0 is a parent outside this PID namespace: this is the first process of a
	// container, and ends with it.
	if len(w.parents) == 0 && w.parentFD < 0 && w.defaultParent != 0 {
		if w.defaultParent < 0 { // on Windows os.Getppid searches the table of all processes
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
		// The process that started this one keeps its PID while it is the parent. If it
		// is not the parent any more, its PID may have been reused.
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

// adopt takes the running worker. A worker that has ended already is no error: what is left of
// its tree is ended.
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

// start starts the worker, unless the parent has exited.
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
	w.known.Label(w.runID, w.label)
	return nil
}

func commandFailed(name string, err error) error {
	if errors.Is(err, platform.ErrSentinel) {
		return err // not the command's fault
	}
	status := exitCannot
	for _, ours := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EAGAIN} {
		if errors.Is(err, ours) { // lack of resources, not the command's fault
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
		w.runID = w.poolRunID
	}
	if w.runID == "" {
		w.runID, err = runid.New(platform.Random)
	}
	return err
}

// workerEnv is the watchdog's environment, with the worker's labels and without the variables
// that are meant for this watchdog alone.
func (w *watchdog) workerEnv() []string {
	env := without(w.givenEnv(), "LEASH_RUN_ID", "LEASH_WORKER_ID", "LEASH_RUN_OWNER", "SPT_NOENV",
		"LEASH_PARENT_PID", "LEASH_LOG_FD", "LEASH_NOTIFY_SOCKET", "LEASH_ROLE")
	if w.closeFDs { // and the variables of inherited sockets, which are closed (sd_listen_fds(3))
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

// begin logs that the watch has begun. dead: a parent has exited already.
func (w *watchdog) begin(dead bool) {
	if w.runID == "" {
		w.ensureRunID() // the watch goes on without it
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
		w.Log(watch.Record{Event: event.WatchdogWarning, Level: slog.LevelWarn,
			Text: "no sentinel could be started: if this watchdog is killed, only the worker itself is sure to end with it"})
	}
	w.warn(noRecord, unrecorded)
	if w.run && w.worker.PID != 0 {
		w.Log(watch.Record{Event: event.ProcessStarted, Text: "the worker was started"})
	}
}

// Log implements watch.Host.
func (w *watchdog) Log(r watch.Record) {
	rec := slog.NewRecord(time.Now(), r.Level, r.Text, 0)
	parent := w.parent
	if r.Parent != 0 {
		parent = r.Parent
	}
	rec.AddAttrs(slog.String(event.Event, r.Event), slog.Int(event.ParentPID, parent))
	rec.AddAttrs(r.Attrs...)
	if r.Event == event.CleanupCompleted && r.Level == slog.LevelError {
		rec.AddAttrs(slog.String(event.SurvivorPIDs, w.survivors()))
	}
	w.log.Write(rec)
}

// survivors lists the processes that are left, and why, in one line.
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
