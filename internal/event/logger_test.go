package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func record(level slog.Level, text string, attrs ...slog.Attr) slog.Record {
	r := slog.NewRecord(time.Unix(1700000000, 0).UTC(), level, text, 0)
	r.AddAttrs(attrs...)
	return r
}

func TestJSON(t *testing.T) {
	var out bytes.Buffer
	log := New(&out, "json", slog.LevelInfo).With(slog.String(RunID, "abc1234"), slog.Int(PID, 7))
	log.Write(record(slog.LevelWarn, "two\nlines", slog.String(Event, SignalSent), slog.Bool(Success, true)))
	text, found := strings.CutSuffix(out.String(), "\n")
	if !found || strings.Contains(text, "\n") {
		t.Errorf("not one line: %q", out.String())
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"time": "2023-11-14T22:13:20Z", "level": "WARN", "msg": "two\nlines",
		"leash.run_id": "abc1234", "process.pid": 7.0, "event": "signal.sent", "success": true,
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s is %v, want %v", k, got[k], v)
		}
	}
	if len(got) != len(want) {
		t.Errorf("more than was asked for: %v", got)
	}
}

func TestText(t *testing.T) {
	for _, format := range []string{"text", ""} {
		var out bytes.Buffer
		New(&out, format, slog.LevelInfo).Write(record(slog.LevelInfo, "watching", slog.String(Event, WatchdogStarted)))
		want := "time=2023-11-14T22:13:20.000Z level=INFO msg=watching event=watchdog.started\n"
		if out.String() != want {
			t.Errorf("format %q: %q, want %q", format, out.String(), want)
		}
	}
}

func TestLevel(t *testing.T) {
	var out bytes.Buffer
	log := New(&out, "text", slog.LevelWarn)
	for _, l := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		log.Write(record(l, l.String()))
	}
	if n := strings.Count(out.String(), "\n"); n != 2 || strings.Contains(out.String(), "INFO") {
		t.Errorf("%d records at level warn: %q", n, out.String())
	}
}

// choosy fails while it is closed.
type choosy struct {
	bytes.Buffer
	closed bool
}

func (c *choosy) Write(b []byte) (int, error) {
	if c.closed {
		return 0, errors.New("no reader")
	}
	return c.Buffer.Write(b)
}

// The next record that is written reports the lost ones, once.
func TestLostRecordsAreTold(t *testing.T) {
	out := &choosy{closed: true}
	log := New(out, "text", slog.LevelInfo)
	derived := log.With(slog.String(RunID, "abc1234"))
	log.Write(record(slog.LevelInfo, "lost"))
	log.Write(record(slog.LevelDebug, "below the level, so not lost"))
	out.closed = false
	derived.Write(record(slog.LevelInfo, "first"))
	derived.Write(record(slog.LevelInfo, "second"))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("lines: %q", lines)
	}
	if !strings.Contains(lines[0], "msg=first") || !strings.HasSuffix(lines[0], " lost_records=1") {
		t.Errorf("the first record reports a lost one: %s", lines[0])
	}
	if strings.Contains(lines[1], Lost) {
		t.Errorf("the second does not report the lost ones: %s", lines[1])
	}
}

// Two attributes of one name would make a record ambiguous.
func TestNamesAreDistinct(t *testing.T) {
	seen := map[string]bool{"time": true, "level": true, "msg": true}
	for _, name := range []string{
		Event, RunID, WorkerID, PID, ParentPID, CreationTime, ExitCode, Backend, Containment,
		DetectedBy, Outcome, ExitStatus, Signal, Target, TargetPID, Reason, UptimeMS, Success,
		Survivors, SurvivorPIDs, Method, CleanupDuration, Error, Lost,
	} {
		if seen[name] || name == "" {
			t.Errorf("%q is there twice", name)
		}
		seen[name] = true
	}
}

// failing fails as often as it says.
type failing struct {
	bytes.Buffer
	times int
}

func (f *failing) Write(b []byte) (int, error) {
	if f.times > 0 {
		f.times--
		return 0, errors.New("the reader is gone")
	}
	return f.Buffer.Write(b)
}

func TestEveryLostRecordIsCounted(t *testing.T) {
	w := &failing{times: 3}
	l := New(w, "text", slog.LevelInfo)
	for range 5 {
		l.Write(slog.NewRecord(time.Time{}, slog.LevelInfo, "x", 0))
	}
	if got := w.String(); strings.Count(got, "\n") != 2 || strings.Count(got, Lost+"=3") != 1 || strings.Count(got, Lost) != 1 {
		t.Errorf("got %q", got)
	}
}
