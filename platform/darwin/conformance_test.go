//go:build linux || darwin

package darwin

import (
	"testing"

	"leash/internal/system"
	"leash/internal/testkit"
	"leash/platform/platformtest"
)

// realSystem has shells that fork when told to.
type realSystem struct{ platformtest.Shells }

func newRealSystem(k *Kernel) realSystem {
	return realSystem{platformtest.Shells{K: k, Name: func(pid int) string {
		e, _ := k.process(pid)
		return e.Name
	}}}
}

func TestKernelConforms(t *testing.T) {
	platformtest.Conform(t, func(t *testing.T) platformtest.Fixture {
		return newRealSystem(testKernel(t))
	}, testkit.NotAsRoot("Denied")...)
}

// Reuse has the number given out in a later tick: the start times of macOS, in microseconds,
// are never the same.
func (s realSystem) Reuse(t *testing.T, pid int) (platformtest.Process, bool) {
	before := s.K.Tick()
	s.Await(t, "the next tick", func() bool { return s.K.Tick() > before })
	return s.Shells.Reuse(t, pid)
}

func (s realSystem) Backends() []string { return []string{"event", "poll"} }

func (s realSystem) System(t *testing.T, backend string) system.System {
	t.Helper()
	return testSystem(t, backend)
}

func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	platformtest.Await(t, what, is)
}
