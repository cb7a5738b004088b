//go:build unix

package house

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// scripts/retry.sh tries at most three times, says so, and fails if all three fail.
func TestRetry(t *testing.T) {
	script, err := filepath.Abs("../../scripts/retry.sh")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ fails, status, tries int }{{0, 0, 1}, {1, 0, 2}, {2, 0, 3}, {3, 7, 3}, {9, 7, 3}} {
		tried := filepath.Join(t.TempDir(), "tried")
		const command = `echo "$2" >>"$0"; [ "$(wc -l <"$0")" -gt "$1" ] || exit 7`
		cmd := exec.Command(script, "sh", "-c", command, tried, string(rune('0'+c.fails)), "two words")
		cmd.Env = append(os.Environ(), "LEASH_RETRY_PAUSE=0")
		said, _ := cmd.CombinedOutput()
		lines, err := os.ReadFile(tried)
		if err != nil {
			t.Fatal(err)
		}
		if got := cmd.ProcessState.ExitCode(); got != c.status || string(lines) != strings.Repeat("two words\n", c.tries) {
			t.Errorf("%d failures: status %d, want %d, after %q", c.fails, got, c.status, lines)
		}
		if n := strings.Count(string(said), "once more soon"); n != c.tries-1 {
			t.Errorf("%d failures are reported as %q", c.fails, said)
		}
	}
}
