package testkit

import (
	"os"
	"os/exec"
	"testing"
)

// pythonVar is the path of python.exe where it is not in PATH, as with Wine.
const pythonVar = "LEASH_WINE_PYTHON"

// Python returns the path of CPython for Windows.
func Python(t testing.TB) string {
	t.Helper()
	if path := os.Getenv(pythonVar); path != "" {
		return path
	}
	path, err := exec.LookPath("python")
	if err != nil {
		Skip(t, "this test needs Python: "+err.Error())
	}
	return path
}
