package main

import (
	"math"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/quick"
	"time"
)

func TestPackRoundTrip(t *testing.T) {
	same := func(s *settings) bool {
		got := unpack(s.pack())
		if !reflect.DeepEqual(got, s) {
			t.Logf("%q\n%+v came back as\n%+v", s.pack(), s, got)
			return false
		}
		return true
	}
	for _, s := range []*settings{
		newSettings(),
		{},
		{run: true, parents: []int{1}, keepFDs: []int{3, 4, 5}, commandAt: 7},
		{workerID: `a "quoted" \ id` + "\n\t\x00\xff", runID: "abc1234", logFile: "/a b/ c", grace: -1},
		{workerID: " ", logFile: `"`, stopSignal: "`", backend: "'x'", logFormat: "ä世"},
		{parents: []int{-1, 0, math.MaxInt}, grace: math.MaxInt64, pollInterval: math.MinInt64, logFD: math.MinInt},
		{heartbeat: "notify", notifySocket: `@a "b" \`, onHangCommand: "py-spy dump --pid\n; echo 'x'", onHangSignal: "ABRT"},
		{closeFDs: true, sentinel: "off", sentinelFD: 7, sentinelPID: 8, lean: true, saved: []string{"GOGC= a\"b", "GOMAXPROCS="}},
		{beatInterval: math.MinInt64, graceMax: math.MaxInt64, maxMissed: math.MinInt, restart: " ", maxRestarts: math.MaxInt},
	} {
		if !same(s) {
			t.Errorf("%+v", s)
		}
	}
	any := func(run bool, ints [7]int, parents, keep []int, texts [13]string, times [7]time.Duration) bool {
		if len(parents) == 0 {
			parents = nil
		}
		if len(keep) == 0 {
			keep = nil
		}
		return same(&settings{
			run: run, parents: parents, defaultParent: ints[0], parentFD: ints[1], workerPID: ints[2],
			workerID: texts[0], runID: texts[1], grace: times[0], stopSignal: texts[2],
			backend: texts[3], pollInterval: times[1], logFormat: texts[4], logLevel: texts[5],
			logFile: texts[6], logFD: ints[3], keepFDs: keep, commandAt: ints[4],
			heartbeat: texts[7], beatInterval: times[2], beatTimeout: times[3], maxMissed: ints[5],
			startupTimeout: times[4], notifySocket: texts[8], onHangSignal: texts[9], onHangCommand: texts[10],
			onHangTimeout: times[5], graceMax: times[6], restart: texts[11], killMode: texts[12], maxRestarts: ints[6],
		})
	}
	if err := quick.Check(any, nil); err != nil {
		t.Error(err)
	}
}

// A setting that is not handed over would be lost without an error. But a pool is not executed
// again.
func TestEverySettingIsHandedOver(t *testing.T) {
	s := newSettings()
	fields := s.fields()
	if want := reflect.TypeOf(*s).NumField() - 1; len(fields) != want {
		t.Fatalf("%d of %d fields", len(fields), want)
	}
	seen := map[any]bool{}
	for i, f := range fields {
		if seen[f] {
			t.Errorf("field %d is listed twice", i)
		}
		seen[f] = true
	}
}

func pidPrefix() string { return strconv.Itoa(os.Getpid()) + " " }

// Settings of another process, or forged ones, are refused.
func TestUnpackRefuses(t *testing.T) {
	good := newSettings().pack()
	if unpack(good) == nil {
		t.Fatalf("%q was refused", good)
	}
	rest := strings.TrimPrefix(good, pidPrefix())
	words := strings.Split(rest, " ")
	change := func(i int, to string) string {
		w := slices.Clone(words)
		w[i] = to
		return pidPrefix() + strings.Join(w, " ")
	}
	for name, text := range map[string]string{
		"empty": "", "blank": " ", "the PID only": pidPrefix(), "no PID": rest, "no PID, blank": " " + rest,
		"another PID":        strconv.Itoa(os.Getpid()+1) + " " + rest,
		"a longer PID":       strconv.Itoa(os.Getpid()) + "0 " + rest,
		"part of the PID":    strconv.Itoa(os.Getpid())[1:] + " " + rest,
		"cut off":            pidPrefix() + strings.Join(words[:len(words)-1], " "),
		"no bool":            change(0, "maybe"),
		"no number":          change(2, "x"),
		"no list":            change(1, "1,x"),
		"no text":            change(5, "bare"),
		"an open quote":      change(5, `"x`),
		"no duration":        change(7, "3s"),
		"a number too large": change(4, "9223372036854775808"),
		"no text, late":      change(17, "off"),
		"no duration, late":  change(18, "2s"),
		"none of heartbeats": pidPrefix() + strings.Join(words[:17], " "),
		"the last no text":   change(len(words)-1, "x"),
	} {
		if got := unpack(text); got != nil {
			t.Errorf("%s: %q was taken: %+v", name, text, got)
		}
	}
}

// FuzzUnpack checks that accepted text means the same when it is written again, and that text
// without the PID of this process is refused.
func FuzzUnpack(f *testing.F) {
	f.Add(strings.TrimPrefix(newSettings().pack(), pidPrefix()))
	f.Add(`true 1,2 3 4 5 "a b" "abc1234" 6 "TERM" "auto" 7 "text" "info" "/x" 8 9,10 11 ` +
		`"notify" 12 13 14 15 "@a b" "ABRT" "py-spy dump --pid" 16 17 true "auto" 18 19 false "GOGC=off" "always" 20 "mixed"`)
	f.Fuzz(func(t *testing.T, rest string) {
		if !strings.HasPrefix(rest, pidPrefix()) && unpack(rest) != nil {
			t.Errorf("%q was accepted without our PID", rest)
		}
		s := unpack(pidPrefix() + rest)
		if s == nil {
			return
		}
		if again := unpack(s.pack()); !reflect.DeepEqual(again, s) {
			t.Errorf("%q: %+v became %+v", rest, s, again)
		}
		if plain := plainUnpack(rest); !reflect.DeepEqual(plain, s) {
			t.Errorf("%q: %+v, but the plain parser gives %+v", rest, s, plain)
		}
	})
}

// plainUnpack parses one field after the other; nil if one is invalid.
func plainUnpack(text string) *settings {
	ok := true
	word := func() (w string) {
		if strings.HasPrefix(text, `"`) {
			w, _ = strconv.QuotedPrefix(text)
			text = strings.TrimPrefix(text[len(w):], " ")
			return w
		}
		w, text, _ = strings.Cut(text, " ")
		return w
	}
	integer := func(w string) int64 {
		n, err := strconv.ParseInt(w, 10, 64)
		ok = ok && err == nil
		return n
	}
	number := func() int { return int(integer(word())) }
	span := func() time.Duration { return time.Duration(integer(word())) }
	quoted := func() string {
		s, err := strconv.Unquote(word())
		ok = ok && err == nil
		return s
	}
	list := func() (ns []int) {
		for w := range strings.SplitSeq(word(), ",") {
			if w != "" {
				ns = append(ns, int(integer(w)))
			}
		}
		return ns
	}
	run, err := strconv.ParseBool(word())
	s := &settings{run: run}
	s.parents, s.defaultParent, s.parentFD, s.workerPID = list(), number(), number(), number()
	s.workerID, s.runID, s.grace, s.stopSignal, s.backend = quoted(), quoted(), span(), quoted(), quoted()
	s.pollInterval, s.logFormat, s.logLevel, s.logFile = span(), quoted(), quoted(), quoted()
	s.logFD, s.keepFDs, s.commandAt = number(), list(), number()
	s.heartbeat, s.beatInterval, s.beatTimeout, s.maxMissed, s.startupTimeout = quoted(), span(), span(), number(), span()
	s.notifySocket, s.onHangSignal, s.onHangCommand = quoted(), quoted(), quoted()
	s.onHangTimeout, s.graceMax = span(), span()
	truth := func() bool {
		b, err := strconv.ParseBool(word())
		ok = ok && err == nil
		return b
	}
	s.closeFDs, s.sentinel, s.sentinelFD, s.sentinelPID, s.lean = truth(), quoted(), number(), number(), truth()
	if list := quoted(); list != "" {
		s.saved = strings.Split(list, "\x00")
	}
	s.restart, s.maxRestarts, s.killMode = quoted(), number(), quoted()
	if err != nil || !ok {
		return nil
	}
	return s
}

func TestWithout(t *testing.T) {
	small := "a=5"
	if runtime.GOOS == "windows" { // there it is the same variable
		small = "c=5"
	}
	env := []string{"A=1", "AB=2", "B=A=3", "A=4", "=x", "A", small}
	if got := without(env, "A"); !slices.Equal(got, []string{"AB=2", "B=A=3", "=x", "A", small}) {
		t.Errorf("without A: %q", got)
	}
	if got := without(env, "A", "AB", "B"); !slices.Equal(got, []string{"=x", "A", small}) {
		t.Errorf("without three: %q", got)
	}
	if got := without(env); !slices.Equal(got, env) {
		t.Errorf("without nothing: %q", got)
	}
}

// The worker does not get the variables that the second execve replaced.
func TestEnvironmentOfTheWorker(t *testing.T) {
	for name, c := range map[string]struct {
		settings
		set, want []string
	}{
		"one life":    {settings{}, []string{"GOMAXPROCS=7", "GOGC=off"}, []string{"GOMAXPROCS=7", "GOGC=off"}},
		"nothing set": {settings{lean: true}, []string{"GOMAXPROCS=1", "GOGC=25"}, nil},
		"both set": {settings{lean: true, saved: []string{"GOMAXPROCS=7", "GOGC=off"}}, []string{"GOMAXPROCS=1", "GOGC=25"},
			[]string{"GOMAXPROCS=7", "GOGC=off"}},
		"one empty": {settings{lean: true, saved: []string{"GOGC="}}, []string{"GOMAXPROCS=1", "GOGC=25"}, []string{"GOGC="}},
	} {
		t.Run(name, func(t *testing.T) {
			setenv(t, append([]string{"X=kept"}, c.set...))
			got, want := c.originalEnv(), append([]string{"X=kept"}, c.want...)
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("the worker has %q, want %q", got, want)
			}
		})
	}
}

// setenv replaces the whole environment until the test ends.
func setenv(t *testing.T, env []string) {
	t.Helper()
	old := os.Environ()
	replace := func(env []string) {
		os.Clearenv()
		for _, e := range env {
			n, v, _ := strings.Cut(e, "=")
			os.Setenv(n, v)
		}
	}
	replace(env)
	t.Cleanup(func() { replace(old) })
}
