//go:build linux

// Command goparent is a Go server that starts workers from threads which end
// right after, with or without a watchdog beside each:
//
//	goparent WATCHDOG PYTHON WORKER RUN_ID SPEC...
//
// A SPEC is MODE,WORKER_ID,ARGUMENT,... with MODE one of guard, run and bare.
// All that workers print comes out with "WORKER_ID " in front. The threads end
// at the first line, or the end, of standard input. It prints THREADS_ENDED
// once they are gone, and with them every process that trusts PR_SET_PDEATHSIG
// alone.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

var (
	output sync.Mutex
	ending = make(chan struct{}) // closed when the threads shall end
	ended  sync.WaitGroup        // waits for the threads
)

// The runtime never ends the first thread of the process. Keep it for main.
func init() { runtime.LockOSThread() }

func main() {
	watchdog, python, worker, runID := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	self := strconv.Itoa(os.Getpid())
	say("PARENT", self)
	for _, spec := range os.Args[5:] {
		fields := strings.Split(spec, ",")
		mode, id := fields[0], fields[1]
		command := append([]string{python, worker, "--port", "0", "--run-id", runID, "--worker-id", id}, fields[2:]...)
		labels := []string{"--parent-pid", self, "--run-id", runID, "--worker-id", id}
		if mode == "run" {
			args := append([]string{watchdog, "run"}, labels...)
			say(id, "PID watchdog", fromShortThread(id, append(append(args, "--"), command...), runID))
			continue
		}
		pid := fromShortThread(id, command, runID)
		if mode == "guard" {
			args := append([]string{watchdog, "guard", "--worker-pid", strconv.Itoa(pid)}, labels...)
			say(id, "PID watchdog", fromShortThread(id, args, runID))
		}
	}
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	close(ending)
	ended.Wait()
	say("THREADS_ENDED")
	select {}
}

// fromShortThread starts a command on a thread of its own. A second child
// proves the end of that thread: the kernel kills it with the thread.
func fromShortThread(id string, argv []string, runID string) int {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "LEASH_RUN_ID="+runID, "LEASH_WORKER_ID="+id)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	check(err)
	canary := exec.Command("sleep", "1000000")
	canary.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}

	started := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		err := cmd.Start()
		if err == nil {
			err = canary.Start()
		}
		started <- err
		<-ending
	}()
	check(<-started)
	ended.Go(func() { _ = canary.Wait() })
	go mark(id, stdout)
	go func() { _ = cmd.Wait() }()
	return cmd.Process.Pid
}

// mark prints the lines of a worker with its ID in front.
func mark(id string, r io.Reader) {
	for in := bufio.NewScanner(r); in.Scan(); {
		say(id, in.Text())
	}
}

func say(words ...any) {
	output.Lock()
	defer output.Unlock()
	fmt.Println(words...)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "goparent:", err)
		os.Exit(1)
	}
}
