package testkit

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// insideVar tells a process that it runs inside Main already.
const insideVar = "LEASH_TESTKIT_INSIDE"

// leakPatience is how long Main waits for the last processes to end before it
// calls them a leak.
const leakPatience = 10 * time.Second

// Main runs the tests of a package and exits. It runs them in a child, in a
// job object that holds all below and that tells at the end whether anything
// is left, even after a panic or a timeout. What is left is named, killed, and
// fails the run. If this process itself is killed, the job ends the rest.
//
// Code that re-executes the test binary as a helper must branch off first.
func Main(m interface{ Run() int }) {
	if os.Getenv(insideVar) != "" {
		os.Exit(m.Run())
	}
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	status, err := supervise(leakPatience, self, os.Args[1:]...)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testkit:", err)
		status = max(status, 1)
	}
	os.Exit(status)
}

// supervise runs a program and looks after what it leaves behind.
func supervise(patience time.Duration, program string, args ...string) (int, error) {
	// This process goes in itself, so that the child is in it from its
	// beginning. The handle is closed by the end of this process.
	job, err := newJob()
	if err != nil {
		return 1, err
	}
	if err := windows.AssignProcessToJobObject(job, windows.CurrentProcess()); err != nil {
		return 1, fmt.Errorf("AssignProcessToJobObject: %w", err)
	}
	// The child hears of Ctrl-C too; it decides, and the leak check still runs.
	signal.Ignore(os.Interrupt)

	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), insideVar+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		return 1, err
	}
	return cmd.ProcessState.ExitCode(), endLeaks(job, patience)
}

// newJob makes a job object that ends its members when it is closed, and that
// none of them can leave.
func newJob() (windows.Handle, error) {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return 0, fmt.Errorf("CreateJobObject: %w", err)
	}
	var limits windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION
	limits.BasicLimitInformation.LimitFlags = windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
	_, err = windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&limits)), uint32(unsafe.Sizeof(limits)))
	if err != nil {
		windows.CloseHandle(job)
		return 0, fmt.Errorf("SetInformationJobObject: %w", err)
	}
	return job, nil
}

// endLeaks waits for all others in the job to end. What stays too long is
// killed and named in the error.
func endLeaks(job windows.Handle, patience time.Duration) error {
	left, err := others(job)
	if err != nil {
		return err
	}
	awaitGone(left, patience)
	var leaks []string
	for range 10 { // what is killed may have started another at the last moment
		if left, err = others(job); err != nil {
			return err
		}
		if len(left) == 0 {
			break
		}
		for _, id := range left {
			leaks = append(leaks, id.String())
			_ = id.Kill()
		}
		awaitGone(left, leakPatience)
	}
	if leaks != nil {
		return fmt.Errorf("the tests left %d processes behind: %q", len(leaks), leaks)
	}
	return nil
}

// others lists who is in the job beside this process.
func others(job windows.Handle) (ids []Ident, err error) {
	var members struct {
		assigned, listed uint32
		pids             [1024]uintptr
	}
	err = windows.QueryInformationJobObject(job, windows.JobObjectBasicProcessIdList,
		uintptr(unsafe.Pointer(&members)), uint32(unsafe.Sizeof(members)), nil)
	if err != nil {
		return nil, fmt.Errorf("QueryInformationJobObject: %w", err)
	}
	for _, pid := range members.pids[:members.listed] {
		if id, ok := Lookup(int(pid)); ok && int(pid) != os.Getpid() && id.Alive() && !isDesktop(id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// isDesktop reports whether it is the desktop, which Wine starts in the name of
// whoever needs it first: for a console, say. It ends with the job.
func isDesktop(id Ident) bool {
	dir, err := windows.GetSystemDirectory()
	return err == nil && strings.HasSuffix(strings.ToLower(id.String()), ": "+strings.ToLower(dir)+`\explorer.exe`)
}
