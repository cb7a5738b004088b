package pool

import (
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

// roleVar makes the test binary a worker with that role.
const roleVar = "LEASH_TEST_ROLE"

func TestMain(m *testing.M) {
	switch role, rest, _ := strings.Cut(os.Getenv(roleVar), " "); role {
	case "":
		testkit.Main(m)
	case "stay":
		fmt.Println("begun")
		stay()
	case "tree": // stays, whatever it is sent, and has children of all kinds
		signal.Notify(make(chan os.Signal, 1), os.Interrupt) // the channel is not read
		fmt.Println("worker", os.Getpid())
		child("named child", 0)
		child("named detached", windows.DETACHED_PROCESS|windows.CREATE_NEW_PROCESS_GROUP)
		child("leaver", 0).Wait()
		stay()
	case "leaver": // leaves an orphan behind
		child("named orphan", 0)
	case "named":
		signal.Notify(make(chan os.Signal, 1), os.Interrupt)
		fmt.Println(rest, os.Getpid())
		stay()
	case "polite": // ends with 42 on a console event
		c := make(chan os.Signal, 1)
		signal.Notify(c, os.Interrupt)
		fmt.Println("begun")
		fmt.Fprintln(os.Stderr, "bad")
		<-c
		fmt.Print("end")
		os.Exit(42)
	case "tell": // folder, a variable, what standard input gives
		dir, _ := os.Getwd()
		fmt.Printf("%s\n%q\n", dir, os.Getenv(rest))
		n, err := os.Stdin.Read(make([]byte, 1))
		fmt.Println(n, err)
		fmt.Fprintln(os.Stderr, "to standard error", os.Getenv("LEASH_WORKER_ID"), os.Getenv("SPT_NOENV"))
	case "flood":
		for line := []byte(strings.Repeat("flood ", 20) + "\n"); ; {
			if _, err := os.Stdout.Write(line); err != nil {
				os.Exit(1)
			}
		}
	case "lines":
		n, _ := strconv.Atoi(rest)
		for i := range n {
			fmt.Println(i + 1)
		}
		fmt.Print("last")
	case "write": // to a handle that it should not have
		n, _ := strconv.Atoi(rest)
		var done uint32
		err := windows.WriteFile(windows.Handle(n), []byte("leaked"), &done, nil)
		fmt.Println("wrote", err != nil || done == 0)
		stay()
	case "beat":
		f, err := os.OpenFile(os.Getenv("LEASH_HEARTBEAT_PIPE"), os.O_WRONLY, 0)
		if err == nil {
			_, err = io.WriteString(f, "READY=1")
		}
		fmt.Println("said", err)
		stay()
	case "exit":
		n, _ := strconv.Atoi(rest)
		fmt.Println("life", os.Getpid())
		os.Exit(n)
	default:
		fmt.Println("no such role:", role)
		os.Exit(99)
	}
}

// stay waits for ever; the runtime would report an empty select as a deadlock.
func stay() { windows.SleepEx(windows.INFINITE, false) }

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

func program(t *testing.T) string { t.Helper(); return testkit.Watchdog(t) }

// asUser is for systems on which root can be any user.
func asUser(t *testing.T, _ string, _ uint32) (path, state string, attr *syscall.SysProcAttr) {
	t.Fatal("not on Windows")
	return "", "", nil
}
