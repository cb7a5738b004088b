//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// order is what a parent is told.
type order struct {
	Index    int // of the run
	Run      run
	Aide     int // PID, 0 for none
	Features map[string]bool
}

func unitDir(run, unit int) string { return filepath.Join(here, fmt.Sprintf("tree-%d-%d", run, unit)) }
func unitLog(run, unit int) string {
	return filepath.Join(control, fmt.Sprintf("log-%d-%d", run, unit))
}

// runParent starts the workers of one run.
func runParent(spec string) {
	var o order
	if err := json.Unmarshal([]byte(spec), &o); err != nil {
		panic(err)
	}
	// It shares the group of the parent, and is no worker.
	other := exec.Command(self, "count", "sibling")
	other.Dir = aside
	o.spawn(other, "")
	for i := range o.Run.Units {
		go o.unit(i)
	}
	forever()
}

// spawn starts a process, tells of it as it is told to, and waits for it.
func (o order) spawn(cmd *exec.Cmd, word string) (p process) {
	started := make(chan error)
	go func() {
		if o.Run.Thread { // the thread ends with this goroutine
			runtime.LockOSThread()
		}
		started <- cmd.Start()
	}()
	if err := <-started; err != nil {
		say("! %v", err)
		return p
	}
	p, _ = stat(cmd.Process.Pid)
	if word != "" {
		say("%s %d %d", word, p.PID, p.Start)
	}
	if !o.Run.Lazy {
		go func() {
			cmd.Wait()
			ws := cmd.ProcessState.Sys().(syscall.WaitStatus)
			say("x %d %d %d", p.PID, p.Start, status(ws))
		}()
	}
	return p
}

func status(ws syscall.WaitStatus) int {
	if ws.Signaled() {
		return 1000 + int(ws.Signal()) // ended by it, and no status
	}
	return ws.ExitStatus()
}

func (o order) unit(i int) {
	r, u := o.Run, o.Run.Units[i]
	time.Sleep(time.Duration(u.Delay) * time.Millisecond)
	log, err := os.OpenFile(unitLog(o.Index, i), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		panic(err)
	}
	defer log.Close()

	args := []string{"run"}
	if u.Guard {
		worker := exec.Command(u.Worker.argv()[0], u.Worker.argv()[1:]...)
		worker.Dir, worker.Stderr = unitDir(o.Index, i), log
		worker.SysProcAttr = &syscall.SysProcAttr{Setsid: u.Leads == "session", Setpgid: u.Leads == "group"}
		worker.Env = os.Environ()
		if u.Labels {
			worker.Env = append(worker.Env, "LEASH_RUN_ID="+r.ID, fmt.Sprint("LEASH_WORKER_ID=w", i))
			if me, _ := stat(os.Getpid()); r.Owner {
				worker.Env = append(worker.Env, "LEASH_RUN_OWNER="+owner(me))
			}
		}
		p := o.spawn(worker, fmt.Sprintf("k %d %d", o.Index, i))
		if p.PID == 0 {
			return
		}
		time.Sleep(time.Duration(u.Late) * time.Millisecond)
		args = []string{"guard", "--worker-pid", strconv.Itoa(p.PID)}
	}
	args = append(args, u.Flags...)
	if r.ID != "" && (!u.Guard || u.LabelArgs) {
		args = append(args, "--run-id", r.ID)
	}
	if !u.Quiet {
		args = append(args, "--log-format", "json", "--log-level", "info")
	}
	if !u.Default && !(u.Lifeline && !u.AideToo) {
		args = append(args, "--parent-pid", strconv.Itoa(os.Getpid()))
	}
	if u.AideToo && o.Aide > 0 {
		args = append(args, "--parent-pid", strconv.Itoa(o.Aide))
	}
	if o.Features["kill-mode"] && u.KillMode != "" {
		args = append(args, "--kill-mode", u.KillMode)
	}
	if o.Features["sentinel"] && !u.Guard {
		args = append(args, "--sentinel", map[bool]string{true: "auto", false: "off"}[u.Sentinel])
	}
	cmd := exec.Command(watchdog)
	if u.Lifeline {
		read, write, err := os.Pipe()
		if err != nil {
			panic(err)
		}
		defer read.Close()
		cmd.ExtraFiles = []*os.File{read}
		args = append(args, "--parent-fd", "3")
		go func() {
			if u.CloseT == 0 {
				forever()
			}
			time.Sleep(time.Duration(u.CloseT) * time.Millisecond)
			say("c %d %d", o.Index, i)
			write.Close()
			forever() // holds the file until then
		}()
	}
	if !u.Guard {
		args = append(append(args, "--"), u.Worker.argv()...)
	}
	cmd.Args = append(cmd.Args, args...)
	cmd.Dir, cmd.Stderr = unitDir(o.Index, i), log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: u.Group}
	o.spawn(cmd, fmt.Sprintf("w %d %d", o.Index, i))
}
