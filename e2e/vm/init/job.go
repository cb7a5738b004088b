//go:build linux

package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"leash/e2e/vm/plan"
)

const (
	cgroups    = "/sys/fs/cgroup"
	runtimeDir = "/run/user/1000"
)

// setCgroups makes one cgroup for each kind of user. The controllers are handed
// on, as systemd does.
func setCgroups() error {
	const controllers = "+cpu +memory +pids"
	if err := os.WriteFile(cgroups+"/cgroup.subtree_control", []byte(controllers), 0); err != nil {
		return err
	}
	for _, u := range plan.Users {
		dir := filepath.Join(cgroups, string(u))
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		if u != plan.Delegated {
			continue
		}
		below := filepath.Join(dir, subgroup)
		if err := os.Mkdir(below, 0o755); err != nil {
			return err
		}
		// cgroups(7), "Cgroups v2 delegation": these files, and no others.
		for _, name := range []string{"", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"} {
			for _, dir := range []string{dir, below} {
				if err := os.Chown(filepath.Join(dir, name), plan.UID, plan.UID); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// subgroup is where the processes of the delegated cgroup are, as with systemd's
// DelegateSubgroup=.
const subgroup = "main"

// home is the cgroup that a user's jobs are started in.
func home(u plan.User) string {
	if u == plan.Delegated {
		return filepath.Join(cgroups, string(u), subgroup)
	}
	return filepath.Join(cgroups, string(u))
}

// runJob runs one test program to its end, and tells what came of each test.
func runJob(r *reporter, j plan.Job) error {
	r.say(plan.Line{Kind: plan.Begin, Job: j.Name()})
	begin := time.Now()
	in, out, err := os.Pipe()
	if err != nil {
		return err
	}
	pid, err := start(j, out)
	out.Close()
	if err != nil {
		in.Close()
		return err
	}
	output := make(chan []string)
	go func() { output <- collect(r, j, in) }()
	ws, err := reap(pid)
	if err != nil {
		return err
	}
	left := endBackOff() // then no process can print any more
	text := <-output
	in.Close()
	status := ws.ExitStatus()
	if ws.Signaled() {
		status = 128 + int(ws.Signal())
	}
	if status != 0 || len(left) > 0 {
		for _, line := range text {
			r.say(plan.Line{Kind: plan.Output, Job: j.Name(), Text: line})
		}
	}
	dirs, err := cgroupsLeft(j)
	if err != nil {
		return err
	}
	for _, what := range append(left, dirs...) {
		r.say(plan.Line{Kind: plan.Left, Job: j.Name(), Text: what})
	}
	r.say(plan.Line{Kind: plan.Done, Job: j.Name(), Status: status, Seconds: time.Since(begin).Seconds()})
	return nil
}

func start(j plan.Job, out *os.File) (int, error) {
	dir, err := os.Open(home(j.User))
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	env := []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin", "TMPDIR=/tmp", "LANG=C.UTF-8"}
	attr := &syscall.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	if j.User == plan.Root {
		env = append(env, "HOME=/", "USER=root")
	} else {
		env = append(env, "HOME=/home/user", "USER=user", "XDG_RUNTIME_DIR="+runtimeDir)
		attr.Credential = &syscall.Credential{Uid: plan.UID, Gid: plan.UID, Groups: []uint32{}}
	}
	pid, err := syscall.ForkExec(j.Program, append([]string{j.Program}, j.Args...), &syscall.ProcAttr{
		Dir: j.Dir, Env: append(env, j.Env...), Sys: attr,
		Files: []uintptr{null.Fd(), out.Fd(), out.Fd()},
	})
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", j.Program, err)
	}
	return pid, nil
}

// collect reports results as they come, so that a machine that hangs has told
// where, and keeps everything for the case of a failure.
func collect(r *reporter, j plan.Job, in io.Reader) (all []string) {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		all = append(all, line)
		// Of those that pass the subtests are too many to be told.
		if l, ok := plan.Result(line); ok && (l.Kind != plan.Pass || line[0] == '-') {
			l.Job = j.Name()
			r.say(l)
		}
	}
	if err := lines.Err(); err != nil {
		r.say(plan.Line{Kind: plan.Error, Job: j.Name(), Text: err.Error()})
	}
	return all
}

// cgroupsLeft removes and names the cgroups that a job left behind. One of a
// watchdog that a test killed is for the reaper to remove.
func cgroupsLeft(j plan.Job) (left []string, err error) {
	if len(leaves()) == 0 {
		return nil, nil
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	pid, err := start(plan.Job{Program: "/leash/reaper", Dir: "/", User: j.User}, null)
	if err != nil {
		return nil, err
	}
	if _, err := reap(pid); err != nil {
		return nil, err
	}
	for _, dir := range leaves() {
		left = append(left, "cgroup "+dir)
		_ = os.Remove(dir)
	}
	return left, nil
}

func leaves() (dirs []string) {
	// Below the cgroup of the user's jobs, and beside it.
	for _, u := range plan.Users {
		for _, pattern := range []string{filepath.Join(home(u), "*", "cgroup.procs"), filepath.Join(filepath.Dir(home(u)), "leash-*", "cgroup.procs")} {
			files, _ := filepath.Glob(pattern)
			for _, file := range files {
				dirs = append(dirs, filepath.Dir(file))
			}
		}
	}
	return dirs
}
