package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"leash/internal/event"
	"leash/internal/flagvalue"
	"leash/internal/runid"
	"leash/platform"
)

type common struct {
	ParentPid    []int         `env:"LEASH_PARENT_PID" placeholder:"PID" help:"Process whose death ends the worker; may be given more than once: the death of any one counts. Default: the process that started the watchdog."`
	ParentFd     *int          `placeholder:"FD" help:"Lifeline: end-of-file on this inherited descriptor is the parent's death (0 is standard input). Alone it replaces the default parent."`
	WorkerID     string        `env:"LEASH_WORKER_ID" placeholder:"ID" help:"Label on every event, and of the worker's processes."`
	RunID        string        `env:"LEASH_RUN_ID" placeholder:"ID" help:"Run that the worker belongs to: 7 characters of 0-9 and a-z. Default: guard reads the worker's own, otherwise a new one is made."`
	Grace        time.Duration `env:"LEASH_GRACE" default:"3s" help:"From the stop signal to SIGKILL (0s to 24h)."`
	StopSignal   string        `env:"LEASH_STOP_SIGNAL" default:"TERM" help:"The polite signal: a name or a number."`
	KillMode     string        `env:"LEASH_KILL_MODE" default:"mixed" help:"To whom the stop signal goes. mixed: to the worker alone, and to what is left of its tree as soon as it has ended. group: at once to the worker's process group and all that left it. SIGKILL goes to all when the grace, counted once, is over. On Windows always group."`
	Backend      string        `env:"LEASH_BACKEND" default:"auto" help:"How ends are noticed: auto, event (pidfd; fails where the system has none) or poll."`
	PollInterval time.Duration `env:"LEASH_POLL_INTERVAL" default:"1s" help:"Between two looks, where the system does not tell (1ms to 1h)."`
	LogFormat    string        `env:"LEASH_LOG_FORMAT" default:"text" help:"Form of the event stream: text or json."`
	LogLevel     string        `env:"LEASH_LOG_LEVEL" default:"auto" help:"debug, info, warn or error; auto is info where the event stream was asked for (a format, level, file or descriptor was given) and for guard, else warn."`
	LogFile      string        `env:"LEASH_LOG_FILE" placeholder:"FILE" help:"Append the event stream to this file. Default: standard error."`
	LogFd        *int          `env:"LEASH_LOG_FD" placeholder:"FD" help:"Write the event stream to this inherited descriptor."`

	heartbeatFlags `embed:"" group:"Heartbeats:"`
}

type guardFlags struct {
	WorkerPid int `required:"" placeholder:"PID" help:"The worker."`
}

type runFlags struct {
	restartFlags `embed:""`

	Sentinel string   `env:"LEASH_SENTINEL" enum:"auto,off" default:"auto" help:"A second process that ends the worker's process tree if the watchdog is killed: auto (wherever the system needs one) or off."`
	CloseFds bool     `help:"Let the worker inherit no descriptor above 2, and remove LISTEN_FDS and what belongs to it. Default: it inherits all that the watchdog was given, but those of --parent-fd and --log-fd."`
	KeepFd   []int    `placeholder:"FD" help:"With --close-fds: let the worker inherit this descriptor all the same; may be given more than once."`
	Command  []string `arg:"" optional:"" passthrough:"" help:"The worker: a program and its arguments."`
}

type flags struct {
	common  `embed:""`
	Version versionFlag `help:"Print version, commit, Go version and system in one line."`
	Guard   guardFlags  `cmd:"" default:"withargs" help:"Guard a worker that is already running (the default command)."`
	Run     runFlags    `cmd:"" help:"Start a worker and guard it."`
}

const description = `Ends a worker when the process it works for dies, with everything that the worker started.

A flag goes before its variable. Records for the reaper are kept in LEASH_STATE_DIR (default: leash in XDG_RUNTIME_DIR, /run/leash for root).

Exit status: run gives the worker's own, 128+N for signal N, 124 when it was ended because it hung or was not ready in time; guard gives 0 when nothing of the worker is left, 1 when something survived. 125: the watchdog failed or was called wrongly; 126, 127: the command cannot be executed, is not found.`

