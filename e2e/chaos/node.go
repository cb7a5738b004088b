//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Where things are, for every process of a life: the binary that it runs says it.
var (
	self, _   = os.Executable()
	bin       = filepath.Dir(self)
	here      = filepath.Join(filepath.Dir(bin), "here")
	control   = filepath.Join(here, "control")
	eventFile = filepath.Join(control, "events")
	aside     = filepath.Join(here, "aside") // the working folder of bystanders
	ours      = filepath.Join(here, "ours")  // and of parents and reapers
	watchdog  = filepath.Join(bin, "watchdog")
	reaper    = filepath.Join(bin, "reaper")
)

// say appends one line to the life's events. One write is one line.
func say(format string, args ...any) {
	f, err := os.OpenFile(eventFile, os.O_WRONLY|os.O_APPEND, 0)
	if err == nil {
		fmt.Fprintf(f, format+"\n", args...)
		f.Close()
	}
}

func forever() {
	for {
		time.Sleep(time.Hour)
	}
}

// runNode is one process of a tree.
func runNode(spec string) {
	// What the runtime prints about a signal is not to be taken for the watchdog's.
	if null, err := unix.Open("/dev/null", unix.O_RDWR, 0); err == nil {
		unix.Dup2(null, 2)
		unix.Close(null)
	}
	var n node
	if err := json.Unmarshal([]byte(spec), &n); err != nil {
		os.Exit(99)
	}
	if n.Count {
		countSignals("n")
	}
	if n.Close {
		for fd := range 3 {
			unix.Close(fd)
		}
	}
	term := make(chan os.Signal, 1)
	switch n.Term {
	case "ignore":
		signal.Ignore(syscall.SIGTERM)
	case "exit", "slow", "fork":
		signal.Notify(term, syscall.SIGTERM)
	}
	for _, kid := range n.Kids {
		kid.start()
	}
	if n.Beat > 0 {
		go beat(n.Beat, n.Hang)
	}
	if n.Stop {
		unix.Kill(os.Getpid(), unix.SIGSTOP)
	}
	end := make(<-chan time.Time)
	if n.Life > 0 {
		end = time.After(time.Duration(n.Life) * time.Millisecond)
	}
	if n.Life == 0 && (n.Term == "" || n.Term == "ignore") {
		forever()
	}
	select {
	case <-end:
		os.Exit(n.Status)
	case <-term:
	}
	switch n.Term {
	case "slow":
		time.Sleep(200 * time.Millisecond)
		os.Exit(8)
	case "fork":
		node{Shell: "sleep 1010", Leave: "daemon", Wipe: true}.start()
		os.Exit(6)
	}
	os.Exit(7)
}

func (n node) argv() []string {
	if n.Shell != "" {
		return []string{"/bin/sh", "-c", n.Shell}
	}
	b, err := json.Marshal(n)
	if err != nil {
		panic(err)
	}
	return []string{self, "node", string(b)}
}

// nestedDir begins the name of a nested watchdog's working directory.
const nestedDir = "nested"

// start starts a process below this one, and waits for it when it ends.
func (n node) start() {
	args := n.argv()
	if n.Nested {
		// Without --parent-pid, the parent may be PID 1 by the time it is read.
		args = append([]string{watchdog, "run", "--grace", "100ms", "--log-format", "json",
			"--parent-pid", strconv.Itoa(os.Getpid()), "--"}, args...)
	}
	attr := &syscall.SysProcAttr{}
	switch n.Leave {
	case "group":
		attr.Setpgid = true
	case "session":
		attr.Setsid = true
	case "daemon": // the shell forks, and is gone
		attr.Setsid = true
		args = append([]string{"/bin/sh", "-c", `"$@" & :`, "sh"}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.SysProcAttr = attr
	if n.Wipe {
		cmd.Env = []string{}
	}
	if n.Nested {
		if cmd.Env == nil {
			// Of the same run, its worker names this process as an owner, which lives: then the
			// run does, whatever became of the parent.
			cmd.Env = slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "LEASH_RUN_ID=") })
		}
		cmd.Dir, _ = os.MkdirTemp(".", nestedDir)
		log, err := os.OpenFile(filepath.Join(control, "nested.log"), os.O_WRONLY|os.O_APPEND, 0)
		if err == nil {
			cmd.Stderr = log
			defer log.Close()
		}
	}
	if cmd.Start() == nil {
		go cmd.Wait()
	}
}

// beat speaks the protocol of sd_notify.
func beat(every, hang int) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return
	}
	to := &unix.SockaddrUnix{Name: path}
	unix.Sendto(fd, []byte("READY=1"), 0, to)
	for began := time.Now(); hang == 0 || time.Since(began) < time.Duration(hang)*time.Millisecond; {
		time.Sleep(time.Duration(every) * time.Millisecond)
		unix.Sendto(fd, []byte("WATCHDOG=1"), 0, to)
	}
}

// countSignals prints every signal that this process gets, and is not ended
// by any. word begins the line that says that it is ready.
func countSignals(word string) {
	got := make(chan os.Signal, 16)
	for n := 1; n < 65; n++ {
		switch s := syscall.Signal(n); s {
		case syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGURG, syscall.SIGCHLD, syscall.SIGPIPE, 32, 33, 34:
			// not to be had, or the runtime's own
		default:
			signal.Notify(got, s)
		}
	}
	p, _ := stat(os.Getpid())
	say("%s %d %d", word, p.PID, p.Start)
	go func() {
		for s := range got {
			say("s %d %d %d", p.PID, p.Start, s)
			if word == "n" && s == syscall.SIGTERM {
				os.Exit(7)
			}
		}
	}()
}

// runCount is a bystander.
func runCount() {
	countSignals("b")
	forever()
}

// runHost starts the bystanders of a life and lives as long as they do: it is
// the living parent of each.
func runHost(spec string) {
	var p plan
	if err := json.Unmarshal([]byte(spec), &p); err != nil {
		panic(err)
	}
	start := func(env []string, args ...string) {
		cmd := exec.Command(self, append([]string{"count"}, args...)...)
		cmd.Env = append(os.Environ(), env...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: len(args)%2 == 0}
		if err := cmd.Start(); err != nil {
			panic(err)
		}
		go cmd.Wait()
	}
	me, _ := stat(os.Getpid())
	start([]string{"LEASH_RUN_ID=0000000"}) // of a run without an owner
	for i, r := range p.Runs {
		id := r.ID
		if id == "" {
			id = "aaaaaa" + strconv.Itoa(i)
		}
		other := string("ab"[b2i(id[0] == 'a')]) + id[1:]
		start([]string{"NOTE=LEASH_RUN_ID=" + id, "XLEASH_RUN_ID=" + id}, "--note=--run-id="+id, "x--run-id", id)
		start([]string{"LEASH_RUN_ID=" + other, "LEASH_WORKER_ID=w0", "LEASH_RUN_OWNER=" + owner(me)}, "a", "b")
		start(nil, "--run-id", id)
	}
	forever()
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// owner is LEASH_RUN_OWNER for a process of this namespace.
func owner(p process) string {
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	var st unix.Stat_t
	unix.Stat("/proc/self/ns/pid", &st)
	return fmt.Sprintf("%d:%d:%s:%d", p.PID, p.Start, boot[:len(boot)-1], st.Ino)
}
