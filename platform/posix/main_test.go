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

// writeToStderr is a process of its own: descriptor 2 is where a broken pipe
// ends a Go program that does not take care.
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