// errHelp says that help, or the version, was asked for and printed.
var errHelp = errors.New("help was printed")

// parse reads flags and environment. Everything that can be wrong with the
// call itself is found here, before anything is started.
func parse(args []string, out io.Writer) (*settings, error) {
	mine, command := args, []string(nil)
	if i := slices.Index(args, "--"); i >= 0 {
		mine, command = args[:i], args[i+1:]
	}
	var f flags
	helped := false
	k, err := kong.New(&f, append(flagvalue.Strict(), kong.Name("watchdog"), kong.Description(description),
		kong.Writers(out, out), kong.Exit(func(int) { helped = true }),
		kong.ConfigureHelp(kong.HelpOptions{WrapUpperBound: 100}), kong.Help(usage))...)
	if err != nil {
		return nil, err
	}
	forgetEmpty(k.Model.Flags)
	ctx, err := k.Parse(mine)
	if helped || errors.Is(err, errHelp) {
		return nil, errHelp
	}
	if err != nil {
		return nil, wrongCall(err, k, mine, command)
	}
	s, given := newSettings(), givenFlags(ctx)
	if strings.HasPrefix(ctx.Command(), "run") {
		s.run, s.keepFDs, s.closeFDs, s.sentinel = true, f.Run.KeepFd, f.Run.CloseFds, f.Run.Sentinel
		s.restart, s.maxRestarts = f.Run.Restart, f.Run.MaxRestarts
		s.common(&f.common)
		s.commandAt = len(os.Args) - len(command)
		if command == nil {
			command = f.Run.Command
			s.commandAt = len(os.Args) - len(command)
		} else if len(f.Run.Command) > 0 {
			return nil, misplaced(k, f.Run.Command[0])
		}
		if len(f.Run.Command) > 0 && strings.HasPrefix(command[0], "-") {
			return nil, misplaced(k, command[0])
		}
		if len(command) == 0 {
			return nil, errors.New("run: give the worker's command: watchdog run [flags] -- COMMAND [ARG...]")
		}
		if command[0] == "" {
			return nil, errors.New("run: the command is empty")
		}
	} else {
		if command != nil {
			return nil, errors.New("guard takes no command; to start one: watchdog run [flags] -- COMMAND [ARG...]")
		}
		s.workerPID, s.restart = f.Guard.WorkerPid, "never"
		s.common(&f.common)
		s.named = given["--run-id"] && given["--worker-id"]
	}
	s.oneLog(given)
	s.autoLevel(given)
	return s, flagvalue.Explain(s.check(given), allFlags(k), choices, given)
}

// givenFlags are those on the command line, by name; the others have the value
// of a variable, or the default.
func givenFlags(ctx *kong.Context) map[string]bool {
	given := map[string]bool{}
	for _, p := range ctx.Path {
		if p.Flag != nil {
			given["--"+p.Flag.Name] = true
		}
	}
	return given
}

// oneLog lets a flag go before the variable of the other.
func (s *settings) oneLog(given map[string]bool) {
	file, fd := given["--log-file"], given["--log-fd"]
	switch {
	case file && !fd && s.logFD != bad: // what is wrong is told all the same
		s.logFD = none
	case fd && !file:
		s.logFile = ""
	}
}

func (s *settings) common(c *common) {
	s.parents, s.parentFD = c.ParentPid, descriptor(c.ParentFd)
	s.workerID, s.runID = c.WorkerID, c.RunID
	s.grace, s.stopSignal, s.killMode = c.Grace, c.StopSignal, c.KillMode
	s.backend, s.pollInterval = c.Backend, c.PollInterval
	s.logFormat, s.logLevel = c.LogFormat, c.LogLevel
	s.logFile, s.logFD = c.LogFile, descriptor(c.LogFd)
	s.heartbeats(&c.heartbeatFlags)
}

