package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"leash/internal/event"
	"leash/internal/flagvalue"
	"leash/internal/runid"
	"leash/platform"
)

type reapFlags struct {
	RunID     []string      `name:"run-id" sep:"none" placeholder:"ID" help:"End this run, whatever its state, and no other; may be repeated."`
	WorkerID  []string      `name:"worker-id" sep:"none" placeholder:"ID" help:"Beside --run-id: only this worker of that run; may be repeated."`
	DryRun    bool          `help:"Send no signal: say what would be ended."`
	Grace     time.Duration `default:"2s" help:"From SIGTERM to SIGKILL, one grace period for everything (0s to 24h)."`
	Unclaimed bool          `help:"End runs of which no owner is known, too."`
	Unguarded bool          `help:"End workers of living runs too if their watchdog is dead."`
	Json      bool          `help:"Print one JSON object on standard output."`
}

type listFlags struct {
	Json bool `help:"Print one JSON object on standard output."`
}

type explainFlags struct {
	PID  int  `arg:"" placeholder:"PID" help:"The process."`
	Json bool `help:"Print one JSON object on standard output."`
}

type flags struct {
	Version   versionFlag  `help:"Print version, commit, Go version and system in one line."`
	LogFormat string       `env:"LEASH_LOG_FORMAT" default:"text" help:"Form of the event stream on standard error: text or json."`
	LogLevel  string       `env:"LEASH_LOG_LEVEL" default:"auto" help:"debug, info, warn or error; auto is info where a format was given, else warn."`
	Reap      reapFlags    `cmd:"" default:"withargs" help:"End what is left of dead runs (the default command)."`
	List      listFlags    `cmd:"" help:"Show every run and its processes."`
	Explain   explainFlags `cmd:"" help:"Say of one process what was seen, what follows from it, and whether it would live or die."`
	ID        struct{}     `cmd:"" name:"id" help:"Print a new run ID: 7 characters of 0-9 and a-z."`

	asked bool // for the event stream: a format was given
}

const description = `Ends what dead runs left behind, and nothing else.

A process belongs to a run by evidence: an argument --run-id ID, LEASH_RUN_ID in its environment, the ledger that watchdogs keep (LEASH_STATE_DIR), a recorded worker's process group, session or cgroup, or descent. A run is dead when its owner is known and gone. A worker whose watchdog is gone while the owner lives is unguarded: listed so, and ended by --unguarded only (beside it, --run-id says which runs are meant, and their state counts). What is in doubt is left alone, and the reason is told.

Exit status: 0 when nothing that had to go is left, 1 when something survived, 125 when the reaper failed or was called wrongly.`

// errHelp says that help, or the version, was asked for and printed.
var errHelp = errors.New("help was printed")

// parse reads flags and environment, and finds what is wrong with the call
// before anything is looked at.
func parse(args []string, out io.Writer) (command string, f *flags, err error) {
	for _, name := range []string{"LEASH_LOG_FORMAT", "LEASH_LOG_LEVEL"} {
		if os.Getenv(name) == "" { // an empty variable says nothing
			os.Unsetenv(name)
		}
	}
	f = &flags{}
	helped := false
	k, err := kong.New(f, append(flagvalue.Strict(), kong.Name("reaper"), kong.Description(description),
		kong.Writers(out, out), kong.Exit(func(int) { helped = true }),
		kong.ConfigureHelp(kong.HelpOptions{WrapUpperBound: 100}), kong.Help(help))...)
	if err != nil {
		return "", nil, err
	}
	ctx, err := k.Parse(args)
	if helped || errors.Is(err, errHelp) {
		return "", nil, errHelp
	}
	if err != nil {
		return "", nil, wrongCall(err, k, args)
	}
	command, _, _ = strings.Cut(ctx.Command(), " ")
	given := givenFlags(ctx)
	f.asked = given["--log-format"] || os.Getenv("LEASH_LOG_FORMAT") != ""
	return command, f, flagvalue.Explain(f.check(command), allFlags(k), choices, given)
}

// help shows the flags of the default command too: it needs no name.
func help(options kong.HelpOptions, ctx *kong.Context) error {
	if err := kong.DefaultHelpPrinter(options, ctx); err != nil || ctx.Selected() != nil {
		return err
	}
	fmt.Fprintln(ctx.Stdout, "\nFlags of reap, the default command:")
	for _, f := range ctx.Model.DefaultCmd.Flags {
		name := "--" + f.Name
		if !f.IsBool() {
			name += "=" + f.FormatPlaceHolder()
		}
		if _, err := fmt.Fprintf(ctx.Stdout, "  %-18s %s\n", name, f.Help); err != nil {
			return err
		}
	}
	return nil
}

const maxGrace = 24 * time.Hour

// check names the flag that is wrong.
func (f *flags) check(command string) error {
	switch {
	case command == "id":
		return nil
	case !slices.Contains([]string{"text", "json"}, f.LogFormat):
		return fmt.Errorf("--log-format: %q is neither text nor json", f.LogFormat)
	case !event.IsLevel(f.LogLevel):
		return fmt.Errorf("--log-level: %q is none of auto, debug, info, warn and error", f.LogLevel)
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
			return fmt.Errorf("--run-id: %q is none: 7 characters of 0-9 and a-z", id)
		}
	}
	if command == "explain" {
		return platform.CheckPID(f.Explain.PID)
	}
	return nil
}
