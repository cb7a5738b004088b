//go:build !linux && !darwin && !windows

package platform

import (
	"os"

	"leash/internal/doctor"
)

// Mechanisms says that this system offers nothing.
func Mechanisms(bool) []doctor.Mechanism {
	return []doctor.Mechanism{notices("system", ""), ledgerFolder()}
}

func probe(*os.File) error { return ErrSystem }
