//go:build !linux && !darwin && !windows

package platform

import (
	"os"
	"time"

	"leash/internal/proc"
	"leash/reap"
	"leash/scan"
)

// Table fails: there is no table for this system.
type Table struct{ Problems []error }

// NewTable fails.
func NewTable() (*Table, error) { return nil, ErrSystem }

func (*Table) Take([]scan.Held) (*scan.Snapshot, error)      { return nil, ErrSystem }
func (*Table) Open(int) (reap.Handle, error)                 { return nil, ErrSystem }
func (*Table) Life(proc.ID) scan.Life                        { return scan.Unknown }
func (*Table) Read(int) (scan.Process, error)                { return scan.Process{}, ErrSystem }
func (*Table) Sweep(*scan.Snapshot, func(string) bool) error { return ErrSystem }
func (*Table) Age(uint64) time.Duration                      { return 0 }
func (*Table) Tick() uint64                                  { return 0 }
func (*Table) Now() time.Duration                            { return 0 }
func (*Table) Wait(time.Duration) (bool, error)              { return false, ErrSystem }

// Width is 0: not known.
func Width(*os.File) int { return 0 }

// IsTerminal says no.
func IsTerminal(*os.File) bool { return false }

// IgnoreBrokenPipes has nothing to do.
func IgnoreBrokenPipes() {}

// NobodyReads says no.
func NobodyReads(error) bool { return false }

// Shield has nothing to do.
func Shield() (release func()) { return func() {} }
