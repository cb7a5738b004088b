package watch_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"leash/internal/heartbeat"
	"leash/internal/proc"
	"leash/internal/stop"
	"leash/watch"
)

var update = flag.Bool("update", false, "write what the machine does now into testdata")

// A transcript is a text file of events, each followed by the machine's actions, indented.
// With -update the indented lines are written again; read the difference before it is
// committed.
//
//	config guard grace=3s stop=TERM
//
//	@1.5s parent-died 100 pidfd
//	    signal-all SIGTERM
//	    = ending, next 1.6s
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 10 {
		t.Fatalf("transcripts: %q, %v", files, err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			got, err := replay(string(want))
			if err != nil {
				t.Fatal(err)
			}
			if got == string(want) {
				return
			}
			if !*update {
				t.Fatalf("%s:\n%s", name, firstDifference(string(want), got))
			}
			if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
}

const indent = "    "

// replay feeds the events to a machine and returns the transcript that results.
func replay(text string) (string, error) {
	var out bytes.Buffer
	var m *watch.Machine
	var last time.Duration
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if strings.HasPrefix(line, indent) {
			continue
		}
		fmt.Fprintln(&out, line)
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || strings.HasPrefix(line, "#"):
		case words[0] == "config" && m == nil:
			cfg, err := readConfig(words[1:])
			if err != nil {
				return "", fmt.Errorf("line %d: %w", i+1, err)
			}
			m = watch.NewMachine(cfg)
			fmt.Fprintln(&out, indent+standing(m))
		case strings.HasPrefix(line, "@") && m != nil && len(words) > 1:
			now, err := time.ParseDuration(words[0][1:])
			if err != nil || now < last {
				return "", fmt.Errorf("line %d: time %q", i+1, words[0])
			}
			e, err := readEvent(words[1:])
			if err != nil {
				return "", fmt.Errorf("line %d: %w", i+1, err)
			}
			last = now
			for _, a := range m.Step(now, e) {
				fmt.Fprintln(&out, indent+act(a))
			}
			fmt.Fprintln(&out, indent+standing(m))
		default:
			return "", fmt.Errorf("line %d: %q", i+1, line)
		}
	}
	return out.String(), nil
}

func act(a watch.Action) string {
	text := a.String()
	if a.Record.Parent != 0 {
		text += fmt.Sprint(" parent=", a.Record.Parent)
	}
	switch a.Record.Level {
	case slog.LevelDebug:
		text += " (debug)"
	case slog.LevelWarn:
		text += " (warning)"
	case slog.LevelError:
		text += " (error)"
	}
	return text
}

func standing(m *watch.Machine) string {
	at, timed := m.Deadline()
	if !timed {
		return fmt.Sprintf("= %v", m.State())
	}
	return fmt.Sprintf("= %v, next %v", m.State(), at)
}

func readConfig(words []string) (cfg watch.Config, err error) {
	for _, w := range words {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "guard": // as in cmd/watchdog: only a guard scans
			cfg.Scans = true
		case "labels":
			cfg.Labels = true
		case "record":
			cfg.Record = true
		case "run":
			cfg.Owns = true
		case "mixed":
			cfg.WorkerFirst = true
		case "grace":
			cfg.Grace, err = time.ParseDuration(value)
		case "uptime":
			cfg.Uptime, err = time.ParseDuration(value)
		case "memory-max":
			cfg.MemoryMax, err = strconv.ParseUint(value, 10, 64)
		case "stop":
			cfg.StopSignal, err = readSignal("SIG" + value)
		default:
			err = readBeatConfig(&cfg, key, value)
		}
		if err != nil {
			return cfg, err
		}
	}
	if cfg.Beats != nil {
		cfg.Beats.Adopted = !cfg.Owns
	}
	return cfg, nil
}

// readBeatConfig reads the settings for heartbeats and restarts.
func readBeatConfig(cfg *watch.Config, key, value string) (err error) {
	switch key {
	case "beats": // interval/timeout/max-missed, and the start-up time
		cfg.Beats, err = readBeats(strings.Split(value, "/"))
	case "hang-signal":
		cfg.HangSignal, err = readSignal("SIG" + value)
	case "hang-command":
		cfg.HangCommand = true
	case "hang-wait":
		cfg.HangWait, err = time.ParseDuration(value)
	case "grace-max":
		cfg.GraceMax, err = time.ParseDuration(value)
	case "restart":
		policies := map[string]watch.Restart{"on-failure": watch.RestartOnFailure, "always": watch.RestartAlways}
		if cfg.Restart = policies[value]; cfg.Restart == watch.RestartNever {
			err = fmt.Errorf("restart %q", value)
		}
	case "max-restarts":
		cfg.MaxRestarts, err = strconv.Atoi(value)
	case "seed":
		cfg.Seed, err = strconv.ParseUint(value, 10, 64)
	case "debug":
		cfg.Debug = true
	default:
		err = fmt.Errorf("config %q", key)
	}
	return err
}

