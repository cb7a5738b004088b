//go:build unix

package darwin

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// thisProgram is the file that this process was started from.
func thisProgram() executable {
	path, err := os.Executable()
	if err != nil {
		return executable{}
	}
	was, err := os.Stat(path)
	if err != nil {
		return executable{}
	}
	return executable{path, func() bool {
		is, err := os.Stat(path)
		return err == nil && os.SameFile(was, is)
	}}
}

// takeRole does not return if this process is a part of a watchdog.
func takeRole(sys calls) {
	text, set := os.LookupEnv(roleVariable)
	if !set {
		return
	}
	role, rest, err := roleOf(text, os.Getppid())
	switch {
	case err != nil:
	case role == roleGate:
		err = waitAtGate(rest)
	case role == roleSentinel:
		err = serveAsSentinel(sys, os.Stdin, os.Stdout)
	default:
		err = fmt.Errorf("%s: no such role: %q", roleVariable, role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "watchdog: "+err.Error())
		os.Exit(exitFailed)
	}
	os.Exit(0)
}

const exitFailed = 125

// serveAsSentinel returns when the watchdog has ended. No signal that may be ignored
// ends it before.
func serveAsSentinel(sys calls, orders io.Reader, answers io.Writer) error {
	for s := syscall.Signal(1); s < 32; s++ {
		switch s {
		case syscall.SIGILL, syscall.SIGTRAP, syscall.SIGABRT, syscall.SIGFPE, syscall.SIGBUS, syscall.SIGSEGV, syscall.SIGSYS,
			syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGURG, syscall.SIGPROF, syscall.SIGCHLD:
		default:
			signal.Ignore(s)
		}
	}
	k, err := newKernel(sys)
	if err != nil {
		return err
	}
	return (&sentinel{k: k, pause: time.Sleep}).serve(orders, answers)
}

// waitAtGate executes the worker when it is told to, and ends if that fails, after
// saying so, or if the watchdog ends before. It returns only on a wrong call.
func waitAtGate(text string) error {
	words := strings.SplitN(text, " ", 3)
	if len(words) < 3 {
		return fmt.Errorf("%s: not a gate: %q", roleVariable, text)
	}
	read, err := strconv.Atoi(words[0])
	if err != nil {
		return err
	}
	write, err := strconv.Atoi(words[1])
	if err != nil {
		return err
	}
	syscall.CloseOnExec(read)
	syscall.CloseOnExec(write)
	var b [1]byte
	for {
		n, err := syscall.Read(read, b[:])
		if n == 1 {
			break
		}
		if err != syscall.EINTR {
			os.Exit(exitFailed) // the watchdog is dead
		}
	}
	os.Unsetenv(roleVariable)
	err = syscall.Exec(words[2], os.Args, os.Environ())
	if n, ok := err.(syscall.Errno); ok {
		syscall.Write(write, strconv.AppendInt(nil, int64(n), 10))
	}
	os.Exit(exitFailed)
	return nil
}
