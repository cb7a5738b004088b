//go:build !linux && !windows && !darwin

package platform

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"leash/internal/proc"
)

// ErrSystem says that this system is not supported.
var ErrSystem = fmt.Errorf("%s is not supported yet: %w", runtime.GOOS, errors.ErrUnsupported)

// Holds: see the other systems.
const Holds = false

// AsksAlone: see the other systems.
const AsksAlone = false

// Sentinels: see the other systems.
const Sentinels = false

// New fails.
func New(string) (System, error) { return nil, ErrSystem }

func StateDir() (*os.File, error) { return nil, ErrSystem }
func Orphaned(int) (string, bool) { return "", false }
func Replace([]string) error      { return ErrSystem }
func SetParentDeathSignal() error { return ErrSystem }
func CheckPID(int) error          { return ErrSystem }
func CheckFD(int, bool) error     { return ErrSystem }
func CheckKeptFD(int) error       { return ErrSystem }
func CloseOthers([]int)           {}
func TellManager(_, _ string) error {
	return ErrSystem
}
func CloseFDs([]int)                        {}
func GivenFDs() []int                       { return nil }
func StartSentinel([]int) (int, int, error) { return -1, 0, ErrSystem }
func Sink(int) (io.Writer, error)           { return nil, ErrSystem }

// ParseSignal knows the signals that every system numbers alike.
func ParseSignal(s string) (proc.Signal, bool) {
	for _, sig := range []proc.Signal{proc.INT, proc.QUIT, proc.TERM, proc.KILL} {
		if s == sig.Name || "SIG"+s == sig.Name {
			return sig, true
		}
	}
	return proc.Signal{}, false
}

// Random fails.
var Random io.Reader = unsupported{}

type unsupported struct{}

func (unsupported) Read([]byte) (int, error) { return 0, ErrSystem }

func CheckView() error       { return ErrSystem }
func CheckProgram(int) error { return ErrSystem }

// TotalMemory is not known.
func TotalMemory() uint64 { return 0 }
