package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/windows"

	"leash/internal/testkit"
)

// A program without a window may start us without any standard streams, or with
// numbers that were its own: nobody reads what we say, and the worker is started
// all the same.
func TestWithoutStreams(t *testing.T) {
	for name, stream := range map[string]windows.Handle{"none": 0, "numbers of nothing": 0x7654} {
		t.Run(name, func(t *testing.T) {
			if status := bare(t, stream, watchdogCommand(t, "", "run", "--", "cmd", "/c", "exit 7")); status != 7 {
				t.Errorf("status %d", status)
			}
		})
	}
}

// bare runs a program to its end, without a console and with one number for all
// three streams.
func bare(t *testing.T, stream windows.Handle, cmd *exec.Cmd) (status uint32) {
	t.Helper()
	line, err := windows.UTF16PtrFromString(windows.ComposeCommandLine(cmd.Args))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range cmd.Env { // package os/exec would give it streams
		if name, value, _ := strings.Cut(e, "="); name != "" && os.Getenv(name) != value {
			t.Setenv(name, value)
		}
	}
	si := windows.StartupInfo{Flags: windows.STARTF_USESTDHANDLES, StdInput: stream, StdOutput: stream, StdErr: stream}
	si.Cb = uint32(unsafe.Sizeof(si))
	var pi windows.ProcessInformation
	if err := windows.CreateProcess(nil, line, nil, nil, false, windows.DETACHED_PROCESS, nil, nil, &si, &pi); err != nil {
		t.Fatal(err)
	}
	defer windows.CloseHandle(pi.Process)
	windows.CloseHandle(pi.Thread)
	id := testkit.Identify(t, int(pi.ProcessId))
	testkit.Adopt(t, id)
	testkit.AwaitGone(t, id)
	if err := windows.GetExitCodeProcess(pi.Process, &status); err != nil {
		t.Fatal(err)
	}
	return status
}

// A program of the folder that we are in is started if there is no other of its
// name: who may write there must not choose what a plain name means.
func TestProgramOfThisFolder(t *testing.T) {
	here, installed := t.TempDir(), t.TempDir()
	for status, dir := range map[int]string{3: here, 7: installed} {
		if err := os.WriteFile(filepath.Join(dir, "planted.bat"), fmt.Appendf(nil, "@exit %d\r\n", status), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	run := func(env ...string) (int, string) {
		cmd := watchdogCommand(t, "", "run", "--log-level", "error", "--", "planted")
		cmd.Dir = here
		cmd.Env = append(cmd.Env, env...)
		status, _, stderr := testkit.Run(t, cmd)
		return status, stderr
	}
	if status, said := run(); status != 3 {
		t.Errorf("here and nowhere else: status %d, %s", status, said)
	}
	if status, said := run("PATH=" + installed); status != 7 {
		t.Errorf("installed too: status %d, %s", status, said)
	}
}
