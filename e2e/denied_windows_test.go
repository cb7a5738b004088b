package e2e

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/windows"

	"leash/internal/testkit"
)

// forbid makes a process one that no user may open, as those of other users are.
// It is undone when the test ends, or before.
func forbid(t *testing.T, id testkit.Ident) (allow func()) {
	t.Helper()
	const rights = windows.WRITE_DAC | windows.READ_CONTROL
	h, err := windows.OpenProcess(rights, false, uint32(id.PID))
	if err != nil {
		t.Fatal(err)
	}
	before, err := windows.GetSecurityInfo(h, windows.SE_KERNEL_OBJECT, windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		t.Fatal(err)
	}
	none, err := windows.SecurityDescriptorFromString("D:(D;;GA;;;WD)") // GENERIC_ALL denied to everyone
	if err != nil {
		t.Fatal(err)
	}
	set := func(sd *windows.SECURITY_DESCRIPTOR) {
		if err := windows.SetKernelObjectSecurity(h, windows.DACL_SECURITY_INFORMATION, sd); err != nil {
			t.Error(err)
		}
	}
	set(none)
	allow = func() {
		if h != 0 {
			set(before)
			windows.CloseHandle(h)
			h = 0
		}
	}
	t.Cleanup(allow)
	if other, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, uint32(id.PID)); err == nil {
		windows.CloseHandle(other)
		testkit.Skip(t, "nothing is forbidden to this user")
	}
	return allow
}

// What may not be opened is no worker and no parent: that is said, and nothing is
// ended.
func TestAccessDenied(t *testing.T) {
	cmd := worker(t, "forbidden")
	cmd.Env = append(cmd.Env, "LEASH_RUN_ID="+runID)
	forbidden, other := testkit.Start(t, cmd), testkit.Start(t, worker(t, "other"))
	awaitPIDs(t, forbidden, other)
	allow := forbid(t, forbidden.Ident)
	for _, pids := range [][2]int{{forbidden.PID, other.PID}, {other.PID, forbidden.PID}} {
		dog := exec.Command(testkit.Watchdog(t), "guard", "--worker-pid", strconv.Itoa(pids[0]), "--parent-pid", strconv.Itoa(pids[1]))
		dog.Env = cmd.Env
		status, stdout, stderr := testkit.Run(t, dog)
		if status != 125 || stdout != "" || strings.Contains(stderr, "\n") || !strings.HasPrefix(stderr, "watchdog: ") ||
			!strings.Contains(stderr, strconv.Itoa(forbidden.PID)) || !strings.Contains(strings.ToLower(stderr), "access denied") {
			t.Errorf("guard of %d for %d: status %d, %q, %q", pids[0], pids[1], status, stdout, stderr)
		}
	}
	allow()
	testkit.StillAlive(t, forbidden.Ident, other.Ident)
}

// What may not be opened is left alone by the reaper, which says why, and when it
// may be, it is ended.
func TestReaperAccessDenied(t *testing.T) {
	cmd := parentOf(t, testkit.Watchdog(t), labelled("guard", "w1", "small"))
	state := stateOf(cmd)
	parent := testkit.Start(t, cmd)
	ids := awaitRoles(t, parent.Stdout, "w1", "worker", "child", "watchdog")
	parent.Stderr.AwaitEvent("watchdog.started")
	if err := ids[2].Kill(); err != nil {
		t.Fatal(err)
	}
	parent.Kill()
	testkit.AwaitGone(t, ids[2], parent.Ident)
	allow := forbid(t, ids[0])
	denied := func(text string) bool { return strings.Contains(strings.ToLower(text), "access denied") }
	if p := reapWindows(t, state).about(ids[0]); p.Action != "skipped" || !denied(p.Reason) {
		t.Errorf("%+v", p)
	}
	explain := exec.Command(testkit.Reaper(t), "explain", strconv.Itoa(ids[0].PID))
	explain.Env = cmd.Env
	if status, stdout, stderr := testkit.Run(t, explain); status != 125 || stdout != "" || strings.Contains(stderr, "\n") || !denied(stderr) {
		t.Errorf("explain: status %d, %q, %q", status, stdout, stderr)
	}
	allow()
	testkit.StillAlive(t, ids[0])
	if p := reapWindows(t, state).about(ids[0]); p.Action != "killed" {
		t.Errorf("%+v", p)
	}
	testkit.AwaitGone(t, ids[:2]...)
}
