package pool

import (
	"testing"

	"leash/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func program(t *testing.T) string { t.Helper(); return testkit.Watchdog(t) }
