package platform

import (
	"os"
	"strconv"

	"leash/internal/ledger"
	"leash/platform/windows"
)

type systemTable struct{ *windows.Table }

func newSystemTable() (systemTable, error) {
	t, err := openTable(windows.NewKernel, windows.NewTable)
	return systemTable{t}, err
}

func stateDirs() ([]*os.File, []error) { return windows.StateDirs() }

// own sets the owner of records: only files of this user are read.
func (t systemTable) own(entries []ledger.Entry) {
	for i := range entries {
		entries[i].UID = t.UID()
	}
}

func scarce(err error) bool { return windows.Scarce(err) }

// Width is the number of columns of a console; 0 if f is not a console.
func Width(f *os.File) int { return windows.Width(f) }

// IsTerminal reports whether f is a console.
func IsTerminal(f *os.File) bool { return windows.IsTerminal(f) }

// IgnoreBrokenPipes does nothing: a broken pipe causes no signal.
func IgnoreBrokenPipes() {}

// IsBrokenPipe reports whether a write failed because the pipe has no reader any more.
func IsBrokenPipe(err error) bool { return windows.IsBrokenPipe(err) }

// Shield holds back the events by which a console or the system ends this process until the
// returned function is called.
func Shield() (release func()) { return windows.Shield() }

// KillCommand is what a user types to end a process.
func KillCommand(pid int) string { return "taskkill /F /PID " + strconv.Itoa(pid) }