func readBeats(words []string) (*heartbeat.Config, error) {
	var c heartbeat.Config
	if len(words) < 3 || len(words) > 4 {
		return nil, fmt.Errorf("beats %q", words)
	}
	var errs [4]error
	c.Interval, errs[0] = time.ParseDuration(words[0])
	c.Timeout, errs[1] = time.ParseDuration(words[1])
	c.MaxMissed, errs[2] = strconv.Atoi(words[2])
	if len(words) == 4 {
		c.Startup, errs[3] = time.ParseDuration(words[3])
	}
	return &c, errors.Join(errs[:]...)
}

var signals = []proc.Signal{
	proc.INT, proc.QUIT, proc.KILL, proc.TERM, {Num: 6, Name: "SIGABRT"},
	{Num: 1, Name: "SIGHUP"}, {Num: 10, Name: "SIGUSR1"}, {Num: 20, Name: "SIGTSTP"}, {Num: 18, Name: "SIGCONT"},
}

func readSignal(name string) (proc.Signal, error) {
	for _, s := range signals {
		if s.Name == name {
			return s, nil
		}
	}
	return proc.Signal{}, fmt.Errorf("signal %q", name)
}

func readEvent(words []string) (watch.Event, error) {
	kind, rest := words[0], words[1:]
	switch {
	case kind == "parent-died" && len(rest) == 2:
		pid, err := strconv.Atoi(rest[0])
		return watch.ParentDied{PID: pid, By: rest[1]}, err
	case kind == "worker-exited" && (len(rest) == 1 || len(rest) == 2):
		exit, err := readExit(rest[0])
		e := watch.WorkerExited{Exit: exit}
		if len(rest) == 2 {
			e.Usage, err = readUsage(rest[1])
		}
		return e, err
	case kind == "measured" && len(rest) == 1:
		n, err := strconv.ParseUint(rest[0], 10, 64)
		return watch.Measured{Bytes: n}, err
	case kind == "signalled" && len(rest) == 2:
		sig, err := readSignal(rest[0])
		for r := watch.Ignored; r <= watch.Suspends; r++ {
			if r.String() == rest[1] {
				return watch.Signalled{Signal: sig, Role: r}, err
			}
		}
	case kind == "counted":
		c, err := readCensus(rest)
		return watch.Counted{Census: c}, err
	case kind == "sent" && len(rest) >= 3:
		return readSent(rest)
	case kind == "quiet" && len(rest) == 0:
		return watch.Quiet{}, nil
	case kind == "tick" && len(rest) == 0:
		return watch.Tick{}, nil
	}
	return readBeatEvent(kind, rest)
}

func readBeatEvent(kind string, rest []string) (watch.Event, error) {
	switch {
	case kind == "heard" && len(rest) > 0: // the lines of a datagram
		text := strings.Join(rest, "\n")
		m, ok := heartbeat.Parse([]byte(text))
		if !ok {
			return nil, fmt.Errorf("message %q", text)
		}
		return watch.Heard{Message: m}, nil
	case kind == "hook-ended" && len(rest) == 0:
		return watch.HookEnded{}, nil
	case kind == "hook-failed" && len(rest) > 0:
		return watch.HookEnded{Err: errors.New(strings.Join(rest, " "))}, nil
	case kind == "restarted" && len(rest) == 1:
		text, ok := strings.CutPrefix(rest[0], "memory-max=")
		n, err := strconv.ParseUint(text, 10, 64)
		if !ok {
			err = fmt.Errorf("restarted %q", rest)
		}
		return watch.Restarted{MemoryMax: n}, err
	case kind == "not-restarted" && len(rest) > 1:
		status, err := strconv.Atoi(rest[0])
		return watch.NotRestarted{Status: status, Err: errors.New(strings.Join(rest[1:], " "))}, err
	}
	for e, name := range map[watch.Event]string{
		watch.Overflowed{}: "overflowed", watch.Deaf{}: "deaf", watch.Resumed{}: "resumed", watch.Restarted{}: "restarted", watch.SentinelDied{}: "sentinel-died",
	} {
		if kind == name && len(rest) == 0 {
			return e, nil
		}
	}
	return nil, fmt.Errorf("event %q %q", kind, rest)
}

