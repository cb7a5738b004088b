//go:build linux

package scenes

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "part" {
		if err := play(os.Args[2], os.Args[3:]); err != nil {
			fmt.Fprintf(os.Stderr, "%q: %v\n", os.Args[1:], err)
			os.Exit(99)
		}
		return
	}
	testkit.Main(m)
}

// self is the program of the parts, as it is called.
func self() string {
	path, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return path
}

// part is the command line of a part.
func part(name string, args ...string) []string {
	return append([]string{self(), "part", name}, args...)
}

// play is what a process of a scene does.
func play(name string, args []string) error {
	switch name {
	case "exit": // with this status
		n, err := strconv.Atoi(args[0])
		if err != nil {
			return err
		}
		os.Exit(n)
	case "stay": // under this name, whatever else stands there
		say(args[0])
		pause()
	case "deaf": // to the stop signal
		signal.Ignore(syscall.SIGTERM)
		say(args[0])
		pause()
	case "fork": // a part in a session of its own, which we do not wait for
		if err := start(args, &syscall.SysProcAttr{Setsid: true}, os.Environ()); err != nil {
			return err
		}
	case "parent": // of a command
		if err := start(args, nil, os.Environ()); err != nil {
			return err
		}
		pause()
	case "tree": // a worker with every kind of child
		return tree(len(args) > 0 && args[0] == "wiped")
	case "eat", "eats", "spin", "bomb": // see limits_test.go
		return consume(name, args)
	case "beats": // once, and then no more
		return beats()
	default:
		return fmt.Errorf("there is no such part")
	}
	return nil
}

// say prints a name and the PID in one write.
func say(name string) { os.Stdout.WriteString(name + " " + strconv.Itoa(os.Getpid()) + "\n") }

func pause() {
	for {
		_ = unix.Pause()
	}
}

func start(args []string, attr *syscall.SysProcAttr, env []string) error {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr, cmd.Env = attr, env
	return cmd.Start()
}

// names are those of the processes of a tree.
var names = []string{"child", "deaf-child", "session", "daemon", "deaf-daemon", "worker"}

// tree starts a child, one that is deaf to TERM, one with a session of its own, and
// two daemons (setsid and a double fork) without any environment, if it is wiped.
func tree(wiped bool) error {
	env := os.Environ()
	if wiped {
		env = []string{}
	}
	for _, c := range []struct {
		args    []string
		session bool
		env     []string
	}{
		{part("stay", "child"), false, os.Environ()},
		{part("deaf", "deaf-child"), false, os.Environ()},
		{part("stay", "session"), true, os.Environ()},
		{part("fork", part("stay", "daemon")...), true, env},
		{part("fork", part("deaf", "deaf-daemon")...), true, env},
	} {
		if err := start(c.args, &syscall.SysProcAttr{Setsid: c.session}, c.env); err != nil {
			return err
		}
	}
	say("worker")
	pause()
	return nil
}

func beats() error {
	to, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
	if err != nil {
		return err
	}
	if err := start(part("deaf", "deaf-child"), nil, os.Environ()); err != nil {
		return err
	}
	for _, message := range []string{"READY=1", "WATCHDOG=1"} {
		if _, err := to.Write([]byte(message)); err != nil {
			return err
		}
	}
	say("worker")
	pause()
	return nil
}
