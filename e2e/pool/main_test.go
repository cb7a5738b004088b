//go:build linux

// Package pool tests watchdog pool as its clients see it.
package pool

import (
	"flag"
	"testing"

	"leash/internal/testkit"
)

func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	testkit.Main(m)
}