// readUsage reads scope/user/system/peak/OOM kills: tree/1s/20ms/1048576/1.
func readUsage(word string) (u proc.Usage, err error) {
	f := strings.Split(word, "/")
	if len(f) != 5 || f[0] != "tree" && f[0] != "worker" {
		return u, fmt.Errorf("usage %q", word)
	}
	var errs [4]error
	u.Known, u.Tree = true, f[0] == "tree"
	u.User, errs[0] = time.ParseDuration(f[1])
	u.System, errs[1] = time.ParseDuration(f[2])
	u.Peak, errs[2] = strconv.ParseUint(f[3], 10, 64)
	u.OOMKills, errs[3] = strconv.ParseUint(f[4], 10, 64)
	return u, errors.Join(errs[:]...)
}

// readExit reads unknown, a status, or the name of a signal, with +core after it if it left a
// core dump.
func readExit(word string) (proc.Exit, error) {
	if word == "unknown" {
		return proc.Exit{}, nil
	}
	if code, err := strconv.Atoi(word); err == nil {
		return proc.Exit{Known: true, Code: code}, nil
	}
	word, core := strings.CutSuffix(word, "+core")
	sig, err := readSignal(word)
	return proc.Exit{Known: true, Signal: sig, Core: core}, err
}

func readCensus(words []string) (c stop.Census, err error) {
	for _, w := range words {
		key, value, _ := strings.Cut(w, "=")
		n, bad := strconv.Atoi(value)
		switch {
		case w == "proven":
			c.Proven = true
		case w == "ended":
			c.Ended = true
		case bad != nil:
			err = fmt.Errorf("census %q", w)
		case key == "living":
			c.Living = n
		case key == "unasked":
			c.Unsignalled = n
		case key == "denied":
			c.Denied = n
		default:
			err = fmt.Errorf("census %q", w)
		}
	}
	return c, err
}

// readSent reads: signal, target, PID, and denied if it was.
func readSent(words []string) (watch.Event, error) {
	sig, err := readSignal(words[0])
	if err != nil {
		return nil, err
	}
	pid, err := strconv.Atoi(words[2])
	s := stop.Sent{Signal: sig, Target: words[1], PID: pid}
	if len(words) == 4 && words[3] == "denied" {
		s.Err = proc.ErrDenied
	} else if len(words) > 3 {
		return nil, fmt.Errorf("sent %q", words)
	}
	return watch.Sent{Sent: s}, err
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		wl, gl := "(end)", "(end)"
		if i < len(w) {
			wl = w[i]
		}
		if i < len(g) {
			gl = g[i]
		}
		if wl != gl {
			return fmt.Sprintf("line %d of what it should be:\n%s\nbut it is:\n%s", i+1, wl, gl)
		}
	}
	return "no difference"
}

// A line that cannot be read must fail, otherwise a typing error would test nothing.
func TestTranscriptsAreReadStrictly(t *testing.T) {
	const config = "config guard grace=1s stop=TERM\n"
	for _, text := range []string{
		"@0s tick", config + config, config + "@1s", config + "@1s tock", config + "@1s tick x",
		config + "@2s tick\n@1s tick", config + "@x tick", config + "tick", "config other",
		"config run grace=x", "config run stop=NONE", config + "@1s signalled SIGTERM never",
		config + "@1s counted living=x", config + "@1s counted dead=1", config + "@1s worker-exited SIGNONE",
		config + "@1s sent SIGTERM group 7 refused", config + "@1s parent-died x pidfd",
		"config run beats=2s/10s", "config run beats=2s/10s/3/1s/1s", "config run beats=2s/10s/x", "config run restart=never",
		"config run hang-signal=NONE", "config run max-restarts=x", config + "@1s heard", config + "@1s heard hello",
		config + "@1s worker-exited 1 tree/1s", config + "@1s worker-exited 1 all/1s/1s/1/1", config + "@1s measured x", config + "@1s restarted x",
		"config run memory-max=x", config + "@1s overflowed x", config + "@1s hook-failed", config + "@1s not-restarted x y", config + "@1s not-restarted 1",
	} {
		if got, err := replay(text); err == nil {
			t.Errorf("%q was read:\n%s", text, got)
		}
	}
}
