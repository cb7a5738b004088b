package pool

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"leash/internal/testkit"
)

// The client for Python works on Windows as it is.
func TestPythonClient(t *testing.T) {
	const script = `
import os, sys, leash
tree = "import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)']); print(p.pid, flush=True); time.sleep(1000)"
with leash.Pool(grace=0.2) as pool:
    once = pool.run([sys.executable, "-c", "print('hello'); import sys; sys.exit(3)"], worker_id="once")
    print(once.stdout.read(timeout=60).strip(), once.wait(timeout=60).exit_code)
    stays = pool.run([sys.executable, "-c", tree], worker_id="stays")
    stays.stdout.read(timeout=60)
    print([w["worker_id"] for w in pool.list()])
    print(stays.stop().outcome)
    try:
        pool.run(["no such program"])
    except leash.LeashError as error:
        print(error.code)
print("closed")
`
	cmd := exec.Command(testkit.Python(t), "-c", script)
	folder := filepath.Join(testkit.Root(t), "clients", "python")
	cmd.Env = append(os.Environ(), "PYTHONPATH="+folder, "LEASH_WATCHDOG="+testkit.Watchdog(t), "LEASH_STATE_DIR="+t.TempDir()+`\state`)
	status, out, said := testkit.Run(t, cmd)
	want := "hello 3\n['stays']\nsignalled\n-32003\nclosed"
	if got := strings.ReplaceAll(out, "\r", ""); status != 0 || got != want {
		t.Errorf("status %d, %q\n%s", status, got, said)
	}
}
