package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/windows"

	"leash/internal/testkit"
)

// roleVar makes the test binary one of the processes that the tests are about.
const roleVar = "LEASH_TEST_ROLE"

func TestMain(m *testing.M) {
	role := os.Getenv(roleVar)
	if hook := os.Getenv("LEASH_TEST_HOOK"); role == "voice" && os.Getenv("LEASH_REASON") != "" {
		role = hook // of a worker that hangs; below it, roles are given
	}
	switch role {
	case "":
		testkit.Main(m)
	case "tree":
		tree()
	case "voice":
		voice()
	case "stay":
		fmt.Println("pid", os.Getpid())
		stay()
	case "polite":
		c := make(chan os.Signal, 1)
		signal.Notify(c, os.Interrupt)
		fmt.Println("pid", os.Getpid())
		<-c
		os.Exit(42)
	case "copy":
		fmt.Fprintln(os.Stderr, "to standard error")
		io.Copy(os.Stdout, os.Stdin)
		os.Exit(7)
	case "ctrl-c": // to everybody in the console of the process that the argument names
		signal.Notify(make(chan os.Signal, 1), os.Interrupt)
		ctrlC(os.Args[1])
	case "parent": // of the watchdog that the arguments start
		cmd := exec.Command(os.Args[1], os.Args[2:]...)
		cmd.Env = append(os.Environ(), roleVar+"=tree")
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Start(); err != nil {
			fmt.Println(err)
			os.Exit(99)
		}
		stay()
	default:
		fmt.Println("no such role:", role)
		os.Exit(99)
	}
}

func ctrlC(pid string) {
	kernel32 := windows.NewLazySystemDLL("kernel32.dll")
	kernel32.NewProc("FreeConsole").Call()
	n, _ := strconv.Atoi(pid)
	if ok, _, err := kernel32.NewProc("AttachConsole").Call(uintptr(n)); ok == 0 {
		fmt.Println("attach:", err)
		os.Exit(99)
	}
	if err := windows.GenerateConsoleCtrlEvent(windows.CTRL_C_EVENT, 0); err != nil {
		fmt.Println("send:", err)
		os.Exit(99)
	}
	os.Exit(0)
}

// stay waits for ever; an empty select would be a deadlock to the runtime.
func stay() { windows.SleepEx(windows.INFINITE, false) }

// treeSize is how many processes a tree has.
const treeSize = 4

// tree is a worker that does not listen, with a child, one in a process group of
// its own, and one whose parent is gone. Once more for each line that it reads.
func tree() {
	signal.Notify(make(chan os.Signal, 1), os.Interrupt) // and nobody reads it
	if os.Getenv("LEASH_TEST_ORPHAN") != "" {
		child("stay", 0)
		os.Exit(0)
	}
	fmt.Println("pid", os.Getpid())
	for in := bufio.NewReader(os.Stdin); ; {
		child("stay", 0)
		child("stay", windows.CREATE_NEW_PROCESS_GROUP)
		os.Setenv("LEASH_TEST_ORPHAN", "1")
		child("tree", 0).Wait()
		os.Unsetenv("LEASH_TEST_ORPHAN")
		if _, err := in.ReadString('\n'); err != nil {
			stay()
		}
	}
}

func child(role string, flags uint32) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVar+"="+role)
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: flags}
	cmd.Stdout = os.Stdout
	if err := cmd.Start(); err != nil {
		fmt.Println(err)
		os.Exit(99)
	}
	return cmd
}

// actor is a process of a test.
func actor(role string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVar+"="+role)
	return cmd
}

// started is an actor that says who it is.
func started(t *testing.T, role string) *testkit.Proc {
	t.Helper()
	p := testkit.Start(t, actor(role))
	if got := p.Stdout.Await("pid "); got != strconv.Itoa(p.PID) {
		t.Fatalf("it is %s, not %d", got, p.PID)
	}
	return p
}

// watchdog is the program, in a state folder of its own; role is what its worker
// plays if it starts one.
func watchdogCommand(t *testing.T, role string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(testkit.Watchdog(t), args...)
	cmd.Env = append(os.Environ(), roleVar+"="+role, "LEASH_LOG_FORMAT=json", "LEASH_STATE_DIR="+state(t))
	return cmd
}

func state(t *testing.T) string { return t.TempDir() + `\state` }

// printed identifies the next processes that say who they are.
func printed(t *testing.T, out *testkit.Lines, count int) (ids []testkit.Ident) {
	t.Helper()
	for range count {
		pid, err := strconv.Atoi(strings.TrimSpace(out.Await("pid ")))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, testkit.Identify(t, pid))
	}
	testkit.Adopt(t, ids...)
	return ids
}
