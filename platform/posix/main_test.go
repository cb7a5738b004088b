//go:build linux

package posix

import (
	"fmt"
	"os"
	"testing"

	"leash/internal/testkit"
)

func TestMain(m *testing.M) {
	if os.Getenv(writesAlone) != "" {
		writeToStderr()
	}
	testkit.Main(m)
}

const writesAlone = "LEASH_TEST_WRITES_TO_STDERR"

// writeToStderr runs in a process of its own: a broken pipe as descriptor 2 ends a Go program
// that does not ignore SIGPIPE.
func writeToStderr() {
	s, err := Sink(2)
	if err != nil {
		fmt.Println("no sink:", err)
		os.Exit(1)
	}
	for range 3 {
		n, err := s.Write([]byte("record\n"))
		fmt.Println(n, err)
	}
	os.Exit(0)
}
