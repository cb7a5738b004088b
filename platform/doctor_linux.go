package platform

import (
	"leash/internal/doctor"
	"leash/platform/linux"
)

// Mechanisms says what this system offers. sentinel: this program can be one.
func Mechanisms(sentinel bool) []doctor.Mechanism {
	return append(linux.Mechanisms(sentinel), ledgerFolder())
}
