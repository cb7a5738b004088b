package e2e

import (
	"fmt"
	"os"
	"testing"

	"leash/internal/testkit"
)

// standIn makes a copy of the test program stand for the watchdog: it tells
// what it was given.
const standIn = "LEASH_TEST_STAND_IN"

func TestMain(m *testing.M) {
	if os.Getenv(standIn) != "" {
		fmt.Printf("%q\n", append(os.Args[1:], "worker "+os.Getenv("LEASH_WORKER_ID")))
		os.Exit(7)
	}
	testkit.Main(m)
}
