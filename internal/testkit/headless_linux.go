package testkit

import (
	"fmt"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// Headless starts a process whose first thread has ended while others, as many as threads, run:
// it shows as a zombie, and is alive.
func Headless(t testing.TB, threads int) *Proc {
	t.Helper()
	p := Start(t, exec.Command(NeedPython(t), "-c", fmt.Sprintf(`
import ctypes, os, threading
first = os.getpid()
def run():
    while True:
        with open(f"/proc/self/task/{first}/stat") as stat:
            if stat.read().rpartition(")")[2].split()[0] == "Z":
                break
    print("alone", flush=True)
    threading.Event().wait()
for _ in range(%d):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
threading.Thread(target=run, daemon=True).start()
ctypes.CDLL(None).syscall(%d, 0)  # the end of this thread alone
`, threads-1, unix.SYS_EXIT)))
	p.Stdout.Await("alone")
	return p
}
