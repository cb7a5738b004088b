package darwin

import (
	"fmt"
	"os"
	"os/signal"
	"testing"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

func TestMain(m *testing.M) {
	answerWithin = testkit.Patience // no test is about its end
	takeRole(new(standIn))
	if os.Getenv(watchdogVar) != "" {
		if err := beWatchdog(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	testkit.Main(m)
}

func newStandIn(t *testing.T) *standIn {
	s, err := openStandIn()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.signal != nil {
			signal.Stop(s.signal)
		}
		for _, fd := range s.pidfds {
			unix.Close(fd)
		}
		unix.Close(s.user)
	})
	return s
}

func testKernel(t *testing.T) *Kernel {
	t.Helper()
	k, err := newKernel(newStandIn(t))
	if err != nil {
		t.Fatal(err)
	}
	return k
}
