package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"leash/internal/flagvalue"
	"leash/internal/helptext"
	"leash/internal/runid"
	"leash/platform"
)

type reapFlags struct {
	RunID     []string      `group:"reap" name:"run-id" sep:"none" placeholder:"ID" help:"End this run, whatever its state, and no other; may be repeated"`
	WorkerID  []string      `group:"reap" name:"worker-id" sep:"none" placeholder:"ID" help:"With --run-id: end only this worker of it; may be repeated"`
	Unclaimed bool          `group:"reap" help:"Also end runs of which no owner is known"`
	Unguarded bool          `group:"reap" help:"Also end workers of live runs whose watchdog is dead"`
	Grace     time.Duration `group:"reap" default:"2s" help:"From SIGTERM to SIGKILL, once for all processes"`
	DryRun    bool          `group:"reap" help:"Send no signal: say what would be ended"`
	Json      bool          `group:"reap" help:"Print one JSON object"`
}

type listFlags struct {
	Json bool `help:"Print one JSON object"`
}

type explainFlags struct {
	PID  int  `arg:"" placeholder:"PID" help:"The process."`
	Json bool `help:"Print one JSON object"`
}

type whoFlags struct {
	Targets []string `arg:"" name:"target" sep:"none" help:"What is held."`
	End     bool     `help:"End those holders that reap would end, and nobody else"`
	Json    bool     `help:"Print one JSON object"`
}

type metricsFlags struct {
	Output string `placeholder:"FILE" help:"Replace this file in one step; default: standard output"`
}

type doctorFlags struct {
	Json bool `help:"Print one JSON object"`
}

type flags struct {
	Version   helptext.VersionFlag `help:"Print version, commit, Go version and system"`
	LogFormat string               `group:"events" env:"LEASH_LOG_FORMAT" enum:"text, json" default:"text" help:"${enum}"`
	LogLevel  string               `group:"events" env:"LEASH_LOG_LEVEL" enum:"auto, debug, info, warn, error" default:"auto" help:"${enum}"`
	Reap      reapFlags            `cmd:"" default:"withargs" help:"End what is left of dead runs (the default command)"`
	List      listFlags            `cmd:"" help:"Show every run and its processes; end nothing"`
	Explain   explainFlags         `cmd:"" help:"Say why a process would be ended or left alone"`
	Who       whoFlags             `cmd:"" help:"Say who holds a port, GPU, file or socket, and may it go"`
	Metrics   metricsFlags         `cmd:"" help:"Print figures for Prometheus"`
	Doctor    doctorFlags          `cmd:"" alone:"" help:"Say what works on this system, and why not"`
	ID        struct{}             `cmd:"" name:"id" help:"Print a new run ID: 7 characters of 0-9 and a-z"`

	asked bool // for the event stream: a format was given
}

var groups = kong.ExplicitGroups([]kong.Group{
	{Key: "reap", Title: "Reap (the default command):"},
	{Key: "events", Title: "Events, on standard error (level auto: info if a format is given, else warn):"},
})

// Help is shown below the command's one line.
func (reapFlags) Help() string {
	return "What is in doubt is left alone, and the reason is given.\n" + statuses
}

// Help is shown below the command's one line.
func (listFlags) Help() string {
	return `A run is dead when its owner is known and has ended, alive when one owner lives, unclaimed when none is known. "reaper" would end what is left of dead runs.`
}

// Help is shown below the command's one line.
func (explainFlags) Help() string {
	return "It prints what was seen of the process, which run it belongs to and by what evidence, and what reap would do."
}

// Help is shown below the command's one line.
func (whoFlags) Help() string {
	return `TARGET is :PORT (tcp), tcp:PORT, udp:PORT, gpu:N, the path of a file, folder, device or Unix socket, or a PID. For each holder: its user, age, command and run, what reap would do with it and why, and the command that would end it.
Exit status: 0 somebody holds one of the targets; 1 nobody does; with --end 0 nobody is left, 1 one was left, with the reason; 125 the reaper failed or was called wrongly.`
}

