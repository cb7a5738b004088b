//go:build linux

package e2e

import (
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"leash/internal/testkit"
)

func itoa(n int) string { return strconv.Itoa(n) }

func match(s string) *regexp.Regexp { return regexp.MustCompile(regexp.QuoteMeta(s)) }

// state is the letter of /proc/PID/stat.
func state(t *testing.T, pid int) string {
	t.Helper()
	b, err := os.ReadFile("/proc/" + itoa(pid) + "/stat")
	if err != nil {
		t.Fatal(err)
	}
	s := string(b)
	return s[strings.LastIndexByte(s, ')')+2:][:1]
}

// awaitState waits for a state that nobody notifies of.
func awaitState(t *testing.T, pid int, want string) {
	t.Helper()
	for end := time.Now().Add(testkit.Patience); state(t, pid) != want; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("process %d is in state %s, not %s", pid, state(t, pid), want)
		}
	}
}
