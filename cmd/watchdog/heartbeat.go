package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"leash/internal/event"
	"leash/internal/heartbeat"
	"leash/platform"
	"leash/watch"
)

// beats says which heartbeats the worker must send; nil: none.
func (s *settings) beats() *heartbeat.Config {
	if s.heartbeat != "notify" {
		return nil
	}
	return &heartbeat.Config{Interval: s.beatInterval, Timeout: s.beatTimeout,
		MaxMissed: s.maxMissed, Startup: s.startupTimeout, Adopted: !s.run}
}

// listenForBeats opens the socket, if heartbeats are wanted.
func (w *watchdog) listenForBeats() (err error) {
	if w.heartbeat != "notify" {
		return nil
	}
	others := os.Geteuid() == 0
	if !w.run {
		others = int(w.worker.UID) != os.Geteuid()
	}
	if w.beatsAt, err = w.ListenForBeats(w.notifySocket, others); err != nil {
		if w.notifySocket == "" {
			return fmt.Errorf("--heartbeat notify: %w", err)
		}
		return fmt.Errorf("--notify-socket: %s: %w", w.notifySocket, err)
	}
	return nil
}

// config are the settings of the machine.
func (w *watchdog) config() watch.Config {
	c := watch.Config{
		Owns: w.run, Grace: w.grace, StopSignal: w.stop, WorkerFirst: w.mode() == "mixed", Scans: !w.run || !platform.Holds, Uptime: w.uptime(),
		Beats: w.beats(), HangCommand: w.onHangCommand != "", HangWait: w.onHangTimeout, GraceMax: w.graceMax,
		Labels: !w.run && !w.gone, Record: true,
		MaxRestarts: w.maxRestarts, Debug: w.logLevel == "debug",
	}
	c.BeatEvery = w.managerWants()
	if w.onHangSignal != "" {
		c.HangSignal, _ = platform.ParseSignal(w.onHangSignal)
	}
	switch w.restart {
	case "on-failure":
		c.Restart = watch.RestartOnFailure
	case "always":
		c.Restart = watch.RestartAlways
	}
	if c.Restart != watch.RestartNever {
		var b [8]byte
		platform.Random.Read(b[:]) // without it all watchdogs wait equally long
		c.Seed = binary.NativeEndian.Uint64(b[:])
	}
	return c
}

// beatEnv is the environment that a worker needs to send heartbeats.
func (w *watchdog) beatEnv() []string {
	return []string{
		beatVar + "=" + w.beatsAt,
		notifyPIDVar + "=" + strconv.Itoa(os.Getpid()),
		"WATCHDOG_USEC=" + strconv.FormatInt(w.beats().Within().Microseconds(), 10),
	}
}

// managerVars are for the watchdog itself, from its service manager or another watchdog.
var managerVars = []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "SYSTEMD_EXEC_PID", notifyPIDVar, pipeVar}

// notifyPIDVar is the PID of the watchdog that reads NOTIFY_SOCKET, or the pipe. Another watchdog
// sends messages to it only if it is its worker.
const notifyPIDVar = "LEASH_NOTIFY_PID"

// pipeVar names the pipe for the heartbeats of a worker on Windows. It is not NOTIFY_SOCKET,
// which libraries take for a socket.
const pipeVar = "LEASH_HEARTBEAT_PIPE"

// manager is the socket of the watchdog's service manager, empty if it has none. All
// descendants inherit the variable: the worker of a pool is not the service that systemd
// watches (SYSTEMD_EXEC_PID, systemd.exec(5)), and a watchdog deeper in a worker's tree is
// not that worker.
func (w *watchdog) manager() string {
	above, main := os.Getenv(notifyPIDVar), os.Getenv("SYSTEMD_EXEC_PID")
	switch {
	case !w.run, w.member, w.heartbeat != "notify",
		above != "" && above != strconv.Itoa(platform.Starter()),
		main != "" && main != strconv.Itoa(os.Getpid()):
		return ""
	}
	return os.Getenv("NOTIFY_SOCKET")
}