// Help is shown below the command's one line.
func (doctorFlags) Help() string {
	return "Each line is a mechanism: works, in part or no, and what to do. Exit status: 0 all promises can be kept here; 1 not all; 125 the call was wrong."
}

// Help is shown below the command's one line.
func (metricsFlags) Help() string {
	return "The text format of Prometheus: runs, processes and memory by state, workers with restarts, hangs and seconds since the last beat, and what the last reap did. For node_exporter: --output /var/lib/prometheus/node-exporter/leash.prom. Exit status: 0; 125 the reaper failed or was called wrongly."
}

const statuses = "Exit status: 0 nothing that had to be ended is left; 1 something survived; 125 the reaper failed or was called wrongly."

const description = `Ends what is left of dead runs, and nothing else.
A process belongs to a run by evidence: an argument --run-id ID, LEASH_RUN_ID in its environment, the records of watchdogs (in LEASH_STATE_DIR), the process group, session or cgroup of a recorded worker, or descent. A run is dead when its owner is known and has ended. What is in doubt is left alone, and the reason is given.
` + statuses

// grammar is how the program is called.
func grammar(f *flags, out io.Writer, helped *bool) (*kong.Kong, error) {
	return kong.New(f, append(flagvalue.Strict(), kong.Name("reaper"), kong.Description(description),
		kong.Writers(out, out), kong.Exit(func(int) { *helped = true }),
		kong.Help(helptext.Print), groups)...)
}

// parse reads flags and environment, and finds errors of the call before any process is
// read.
func parse(args []string, out io.Writer) (command string, f *flags, err error) {
	for _, name := range []string{"LEASH_LOG_FORMAT", "LEASH_LOG_LEVEL"} {
		if os.Getenv(name) == "" { // an empty variable counts as unset
			os.Unsetenv(name)
		}
	}
	f = &flags{}
	helped := false
	k, err := grammar(f, out, &helped)
	if err != nil {
		return "", nil, err
	}
	ctx, err := k.Parse(args)
	if p := (*kong.ParseError)(nil); errors.As(err, &p) && flagvalue.IsEnum(err) && p.Context.Command() == "id" {
		return "id", f, nil // it has no events, so their form does not matter
	}
	if helped || errors.Is(err, helptext.ErrPrinted) {
		return "", nil, helptext.ErrPrinted
	}
	if err != nil {
		return "", nil, wrongCall(err, k, args)
	}
	command, _, _ = strings.Cut(ctx.Command(), " ")
	given := flagvalue.Given(ctx)
	f.asked = given["--log-format"] || os.Getenv("LEASH_LOG_FORMAT") != ""
	return command, f, flagvalue.Explain(f.check(command), allFlags(k), given)
}

const maxGrace = 24 * time.Hour

// check returns an error that names the wrong flag.
func (f *flags) check(command string) error {
	switch {
	case command == "id" || command == "doctor":
		return nil
	case f.Reap.Grace < 0 || f.Reap.Grace > maxGrace:
		return fmt.Errorf("--grace: %v is not between 0s and %v", f.Reap.Grace, maxGrace)
	}
	if len(f.Reap.WorkerID) > 0 && len(f.Reap.RunID) == 0 {
		return errors.New("--worker-id: a worker's ID is one of its run: give --run-id too")
	}
	for _, id := range f.Reap.WorkerID {
		if id == "" {
			return errors.New("--worker-id: it is empty")
		}
	}
	for _, id := range f.Reap.RunID {
		if !runid.Valid(id) {
			return fmt.Errorf("--run-id: %q is not a run ID: 7 characters of 0-9 and a-z", id)
		}
	}
	if command == "who" {
		for _, text := range f.Who.Targets {
			if _, err := parseTarget(text); err != nil {
				return err
			}
		}
	}
	if command == "explain" {
		return platform.CheckPID(f.Explain.PID)
	}
	return nil
}
