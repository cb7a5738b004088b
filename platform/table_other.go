//go:build !linux && !darwin && !windows

package platform

import (
	"os"
	"time"

	"leash/internal/ledger"
	"leash/internal/proc"
	"leash/internal/snapshot"
)

// Table cannot be opened: this system is not supported.
type Table struct{ Problems []error }

// NewTable fails.
func NewTable() (*Table, error) { return nil, ErrSystem }

func (*Table) Take([]snapshot.Held) (*snapshot.Snapshot, error) { return nil, ErrSystem }
func (*Table) Open(int) (snapshot.Handle, error)                { return nil, ErrSystem }
func (*Table) Life(proc.ID) snapshot.Life                       { return snapshot.Unknown }
func (*Table) Read(int) (snapshot.Process, error)               { return snapshot.Process{}, ErrSystem }
func (*Table) RemoveRecord(int) error                           { return ErrSystem }
func (*Table) RemoveUnfinished(int) error                       { return ErrSystem }
func (*Table) RemoveLeaves(func(uint64) bool)                   {}
func (*Table) NamespaceEnded() func(uint64) bool                { return func(uint64) bool { return false } }
func (*Table) Age(uint64) time.Duration                         { return 0 }
func (*Table) Tick() uint64                                     { return 0 }
func (*Table) Now() time.Duration                               { return 0 }
func (*Table) Wait(time.Duration) (bool, error)                 { return false, ErrSystem }

// Width is always 0.
func Width(*os.File) int { return 0 }

// IsTerminal is always false.
func IsTerminal(*os.File) bool { return false }

// IgnoreBrokenPipes does nothing.
func IgnoreBrokenPipes() {}

// IsBrokenPipe is always false.
func IsBrokenPipe(error) bool { return false }

// Shield does nothing.
func Shield() (release func()) { return func() {} }

// KillCommand is empty.
func KillCommand(int) string { return "" }

func (*Table) Counts() (sum ledger.Counts)               { return sum }
func (*Table) LastReap() (last ledger.LastReap, ok bool) { return last, false }

// KeepReap fails.
func KeepReap(*ledger.LastReap) error { return ErrSystem }

// CheckLedger fails.
func CheckLedger() error { return ErrSystem }

// ReplaceFile fails.
func ReplaceFile(string, []byte) error { return ErrSystem }
