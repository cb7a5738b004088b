// Package event names the lifecycle events and their attributes in one place,
// and writes them as log/slog records. Names follow OpenTelemetry's process
// conventions where these have one. Command lines and environments are never
// logged: they hold secrets.
package event

// Events.
const (
	WatchdogStarted     = "watchdog.started"
	ParentDeathDetected = "watchdog.parent_death_detected"
	WatchdogStopped     = "watchdog.stopped"
	WatchdogWarning     = "watchdog.warning"
	ProcessStarted      = "process.started"
	ProcessTerminated   = "process.terminated"
	CleanupCompleted    = "process.cleanup_completed"
	SignalSent          = "signal.sent"

	ReaperStarted   = "reaper.started"
	RunFound        = "reaper.run_found"
	ProcessEnded    = "reaper.process_ended"
	ReaperCompleted = "reaper.completed"
	ReaperWarning   = "reaper.warning"
)

// Attributes.
const (
	Event           = "event"
	RunID           = "leash.run_id"
	WorkerID        = "leash.worker_id"
	PID             = "process.pid"
	ParentPID       = "process.parent_pid"
	CreationTime    = "process.creation.time"
	ExitCode        = "process.exit.code"
	Backend         = "backend"
	Containment     = "containment"
	DetectedBy      = "detected_by"
	Outcome         = "outcome"
	ExitStatus      = "exit_status"
	Signal          = "signal"
	Target          = "target"
	TargetPID       = "target_pid"
	Reason          = "reason"
	UptimeMS        = "uptime_ms"
	Success         = "success"
	Survivors       = "survivors"
	SurvivorPIDs    = "survivor_pids"
	Method          = "method"
	CleanupDuration = "cleanup_duration_ms"
	Error           = "error"
	Lost            = "lost_records"

	DryRun        = "dry_run"
	Unclaimed     = "unclaimed"
	RunIDs        = "run_ids"
	GraceMS       = "grace_ms"
	State         = "state"
	OwnerPID      = "owner_pid"
	OwnerAlive    = "owner_alive"
	UID           = "uid"
	Processes     = "processes"
	Action        = "action"
	Scanned       = "scanned"
	Terminated    = "terminated"
	Killed        = "killed"
	SurvivedCount = "survived"
	Skipped       = "skipped"
	Unread        = "unread"
	DurationMS    = "duration_ms"
)
