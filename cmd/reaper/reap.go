package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"leash/internal/event"
	"leash/internal/snapshot"
	"leash/platform"
	"leash/reap"
	"leash/scan"
)

// job is one run of a command.
type job struct {
	*flags
	table  *platform.Table
	log    *event.Logger
	report *report
	said   map[string]bool // problems that were logged
	bar    progress
	last   *snapshot.Snapshot
	// survivors are holders that who could not end.
	survivors []survivor
}

// observe makes a job and takes one snapshot.
func observe(f *flags) (*job, *snapshot.Snapshot, error) {
	j, err := newJob(f)
	if err != nil {
		return nil, nil, err
	}
	s, err := j.take()
	return j, s, err
}

func newJob(f *flags) (*job, error) {
	sink, err := platform.Sink(2)
	if err != nil { // it is closed, say
		sink = io.Discard
	}
	j := &job{flags: f, report: newReport(), said: make(map[string]bool)}
	j.log = event.New(sink, f.LogFormat, event.Level(f.LogLevel, f.asked))
	j.bar.start = time.Now()
	j.table, err = platform.NewTable()
	return j, err
}

// reapAll ends what is to be ended and returns the exit status.
func reapAll(f *flags) (int, error) {
	j, err := newJob(f)
	if err != nil {
		return 0, err
	}
	request := scan.Request{RunIDs: f.Reap.RunID, WorkerIDs: f.Reap.WorkerID, Unclaimed: f.Reap.Unclaimed, Unguarded: f.Reap.Unguarded}
	j.tell(slog.LevelInfo, event.ReaperStarted, "scanning for processes of dead runs",
		slog.Bool(event.DryRun, f.Reap.DryRun), slog.Bool(event.Unclaimed, f.Reap.Unclaimed),
		slog.Bool(event.Unguarded, f.Reap.Unguarded), slog.String(event.WorkerIDs, strings.Join(f.Reap.WorkerID, ",")),
		slog.String(event.RunIDs, strings.Join(f.Reap.RunID, ",")), slog.Int64(event.GraceMS, f.Reap.Grace.Milliseconds()))
	if f.Reap.DryRun {
		s, err := j.take()
		if err != nil {
			return 0, err
		}
		j.found(s, scan.Judge(s, request), dry)
		return 0, j.finish()
	}
	r := &reap.Reaper{System: j.table, Request: request, Grace: f.Reap.Grace,
		Found:    func(s *snapshot.Snapshot, runs []*scan.Run) { j.found(s, runs, reaped) },
		Progress: j.bar.show,
		Done:     j.ended,
		Shield:   platform.Shield,
	}
	_, err = r.Run()
	j.bar.clear()
	if err != nil {
		if len(j.report.Runs) > 0 { // otherwise it would say that there was nothing to end
			j.finish()
		}
		return 0, err
	}
	j.sweep()
	err = j.finish()
	j.keep()
	if j.report.Survived > 0 {
		return exitSurvived, err
	}
	return 0, err
}

// found adds a judgement to the report, and logs runs and problems that are new.
func (j *job) found(s *snapshot.Snapshot, runs []*scan.Run, say intent) {
	j.last = s
	j.report.add(s, runs, say)
	j.problems()
	for _, rr := range j.report.Runs {
		if rr.told {
			continue
		}
		rr.told = true
		attrs := []slog.Attr{slog.String(event.RunID, rr.RunID), slog.String(event.State, rr.State),
			slog.Int(event.Processes, len(rr.Processes)), slog.String(event.Reason, rr.Reason), slog.Int(event.UID, int(rr.UID))}
		if rr.Owner != nil {
			attrs = append(attrs, slog.Int(event.OwnerPID, rr.Owner.PID), slog.Bool(event.OwnerAlive, rr.Owner.Alive))
		}
		j.tell(slog.LevelInfo, event.RunFound, "a run", attrs...)
	}
}

// problems logs what was skipped, once.
func (j *job) problems() {
	for _, p := range j.table.Problems {
		if text := p.Error(); !j.said[text] {
			j.said[text] = true
			j.tell(slog.LevelWarn, event.ReaperWarning, "passed over", slog.String(event.Error, text))
		}
	}
}

func (j *job) ended(e *reap.Ended) {
	j.report.ended(e)
	level, text := slog.LevelInfo, "a process has ended"
	if e.Fate == reap.Survived {
		level, text = slog.LevelError, "a process survived"
	}
	j.tell(level, event.ProcessEnded, text, slog.String(event.RunID, e.Run.ID),
		slog.Int(event.PID, e.PID), slog.Int(event.ParentPID, e.PPID),
		slog.String(event.Action, fates[e.Fate]), slog.String(event.Reason, e.Reason))
}

// finish logs and prints the outcome.
func (j *job) finish() error {
	r := j.report
	r.close(time.Since(j.bar.start))
	j.tell(slog.LevelInfo, event.ReaperCompleted, "done", slog.Int(event.Scanned, r.Scanned),
		slog.Int(event.Terminated, r.Terminated), slog.Int(event.Killed, r.Killed), slog.Int(event.SurvivedCount, r.Survived),
		slog.Int(event.Skipped, r.Skipped), slog.Int(event.Unread, r.Unread), slog.Int64(event.DurationMS, r.DurationMS))
	if j.Reap.Json {
		return writeJSON(os.Stdout, r)
	}
	o := outcome{report: r, dry: j.Reap.DryRun, width: platform.Width(os.Stdout)}
	if j.last != nil {
		o.uid = j.last.UID
	}
	return o.print(os.Stdout)
}

func (j *job) tell(level slog.Level, name, text string, attrs ...slog.Attr) {
	j.bar.clear()
	rec := slog.NewRecord(time.Now(), level, text, 0)
	rec.AddAttrs(slog.String(event.Event, name))
	rec.AddAttrs(attrs...)
	j.log.Write(rec)
}

// sweep removes records and cgroups without living processes.
func (j *job) sweep() {
	if j.last == nil {
		return
	}
	err := reap.Sweep(j.table, j.last, func(run string) bool {
		return len(j.Reap.RunID) == 0 || slices.Contains(j.Reap.RunID, run)
	})
	for _, e := range unjoin(err) {
		j.tell(slog.LevelWarn, event.ReaperWarning, "a record could not be removed", slog.String(event.Error, e.Error()))
	}
}

func unjoin(err error) []error {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		return joined.Unwrap()
	}
	if err != nil {
		return []error{err}
	}
	return nil
}

// progress is one line on the terminal of a user who waits for more than a second.
type progress struct {
	start time.Time
	shown bool
}

func (p *progress) show(living, total int) {
	if living == 0 || time.Since(p.start) < time.Second || !obeys(os.Stderr) {
		return
	}
	p.shown = true
	text := fmt.Sprintf("reaper: %d of %s left after %s", living, number(total, "process"), brief(time.Since(p.start)))
	fmt.Fprint(os.Stderr, "\r\x1b[K"+cut(text, platform.Width(os.Stderr)-1))
}

func (p *progress) clear() {
	if p.shown {
		p.shown = false
		fmt.Fprint(os.Stderr, "\r\x1b[K")
	}
}

// take takes one snapshot. An incomplete one is an error.
func (j *job) take() (*snapshot.Snapshot, error) {
	s, err := j.table.Take(nil)
	if err == nil && s.Incomplete != nil {
		err = fmt.Errorf("the process table cannot be read as a whole: %w", s.Incomplete)
	}
	return s, err
}
