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

// own: only files of our own user are read.
func (t systemTable) own(entries []ledger.Entry) {
	for i := range entries {
		entries[i].UID = t.UID()
	}
}

func scarce(err error) bool { return windows.Scarce(err) }

// RemoveLeaf and RemoveLeaves have nothing to do: there are no cgroups.
func (systemTable) RemoveLeaf(*ledger.Record)      {}
func (systemTable) RemoveLeaves(func(uint64) bool) {}

// Gone says no: there are no PID namespaces.
func (systemTable) Gone() func(uint64) bool { return func(uint64) bool { return false } }

// Width is how many columns a console has; 0 if it is none.
func Width(f *os.File) int { return windows.Width(f) }

// IsTerminal reports whether a person may be looking.
func IsTerminal(f *os.File) bool { return windows.IsTerminal(f) }

// IgnoreBrokenPipes has nothing to do: no signal comes of them.
func IgnoreBrokenPipes() {}

// NobodyReads reports whether an error of writing says that nobody reads any more.
func NobodyReads(err error) bool { return windows.NobodyReads(err) }

// Shield holds back what a console or the system sends to end us, until what it
// returns is called.
func Shield() (release func()) { return windows.Shield() }
