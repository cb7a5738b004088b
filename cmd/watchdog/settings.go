package main

import (
	"os"
	"strconv"
	"strings"
	"time"

	"leash/platform"
)

// settings are the values of the flags, checked.
type settings struct {
	run           bool
	parents       []int
	defaultParent int
	parentFD      int
	workerPID     int
	workerID      string
	runID         string
	// named: flags, not variables, gave both of them.
	named        bool
	grace        time.Duration
	stopSignal   string
	killMode     string // mixed or group
	backend      string
	pollInterval time.Duration
	logFormat    string
	logLevel     string
	logFile      string
	logFD        int
	// keepFDs are the descriptors above 2 that the worker inherits: all that the watchdog
	// was given except those for itself, or with closeFDs those of --keep-fd.
	keepFDs  []int
	closeFDs bool
	// sentinel is auto or off; the others are those of a sentinel that was started, none
	// if not.
	sentinel                string
	sentinelFD, sentinelPID int
	// lean: this is the program after the second execve, and saved are the variables that
	// were replaced for it.
	lean  bool
	saved []string
	// commandAt is where the worker's command begins in os.Args.
	commandAt int
	// heartbeat is off or notify.
	heartbeat      string
	beatInterval   time.Duration
	beatTimeout    time.Duration
	maxMissed      int
	startupTimeout time.Duration // 0: none
	notifySocket   string        // empty: under run one is made
	onHangSignal   string        // empty: none
	onHangCommand  string        // empty: none
	onHangTimeout  time.Duration
	graceMax       time.Duration // 0: as long as grace
	// restart is never, on-failure or always.
	restart     string
	maxRestarts int
	pooling
}

// pooling is set for a pool, which is not executed a second time.
type pooling struct {
	// pool: these are the settings of a pool, and defaults are those of its workers.
	pool     bool
	defaults *flags
	// member: this is one of a pool's workers.
	member bool
}

func newSettings() *settings {
	return &settings{parentFD: none, logFD: none, sentinelFD: none, defaultParent: startedBy}
}

// startedBy is the process that started the watchdog, as early as it can be asked for.
var startedBy = os.Getppid()

// sentinelAuto: run has a sentinel on systems that need one.
const sentinelAuto = "auto"

// mode is the kill mode on this system: which processes get the stop signal first.
func (s *settings) mode() string {
	if !platform.SignalsOne {
		return "group"
	}
	return s.killMode
}

// pack writes the settings for the second execve. They begin with the PID of this process, so
// that those of another process are never used.
func (s *settings) pack() string {
	var b strings.Builder
	b.WriteString(strconv.Itoa(os.Getpid()))
	for _, f := range s.fields() {
		b.WriteByte(' ')
		switch p := f.(type) {
		case *bool:
			b.WriteString(strconv.FormatBool(*p))
		case *int:
			b.WriteString(strconv.Itoa(*p))
		case *string:
			b.WriteString(strconv.Quote(*p))
		case *time.Duration:
			b.WriteString(strconv.FormatInt(int64(*p), 10))
		case *[]string:
			b.WriteString(strconv.Quote(strings.Join(*p, "\x00")))
		case *[]int:
			for i, n := range *p {
				if i > 0 {
					b.WriteByte(',')
				}
				b.WriteString(strconv.Itoa(n))
			}
		}
	}
	return b.String()
}

// unpack is the reverse; nil if the text is not from this process.
func unpack(text string) *settings {
	rest, ok := strings.CutPrefix(text, strconv.Itoa(os.Getpid())+" ")
	if !ok {
		return nil
	}
	s := newSettings()
	for _, f := range s.fields() {
		var word string
		if word, rest, ok = nextWord(rest); !ok || !set(f, word) {
			return nil
		}
	}
	return s
}

func set(field any, word string) bool {
	var err error
	switch p := field.(type) {
	case *bool:
		*p, err = strconv.ParseBool(word)
	case *int:
		*p, err = strconv.Atoi(word)
	case *string:
		*p, err = strconv.Unquote(word)
	case *time.Duration:
		var n int64
		n, err = strconv.ParseInt(word, 10, 64)
		*p = time.Duration(n)
	case *[]string:
		if word, err = strconv.Unquote(word); err == nil && word != "" {
			*p = strings.Split(word, "\x00")
		}
	case *[]int:
		for _, w := range strings.FieldsFunc(word, func(r rune) bool { return r == ',' }) {
			n, e := strconv.Atoi(w)
			if e != nil {
				return false
			}
			*p = append(*p, n)
		}
	}
	return err == nil
}

func nextWord(s string) (word, rest string, ok bool) {
	if strings.HasPrefix(s, `"`) {
		word, err := strconv.QuotedPrefix(s)
		if err != nil {
			return "", "", false
		}
		return word, strings.TrimPrefix(s[len(word):], " "), true
	}
	word, rest, _ = strings.Cut(s, " ")
	return word, rest, true
}

func (s *settings) fields() []any {
	return []any{
		&s.run, &s.parents, &s.defaultParent, &s.parentFD, &s.workerPID,
		&s.workerID, &s.runID, &s.grace, &s.stopSignal, &s.backend,
		&s.pollInterval, &s.logFormat, &s.logLevel, &s.logFile, &s.logFD,
		&s.keepFDs, &s.commandAt,
		&s.heartbeat, &s.beatInterval, &s.beatTimeout, &s.maxMissed, &s.startupTimeout,
		&s.notifySocket, &s.onHangSignal, &s.onHangCommand, &s.onHangTimeout, &s.graceMax,
		&s.closeFDs, &s.sentinel, &s.sentinelFD, &s.sentinelPID, &s.lean, &s.saved,
		&s.restart, &s.maxRestarts, &s.killMode, &s.named,
	}
}

// originalEnv is the environment that the watchdog was started with.
func (s *settings) originalEnv() []string {
	if !s.lean {
		return os.Environ()
	}
	return append(without(os.Environ(), "GOMAXPROCS", "GOGC"), s.saved...)
}

func without(env []string, names ...string) []string {
	var out []string
next:
	for _, e := range env {
		for _, n := range names {
			if isVariable(e, n) {
				continue next
			}
		}
		out = append(out, e)
	}
	return out
}
