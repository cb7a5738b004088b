//go:build windows

package windows

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	win "golang.org/x/sys/windows"

	"leash/internal/testkit"
	"leash/platform/platformtest"
)

// roleVar makes the test binary one of the processes that the tests are about.
const roleVar = "LEASH_TEST_ROLE"

const late = testkit.Patience

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVar); role != "" {
		play(role)
	}
	// Events that the tests send to a console come to all that are attached to it.
	signal.Notify(make(chan os.Signal, 1), os.Interrupt)
	testkit.Main(m)
}

// play is a process of a test.
func play(role string) {
	switch role {
	case "sleep":
		fmt.Println("ready")
		stay()
	case "hooked": // makes a file when it runs
		if err := os.WriteFile(os.Getenv(pipeVar), nil, 0o600); err != nil {
			fmt.Println(err)
			os.Exit(99)
		}
		stay()
	case "fork":
		fork()
	case "deaf":
		signal.Notify(make(chan os.Signal, 1), os.Interrupt) // and nothing reads it
		fork()
	case "polite": // ends with 42 on Ctrl-C
		c := make(chan os.Signal, 1)
		signal.Notify(c, os.Interrupt)
		go func() {
			<-c
			os.Exit(42)
		}()
		fork()
	case "speak":
		speak()
	case "shielded":
		shielded()
	case "ctrl-c":
		sendCtrlC()
	case "where": // prints its folder, and what it can read
		dir, _ := os.Getwd()
		n, err := os.Stdin.Read(make([]byte, 1))
		fmt.Printf("%s|%d %v", dir, n, err)
		os.Exit(0)
	case "exit3":
		os.Exit(3)
	}
	fmt.Println("no such role:", role)
	os.Exit(99)
}

// pipeVar names the pipe that a worker writes to, or the file that a hook makes.
const pipeVar = "LEASH_HEARTBEAT_PIPE"

// speak says what it reads, each line for itself.
func speak() {
	fmt.Println("ready")
	for in := bufio.NewReader(os.Stdin); ; {
		line, err := in.ReadString('\n')
		if err != nil {
			stay()
		}
		f, err := os.OpenFile(os.Getenv(pipeVar), os.O_WRONLY, 0)
		if err != nil {
			fmt.Println(err)
			continue
		}
		f.WriteString(strings.TrimSpace(line))
		f.Close()
	}
}

// fork starts a child for each line, of the role or kind that it says.
func fork() {
	fmt.Println(word("ready"))
	for in := bufio.NewReader(os.Stdin); ; {
		line, err := in.ReadString('\n')
		if err != nil {
			stay()
		}
		child := command("sleep")
		var says io.Reader = strings.NewReader("")
		switch strings.TrimSpace(line) {
		case "group":
			child.SysProcAttr = &syscall.SysProcAttr{CreationFlags: win.CREATE_NEW_PROCESS_GROUP}
		case "polite":
			child = command("polite")
			child.Env = append(child.Env, childVar+"=1")
			says, err = child.StdoutPipe()
		}
		if err == nil {
			err = child.Start()
		}
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(child.Process.Pid)
		ready, _ := bufio.NewReader(says).ReadString('\n') // which it may be before we say its number
		fmt.Print(ready)
	}
}

// word lets the readiness of a child be told from its parent's.
func word(s string) string {
	if os.Getenv(childVar) != "" {
		return "child " + s
	}
	return s
}

const childVar = "LEASH_TEST_CHILD"

// stay waits for ever; an empty select would be a deadlock to the runtime.
func stay() { win.SleepEx(win.INFINITE, false) }

// command is the test binary in a role.
func command(role string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVar+"="+role)
	return cmd
}

// actor is a process of a test that does as it is told.
type actor struct{ *platformtest.Actor }

func start(t *testing.T, role string, flags uint32, env ...string) actor {
	t.Helper()
	return startWith(t, role, flags, nil, env...)
}

func startWith(t *testing.T, role string, flags uint32, args []string, env ...string) actor {
	t.Helper()
	cmd := command(role)
	cmd.Args = append(cmd.Args, args...)
	cmd.Env = append(cmd.Env, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: flags}
	return actor{platformtest.StartActor(t, cmd)}
}

// fork has it start a child, and ends that with the test.
func (a actor) fork(t *testing.T, how string) int {
	t.Helper()
	pid := a.Fork(t, how)
	p, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Kill(); p.Release() })
	return pid
}

func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	platformtest.Await(t, what, is)
}

func newTestKernel(t *testing.T) *Kernel {
	t.Helper()
	k, err := NewKernel()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func opened(t *testing.T, k *Kernel, pid int) *handle {
	t.Helper()
	h, err := k.open(pid)
	if err != nil {
		t.Fatalf("open %d: %v", pid, err)
	}
	t.Cleanup(h.Close)
	return h
}
