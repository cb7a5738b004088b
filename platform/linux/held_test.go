//go:build linux

package linux

import (
	"os"
	"os/exec"
	"runtime"
	"slices"
	"testing"

	"leash/internal/testkit"
)

// heldVar is set where the signals that can be held back are blocked.
const heldVar = "LEASH_TEST_HELD"

// Signals that are blocked when the program starts come in too, from a signalfd.
func TestHeldSignalsComeIn(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^(TestSignalsComeIn|TestSignalsAreHeld)$", "-test.v")
	cmd.Env = append(os.Environ(), heldVar+"=1")
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	held := holdables()
	was, err := setMask(&held)
	if err != nil {
		t.Fatal(err)
	}
	defer setMask(&was)
	if status, stdout, stderr := testkit.Run(t, cmd); status != 0 {
		t.Errorf("status %d\n%s%s", status, stdout, stderr)
	}
}

// What is held back needs no channel, and all that can be is.
func TestSignalsAreHeld(t *testing.T) {
	s := eventSystem(t)
	want := signalSet(0)
	if os.Getenv(heldVar) != "" {
		want = holdables()
	}
	if got := s.hold(); got != want {
		t.Errorf("held back are %x, want %x", got, want)
	}
	for _, n := range numbers() {
		if os.Getenv(heldVar) != "" && channels[n] != nil && holdable(n) {
			t.Errorf("%v is caught", n)
		}
		if holdable(n) && (!heard(n) || deadly(n) || telling(n) || !slices.Contains(signals, n)) {
			t.Errorf("%v is not only forwarded", n)
		}
	}
}
