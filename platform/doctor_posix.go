//go:build linux || darwin

package platform

import (
	"os"

	"leash/internal/ledger"
)

func probe(dir *os.File) error { return ledger.Probe(int(dir.Fd())) }
