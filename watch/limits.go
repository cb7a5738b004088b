package watch

import (
	"log/slog"
	"time"

	"leash/internal/event"
	"leash/internal/limit"
	"leash/internal/proc"
)

// Causes of a worker's end, as logged at process.terminated.
const (
	Exited        = "exited"
	BySignal      = "signal"
	CoreDumped    = "core_dumped"
	OOMKilled     = "oom_killed"
	OverMemoryMax = "memory_max"
	CauseHung     = "hung"
	CauseNotReady = "not_ready"
	CauseAsked    = "asked"
)

// measureEvery is how often a tree is measured whose memory the system does not limit: at
// least once a second is promised.
const measureEvery = 900 * time.Millisecond

// cause says why the worker has ended: what was done to it goes before how it ended.
func (m *Machine) cause() string {
	failed := m.exit.Known && m.exit.Status() != 0
	switch {
	case m.outcome == WasAsked:
		return CauseAsked
	case m.outcome == ParentEnded:
		return ParentEnded
	case m.outcome == Hung:
		return CauseHung
	case m.outcome == NotReady:
		return CauseNotReady
	case m.overMax:
		return OverMemoryMax
	case m.usage.OOMKills > 0 && failed:
		return OOMKilled
	case m.exit.Core:
		return CoreDumped
	case m.exit.Signal.Num != 0:
		return BySignal
	}
	return Exited
}

// used are the attributes of what the worker used; none if that is not known.
func (m *Machine) used() []slog.Attr {
	u := m.usage
	if !m.cfg.Owns || !u.Known {
		return nil
	}
	scope := "worker"
	if u.Tree {
		scope = "tree"
	}
	attrs := []slog.Attr{
		slog.Int64(event.UsageUser, u.User.Milliseconds()),
		slog.Int64(event.UsageSystem, u.System.Milliseconds()),
		slog.Uint64(event.UsagePeak, u.Peak),
		slog.String(event.UsageScope, scope),
	}
	if u.Tree || u.OOMKills > 0 {
		attrs = append(attrs, slog.Uint64(event.UsageOOMKills, u.OOMKills))
	}
	return attrs
}

// measure asks for the tree's memory, if that is due.
func (m *Machine) measure(now time.Duration) {
	if m.cfg.MemoryMax > 0 && now >= m.measureAt {
		m.measureAt = now + measureEvery
		m.out = append(m.out, Action{Kind: DoMeasure})
	}
}

// measured kills a tree that uses too much memory, without a grace period, as the kernel
// does: it would go on to grow.
func (m *Machine) measured(now time.Duration, e Measured) {
	if m.state != Watching || m.cfg.MemoryMax == 0 || e.Bytes <= m.cfg.MemoryMax {
		return
	}
	m.outcome, m.wellUntil, m.overMax = WorkerEnded, now, true
	m.state, m.polite, m.endingAt = Ending, m.cfg.StopSignal, now
	m.log(Record{Event: event.WatchdogWarning, Level: slog.LevelWarn,
		Text: "the worker's tree uses more memory than --memory-max: it is killed",
		Attrs: []slog.Attr{slog.Uint64(event.MemoryBytes, e.Bytes),
			slog.Uint64(event.MemoryMax, m.cfg.MemoryMax)}})
	m.follow(m.seq.KillNow(now))
}

// Usage is what a worker that was started and has ended used.
func (w *Worker) Usage() proc.Usage { return w.usage }

// Applied says which limits of the worker are enforced.
func (w *Worker) Applied() limit.Applied { return w.hold.Applied() }

// MemoryMax implements Host.
func (w *Worker) MemoryMax() uint64 {
	if w.limits.MemoryMax > 0 && w.Applied().Lacks(limit.MemoryMax) {
		return w.limits.MemoryMax
	}
	return 0
}

// Measure implements Host.
func (w *Worker) Measure() uint64 {
	w.tree.Scan(false)
	w.hs = w.tree.Handles(w.hs[:0])
	bytes := w.Sys.Memory(w.hs, w.limits.MemoryMax)
	clear(w.hs)
	return bytes
}
