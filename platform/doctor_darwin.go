package platform

import "leash/internal/doctor"

// Mechanisms says what this system offers.
func Mechanisms(bool) []doctor.Mechanism {
	return []doctor.Mechanism{
		notices("kqueue", "ends of processes are noticed at once"),
		{Name: "subreaper", State: doctor.InPart, Detail: "macOS has none: what leaves group, session and tree between two scans escapes",
			Advice: "give workers their run ID and worker ID (run does)"},
		{Name: "environment", State: doctor.InPart, Detail: "System Integrity Protection hides the environment of programs of the system"},
		ledgerFolder(),
	}
}
