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

	"leash/internal/flagvalue"
	"leash/internal/helptext"
	"leash/internal/runid"
	"leash/platform"
)

type common struct {
	ParentPid    []int         `group:"Parent:" env:"LEASH_PARENT_PID" placeholder:"PID" help:"May be repeated, any one counts; default: the process that started the watchdog"`
	ParentFd     *int          `group:"Parent:" placeholder:"FD" help:"Lifeline: end-of-file here is the parent's end"`
	Backend      string        `group:"Parent:" env:"LEASH_BACKEND" enum:"auto, event, poll" default:"auto" help:"Notice ends by: ${enum}"`
	PollInterval time.Duration `group:"Parent:" env:"LEASH_POLL_INTERVAL" default:"1s" help:"Time between two polls"`
	WorkerID     string        `group:"Worker:" env:"LEASH_WORKER_ID" placeholder:"ID" help:"Label of the worker in events"`
	RunID        string        `group:"Worker:" env:"LEASH_RUN_ID" placeholder:"ID" help:"Run that it belongs to; default: the worker's own with guard, else a new one"`
	Grace        time.Duration `group:"Ending:" env:"LEASH_GRACE" default:"3s" help:"From the stop signal to SIGKILL"`
	StopSignal   string        `group:"Ending:" env:"LEASH_STOP_SIGNAL" default:"TERM" help:"A name or a number"`
	KillMode     string        `group:"Ending:" env:"LEASH_KILL_MODE" enum:"mixed, group" default:"mixed" help:"mixed: signal the worker, then the rest of its tree; group: all at once"`
	LogFormat    string        `group:"events" env:"LEASH_LOG_FORMAT" enum:"text, json" default:"text" help:"${enum}"`
	LogLevel     string        `group:"events" env:"LEASH_LOG_LEVEL" enum:"auto, debug, info, warn, error" default:"auto" help:"${enum}"`
	LogFile      string        `group:"events" env:"LEASH_LOG_FILE" placeholder:"FILE" help:"Append to this file, not to stderr"`
	LogFd        *int          `group:"events" env:"LEASH_LOG_FD" placeholder:"FD" help:"Write to this descriptor"`

	heartbeatFlags `embed:""`
}

// groups are the groups of flags that have a title of several words.
var groups = kong.ExplicitGroups([]kong.Group{
	{Key: "events", Title: "Events (level auto: info for guard or if one of these is given, else warn):"},
	{Key: "heartbeats", Title: "Heartbeats (while off, these flags are refused, their variables ignored):"},
})

type guardFlags struct {
	WorkerPid int `group:"Worker:" required:"" placeholder:"PID" help:"The process to guard"`
}

// startFlags are those of run and pool.
type startFlags struct {
	restartFlags `embed:""`

	Sentinel string `group:"Worker:" env:"LEASH_SENTINEL" enum:"auto, off" default:"auto" help:"Second process that ends the tree if the watchdog is killed: ${enum}"`
}

type runFlags struct {
	startFlags `embed:""`

	CloseFds bool     `group:"Worker:" help:"Pass on no descriptor above 2 and no LISTEN_FDS"`
	KeepFd   []int    `group:"Worker:" placeholder:"FD" help:"With --close-fds: pass this one on"`
	Command  []string `arg:"" optional:"" passthrough:"" help:"The worker: a program and its arguments."`
}

// Help is shown below the command's one line.
func (runFlags) Help() string {
	return "Exit status: the worker's own; 128+N for signal N; 124 it was ended because it hung or was not ready in time; " + failures
}

// Help is shown below the command's one line.
func (guardFlags) Help() string {
	return "Exit status: 0 nothing of the worker is left; 1 something survived; 125 the watchdog failed or was called wrongly."
}

type flags struct {
	common  `embed:""`
	Version helptext.VersionFlag `help:"Print version, commit, Go version and system"`
	Guard   guardFlags           `cmd:"" default:"withargs" help:"Guard a running worker (the default command)"`
	Run     runFlags             `cmd:"" help:"Start a worker and guard it"`
	Pool    poolFlags            `cmd:"" help:"Guard many workers (JSON-RPC)"`
	Doctor  doctorFlags          `cmd:"" alone:"" help:"Say what works on this system, and why not"`
}

