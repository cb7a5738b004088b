package e2e

import (
	"testing"

	"leash/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }
