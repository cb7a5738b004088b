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
)
