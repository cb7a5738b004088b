//go:build linux

package e2e

import (
	"flag"
	"testing"

	"leash/internal/testkit"
)

// Those tests that run beside each other mostly wait: more of them than there are
// processors.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "6"); err != nil { // what the command line says goes before
		panic(err)
	}
	testkit.Main(m)
}