// forgetEmpty makes a variable that is set to nothing count as not set, as
// scripts mean it. Help still names it.
func forgetEmpty(flags []*kong.Flag) {
	for _, f := range flags {
		if len(f.Tag.Envs) > 0 && os.Getenv(f.Tag.Envs[0]) == "" {
			f.Help = kong.DefaultHelpValueFormatter(f.Value)
			f.Tag.Envs = nil
		}
	}
}

// descriptor is none if the flag was not given.
func descriptor(fd *int) int {
	switch {
	case fd == nil:
		return none
	case *fd < 0:
		return bad
	}
	return *fd
}

// What a descriptor is that was not given, and one that cannot be.
const (
	none = -1
	bad  = -2
)

const (
	maxGrace = 24 * time.Hour
	minPoll  = time.Millisecond
	maxPoll  = time.Hour
)

// check names the flag that is wrong. given are the flags on the command line.
func (s *settings) check(given map[string]bool) error {
	if err := platform.CheckView(); err != nil {
		return err
	}
	for _, pid := range s.parents {
		if err := checkPID("--parent-pid", pid); err != nil {
			return err
		}
		if pid == os.Getpid() {
			return fmt.Errorf("--parent-pid: %d is the watchdog itself", pid)
		}
		if pid == s.workerPID {
			return fmt.Errorf("--parent-pid: %d is the worker itself", pid)
		}
	}
	if !s.run {
		if err := checkPID("--worker-pid", s.workerPID); err != nil {
			return err
		}
	}
	switch {
	case s.runID != "" && !runid.Valid(s.runID):
		return fmt.Errorf("--run-id: %q is none: 7 characters of 0-9 and a-z (the reaper makes one: reaper id)", s.runID)
	case s.grace < 0 || s.grace > maxGrace:
		return fmt.Errorf("--grace: %v is not between 0s and %v", s.grace, maxGrace)
	case s.pollInterval < minPoll || s.pollInterval > maxPoll:
		return fmt.Errorf("--poll-interval: %v is not between %v and %v", s.pollInterval, minPoll, maxPoll)
	case !slices.Contains([]string{"mixed", "group"}, s.killMode):
		return fmt.Errorf("--kill-mode: %q is neither mixed nor group", s.killMode)
	case !slices.Contains([]string{"auto", "event", "poll"}, s.backend):
		return fmt.Errorf("--backend: %q is none of auto, event and poll", s.backend)
	case !slices.Contains([]string{"text", "json"}, s.logFormat):
		return fmt.Errorf("--log-format: %q is neither text nor json", s.logFormat)
	case !event.IsLevel(s.logLevel):
		return fmt.Errorf("--log-level: %q is none of auto, debug, info, warn and error", s.logLevel)
	case s.logFile != "" && s.logFD >= 0:
		return errors.New("--log-file and --log-fd: give one of them")
	}
	if err := checkSignal("--stop-signal", s.stopSignal); err != nil {
		return err
	}
	if err := s.checkHeartbeats(given); err != nil {
		return err
	}
	if err := s.checkRestarts(); err != nil {
		return err
	}
	return s.checkFDs()
}

func checkPID(flag string, pid int) error {
	err := platform.CheckPID(pid)
	if err == nil {
		err = platform.CheckProgram(pid)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	return nil
}

// checkSignal takes numbers as other flags do.
func checkSignal(flag, signal string) error {
	_, ok := platform.ParseSignal(signal)
	if _, err := strconv.Atoi(signal); ok && err == nil {
		_, err = flagvalue.Int(signal)
		ok = err == nil
	}
	if !ok {
		return fmt.Errorf("%s: %q is no signal of this system", flag, signal)
	}
	return nil
}

func (s *settings) checkFDs() error {
	if s.parentFD != none {
		if err := platform.CheckFD(s.parentFD, false); err != nil {
			return fmt.Errorf("--parent-fd: %w", err)
		}
	}
	if s.logFD != none {
		if err := platform.CheckFD(s.logFD, true); err != nil {
			return fmt.Errorf("--log-fd: %w", err)
		}
	}
	for _, fd := range s.keepFDs {
		if err := platform.CheckKeptFD(fd); err != nil {
			return fmt.Errorf("--keep-fd: %w", err)
		}
	}
	return nil
}
