package main

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"leash/internal/flagvalue"
	"leash/internal/rpc"
)

// poolFlags are the flags of pool: its own, and defaults for its workers.
type poolFlags struct {
	startFlags `embed:""`
}

// Help is shown below the command's one line.
func (poolFlags) Help() string {
	return "Reads requests (JSON-RPC 2.0, one object a line) from standard input, and writes answers, events and the output of workers " +
		"to standard output: run, guard, stop, signal, release, list, stop_all, shutdown. End-of-file on standard input is the parent's end. " +
		"Flags of workers are defaults for the parameters of the same names. " +
		"On macOS each worker has a sentinel of its own, and heartbeats are refused; on Windows job objects end with the pool. " +
		"Exit status: 0 nothing of any worker is left; 1 something survived; 125 the watchdog failed or was called wrongly."
}

// takePool takes the settings of a pool.
func (s *settings) takePool(f *flags, given map[string]bool) error {
	s.pool, s.run, s.restart = true, true, "never"
	s.common(&f.common)
	s.sentinel = f.Pool.Sentinel
	s.defaults = f
	for _, name := range []string{"--worker-id", "--notify-socket"} {
		if given[name] {
			return fmt.Errorf("%s: it is of one worker: give it with the request that starts it", name)
		}
	}
	f.WorkerID, s.workerID = "", ""
	if f.NotifySocket != "" {
		f.NotifySocket, s.notifySocket = "", ""
	}
	if s.parentFD == 0 {
		return errors.New("--parent-fd: standard input carries the requests, and its end is the parent's end already")
	}
	if s.logFD == 0 || s.logFD == 1 {
		return fmt.Errorf("--log-fd: descriptor %d carries requests or answers: give another", s.logFD)
	}
	s.oneLog(given)
	if s.logLevel == "auto" { // starting a pool asks for its events
		s.logLevel = "info"
	}
	w := *s
	w.restart, w.maxRestarts = f.Pool.Restart, f.Pool.MaxRestarts
	return w.check(given)
}

// memberFlags are the flags of a worker of a pool: what run and guard take.
type memberFlags struct {
	common `embed:""`
	Run    runFlags   `cmd:""`
	Guard  guardFlags `cmd:""`
}

// notParameters are flags that a pool has for all its workers.
var notParameters = []string{"parent-pid", "parent-fd", "run-id", "log-format", "log-level", "log-file", "log-fd", "sentinel", "backend"}

// elsewhere are flags whose values come as parameters of other names.
var elsewhere = []string{"worker-id", "worker-pid", "help"}

// parameters are the parameters of run and guard that are flags, made from the flags
// themselves.
type parameters struct {
	values     memberFlags
	run, guard map[string]*kong.Flag // by name in snake case
}

func newParameters() (*parameters, error) {
	p := &parameters{run: make(map[string]*kong.Flag), guard: make(map[string]*kong.Flag)}
	k, err := kong.New(&p.values, append(flagvalue.Strict(), kong.Name("watchdog"), groups)...)
	if err != nil {
		return nil, err
	}
	add := func(to map[string]*kong.Flag, flags []*kong.Flag) {
		for _, f := range flags {
			if !slices.Contains(notParameters, f.Name) && !slices.Contains(elsewhere, f.Name) {
				to[snake(f.Name)] = f
			}
		}
	}
	add(p.run, k.Model.Flags)
	add(p.guard, k.Model.Flags)
	for _, n := range k.Model.Children {
		if n.Name == "run" {
			add(p.run, n.Flags)
		} else {
			add(p.guard, n.Flags)
		}
	}
	return p, nil
}

func snake(name string) string { return strings.ReplaceAll(name, "-", "_") }

// read takes the parameters of a request over the defaults. given are those that it has, as
// flags are given. others are the names of parameters that are no flags.
func (p *parameters) read(params *rpc.Value, defaults *flags, run bool, others ...string) (f *memberFlags, given map[string]bool, failed *rpc.Error) {
	p.values = memberFlags{common: defaults.common}
	table := p.guard
	if p.values.Run.Restart = "never"; run {
		p.values.Run.startFlags = defaults.Pool.startFlags
		table = p.run
	}
	given = make(map[string]bool)
	for i := range params.Members {
		m := &params.Members[i]
		if slices.Contains(others, m.Name) {
			continue
		}
		flag := table[m.Name]
		if flag == nil {
			return nil, nil, rpc.Errorf(rpc.InvalidParams, "%s: there is no such parameter", m.Name)
		}
		if err := setFlag(flag, &m.Value); err != nil {
			return nil, nil, rpc.Errorf(rpc.InvalidParams, "%s: %v", m.Name, err)
		}
		given["--"+flag.Name] = true
	}
	return &p.values, given, nil
}

// setFlag sets the value of a flag as the command line would.
func setFlag(f *kong.Flag, v *rpc.Value) error {
	want := func(kind rpc.Kind) error {
		if v.Kind != kind {
			return fmt.Errorf("it is %v, and must be %v", v.Kind, kind)
		}
		return nil
	}
	switch to := f.Target.Addr().Interface().(type) {
	case *string:
		if err := want(rpc.String); err != nil {
			return err
		}
		if f.Enum != "" && !slices.Contains(f.EnumSlice(), v.Text) {
			return fmt.Errorf("it must be one of %s, and is %q", strings.Join(f.EnumSlice(), ", "), v.Text)
		}
		if v.Text == "" {
			return errors.New("it is empty: give a value, or leave it out")
		}
		*to = v.Text
	case *time.Duration:
		if err := want(rpc.String); err != nil {
			return err
		}
		d, err := flagvalue.Span(v.Text)
		if err != nil {
			return err
		}
		*to = d
	case *bool:
		if err := want(rpc.Bool); err != nil {
			return err
		}
		*to = v.True
	case *int, **int:
		if err := want(rpc.Number); err != nil {
			return err
		}
		n, ok := v.Int()
		if !ok {
			return fmt.Errorf("%s is not a whole number", v.Text)
		}
		if one, ok := to.(*int); ok {
			*one = n
		} else {
			*to.(**int) = &n
		}
	case *[]int:
		if err := want(rpc.List); err != nil {
			return err
		}
		var all []int
		for i := range v.List {
			n, ok := v.List[i].Int()
			if !ok {
				return errors.New("it must be a list of whole numbers")
			}
			all = append(all, n)
		}
		*to = all
	default:
		// A flag with a type of its own reads text, as on the command line.
		if err := want(rpc.String); err != nil {
			return err
		}
		return f.Parse(kong.ScanFromTokens(kong.Token{Value: v.Text, Type: kong.FlagValueToken}), reflect.ValueOf(to).Elem())
	}
	return nil
}

// flagName finds flags in the text of an error about the command line.
var flagName = regexp.MustCompile(`--[a-z][a-z-]*`)

// asParameter names parameters where an error names flags.
func asParameter(err error) string {
	return flagName.ReplaceAllStringFunc(err.Error(), func(name string) string { return snake(name[2:]) })
}
