package testkit

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// NeedPython returns the path of the system's Python, which has the modules from packages of
// the distribution. The test is skipped if it or one of the modules is missing.
func NeedPython(t testing.TB, modules ...string) string {
	t.Helper()
	const python = "/usr/bin/python3"
	Need(t, python)
	if len(modules) == 0 {
		return python
	}
	code := "import " + strings.Join(modules, ", ")
	if out, err := exec.Command(python, "-c", code).CombinedOutput(); err != nil {
		Skip(t, "this test needs "+python+" with "+strings.Join(modules, ", ")+": "+string(out))
	}
	return python
}

// NeedRoot skips the test for other users.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		Skip(t, "this test needs root")
	}
}
