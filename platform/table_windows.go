package platform

import (
	"os"

	"leash/internal/ledger"
	"leash/platform/windows"
)

type systemTable struct{ *windows.Table }

func newSystemTable() (t systemTable, err error) {
	k, err := windows.NewKernel()
	if err != nil {
		return t, err
	}
	t.Table, err = windows.NewTable(k)
	return t, err
}

func stateDirs() ([]*os.File, []error) { return windows.StateDirs() }

// own sets the owner of records: only files of this user are read.
func (t systemTable) own(entries []ledger.Entry) {
	for i := range entries {
		entries[i].UID = t.UID()
	}
}

func scarce(err error) bool { return windows.Scarce(err) }

// RemoveLeaf and RemoveLeaves do nothing: there are no cgroups.
func (systemTable) RemoveLeaf(*ledger.Record)      {}
func (systemTable) RemoveLeaves(func(uint64) bool) {}

// NamespaceEnded returns false for all: there are no PID namespaces.
func (systemTable) NamespaceEnded() func(uint64) bool { return func(uint64) bool { return false } }

// Width is the number of columns of a console; 0 if f is not a console.
func Width(f *os.File) int { return windows.Width(f) }

// IsTerminal reports whether f is a console.
func IsTerminal(f *os.File) bool { return windows.IsTerminal(f) }

// IgnoreBrokenPipes does nothing: a broken pipe causes no signal.
func IgnoreBrokenPipes() {}

// NobodyReads reports whether a write failed because the pipe has no reader any more.
func NobodyReads(err error) bool { return windows.NobodyReads(err) }

// Shield holds back the events by which a console or the system ends this process until the
// returned function is called.
func Shield() (release func()) { return windows.Shield() }
