package darwin

import (
	"testing"

	"leash/internal/testkit"
)

// TestConformsToUsers is the part of the suite that root cannot play.
func TestConformsToUsers(t *testing.T) { testkit.AsNobody(t, "TestKernelConforms", "Denied") }