// managerWants is how often the service manager gets a beat; 0: never.
func (w *watchdog) managerWants() time.Duration {
	usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	pid := os.Getenv("WATCHDOG_PID")
	if err != nil || usec <= 0 || usec > 1e15 || w.manager() == "" || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	return max(time.Duration(usec)*time.Microsecond/3, time.Millisecond)
}

// PassOn implements watch.Host.
func (w *watchdog) PassOn(text string) {
	address := w.manager()
	if address == "" {
		return
	}
	err := platform.TellManager(address, text+"MAINPID="+strconv.Itoa(os.Getpid()))
	if err != nil && !w.unheard {
		w.unheard = true
		w.Log(watch.Record{Event: event.WatchdogWarning, Text: "NOTIFY_SOCKET: the service manager above does not receive messages", Level: slog.LevelWarn,
			Attrs: []slog.Attr{slog.String(event.Error, err.Error())}})
	}
}

// Hook implements watch.Host.
func (w *watchdog) Hook(reason string) error {
	pid := strconv.Itoa(w.worker.PID)
	command := w.onHangCommand
	if f := strings.Fields(command); len(f) > 0 && (f[len(f)-1] == "--pid" || f[len(f)-1] == "-p") {
		command += " " + pid
	}
	env := append(without(w.originalEnv(), managerVars...),
		"LEASH_WORKER_PID="+pid, "LEASH_RUN_ID="+w.runID, "LEASH_REASON="+reason)
	if w.label != "" {
		env = append(env, "LEASH_WORKER_ID="+w.label)
	}
	c := shell(command)
	c.Env = env
	return w.RunHook(c)
}

// Restart implements watch.Host.
func (w *watchdog) Restart() (status int, err error) {
	if err := w.launch(); err != nil {
		var c *commandError
		if errors.As(err, &c) {
			return c.status, err
		}
		return exitFailed, err
	}
	w.log = w.unborn.With(slog.Int(event.PID, w.worker.PID))
	unrecorded := w.enter(false)
	r := watch.Record{Event: event.ProcessStarted, Text: "the next worker was started"}
	r.Attrs = w.creation(r.Attrs)
	w.Log(r)
	w.warn(noRecord, unrecorded)
	return 0, nil
}

// launch starts a worker.
func (w *watchdog) launch() error {
	c, err := w.command()
	if err != nil {
		return err
	}
	c.Env, c.Keep = w.workerEnv(), w.keepFDs
	c.Sentinel, c.Last = w.sentinel == sentinelAuto, w.restart == "never"
	if w.member {
		return w.launchMember(c)
	}
	if w.worker, err = w.Start(c); err != nil {
		return commandFailed(c.Args[0], err)
	}
	if c.Last {
		platform.CloseFDs(w.keepFDs)
		w.keepFDs = nil
	}
	return nil
}

// command finds the worker's program.
func (w *watchdog) command() (platform.Command, error) {
	args := os.Args[w.commandAt:]
	look := lookPath
	if w.member {
		args, look = w.argv, w.look
	}
	path, err := look(args[0])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return platform.Command{}, commandFailed(args[0], err)
	}
	return platform.Command{Path: path, Args: args}, nil
}

// creation is when the worker was started, if that is known.
func (w *watchdog) creation(attrs []slog.Attr) []slog.Attr {
	if w.worker.Start == 0 {
		return attrs
	}
	at := w.Created(w.worker.ID).UTC().Format("2006-01-02T15:04:05.00Z07:00")
	return append(attrs, slog.String(event.CreationTime, at))
}

func (w *watchdog) uptime() time.Duration {
	if w.worker.Start == 0 {
		return 0
	}
	return max(0, time.Since(w.Created(w.worker.ID)))
}