const failures = "125 the watchdog failed or was called wrongly; 126 COMMAND cannot be executed; 127 it is not found."

const description = `Ends a worker, with everything that it started, when its parent ends.
See "watchdog run --help". Flags go before variables; records: LEASH_STATE_DIR.
Exit status: guard: 0 nothing is left, 1 something survived; run: the worker's own, 128+N for signal N, 124 it hung or was not ready; both: ` + failures

// grammar is how the program is called.
func grammar(f *flags, out io.Writer, helped *bool) (*kong.Kong, error) {
	return kong.New(f, append(flagvalue.Strict(), kong.Name("watchdog"), kong.Description(description),
		kong.Writers(out, out), kong.Exit(func(int) { *helped = true }),
		kong.Help(helptext.Print), groups)...)
}

// parse reads flags and environment. All errors of the call itself are found here, before
// any process is started.
func parse(args []string, out io.Writer) (*settings, error) {
	mine, command := args, []string(nil)
	if i := slices.Index(args, "--"); i >= 0 {
		mine, command = args[:i], args[i+1:]
	}
	var f flags
	helped := false
	k, err := grammar(&f, out, &helped)
	if err != nil {
		return nil, err
	}
	forgetEmpty(k.Model.Flags)
	ctx, err := k.Parse(mine)
	if helped || errors.Is(err, helptext.ErrPrinted) {
		return nil, helptext.ErrPrinted
	}
	if err != nil {
		return nil, wrongCall(err, k, mine, command)
	}
	s, given := newSettings(), flagvalue.Given(ctx)
	if ctx.Command() == "doctor" {
		if command != nil {
			return nil, errors.New("doctor takes no command")
		}
		return nil, &errDoctor{json: f.Doctor.Json}
	}
	if strings.HasPrefix(ctx.Command(), "pool") {
		if command != nil {
			return nil, errors.New("pool takes no command: its workers are started by requests (method run)")
		}
		err := s.takePool(&f, given)
		return s, flagvalue.Explain(err, allFlags(k), given)
	}
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
	return s, flagvalue.Explain(s.check(given), allFlags(k), given)
}

// oneLog lets a flag take precedence over the variable of the other. (kong's xor counts a
// variable as given, and would refuse the two.)
func (s *settings) oneLog(given map[string]bool) {
	file, fd := given["--log-file"], given["--log-fd"]
	switch {
	case file && !fd && s.logFD != bad: // a bad value is still an error
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

// forgetEmpty makes an empty variable count as unset, as scripts mean it. Help still names
// it.
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

// The values of a descriptor that was not given, and of one that is invalid.
const (
	none = -1
	bad  = -2
)

const (
	maxGrace = 24 * time.Hour
	minPoll  = time.Millisecond
	maxPoll  = time.Hour
)

// check returns an error that names the wrong flag. given are the flags on the command line.
func (s *settings) check(given map[string]bool) error {
	if !s.member { // a pool has checked it
		if err := platform.CheckView(); err != nil {
			return err
		}
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
		return fmt.Errorf("--run-id: %q is not a run ID: 7 characters of 0-9 and a-z (the reaper makes one: reaper id)", s.runID)
	case s.grace < 0 || s.grace > maxGrace:
		return fmt.Errorf("--grace: %v is not between 0s and %v", s.grace, maxGrace)
	case s.pollInterval < minPoll || s.pollInterval > maxPoll:
		return fmt.Errorf("--poll-interval: %v is not between %v and %v", s.pollInterval, minPoll, maxPoll)
	case s.logFile != "" && s.logFD >= 0:
		return errors.New("--log-file and --log-fd: give only one of them")
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

// checkSignal parses numbers as strictly as other flags.
func checkSignal(flag, signal string) error {
	_, ok := platform.ParseSignal(signal)
	if _, err := strconv.Atoi(signal); ok && err == nil {
		_, err = flagvalue.Int(signal)
		ok = err == nil
	}
	if !ok {
		return fmt.Errorf("%s: %q is not a signal of this system", flag, signal)
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
