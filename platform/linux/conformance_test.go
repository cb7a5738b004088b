//go:build linux

package linux

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"leash/internal/system"
	"leash/internal/testkit"
	"leash/platform/platformtest"
)

// realSystem is Linux, with shells that fork when told to.
type realSystem struct {
	platformtest.Shells
	k *Kernel
}

func newRealSystem(k *Kernel) realSystem {
	return realSystem{platformtest.Shells{K: k, Name: func(pid int) string {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		return strings.TrimSpace(string(b))
	}}, k}
}

func TestKernelConforms(t *testing.T) {
	kernels(t, func(t *testing.T, k *Kernel) {
		platformtest.Conform(t, func(*testing.T) platformtest.Fixture { return newRealSystem(k) }, testkit.NotAsRoot("Denied")...)
	})
}

// Root may signal every process, so that part runs as another user.
func TestConformsToUsers(t *testing.T) {
	testkit.AsNobody(t, "TestKernelConforms", "pidfd/Denied", "directory/Denied")
}

func (s realSystem) Backends() []string {
	if !s.k.PIDFDs {
		return []string{"poll"}
	}
	return []string{"event", "poll"}
}

func (s realSystem) System(t *testing.T, backend string) system.System {
	t.Helper()
	return systemOf(t, s.k, backend)
}
