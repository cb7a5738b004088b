//go:build linux

package main

import (
	"testing"

	"leash/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }
