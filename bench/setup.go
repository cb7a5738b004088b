//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// bench is what all measures share.
type bench struct {
	quick    bool
	self     string   // this program
	shell    string   // the shell that announces a worker
	env      []string // the environment of everything that is started
	module   string   // the folder of this program's module, below the one of the product
	dir      string   // for binaries
	ram      string   // for data: in memory where there is a place for it
	watchdog string   // empty if it could not be built
	reaper   string   // the same
	minimal  string   // the minimal Go program
	curve    []line   // what measureCurve measured
}

func newBench(quick bool) (*bench, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	shell, err := exec.LookPath("sh")
	if err != nil {
		return nil, err
	}
	module, err := moduleDir()
	if err != nil {
		return nil, err
	}
	if err := adoptOrphans(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "leash-bench")
	if err != nil {
		return nil, err
	}
	ram, err := os.MkdirTemp("/dev/shm", "leash-bench")
	if err != nil {
		ram = dir
	}
	return &bench{quick: quick, self: self, shell: shell, env: cleanEnv(ram), module: module, dir: dir, ram: ram}, nil
}

// moduleDir finds the sources: what is measured and what it is measured against are
// built from there, in the module of each.
func moduleDir() (string, error) {
	cmd := exec.Command("go", "list", "-m", "-f", "{{.Path}}\n{{.Dir}}")
	text, err := cmd.Output()
	path, dir, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	if err != nil || path != "leash/bench" {
		return "", fmt.Errorf("run it in the folder bench of the sources (make bench): the module here is %q, %v", path, err)
	}
	return dir, nil
}

// cleanEnv is our environment without settings that would change what is
// measured, and with a state directory that goes away with the bench.
func cleanEnv(ram string) []string {
	var env []string
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "LEASH_") && !strings.HasPrefix(entry, "SNAKEPIT_") {
			env = append(env, entry)
		}
	}
	return append(env, "LEASH_STATE_DIR="+filepath.Join(ram, "state"))
}

func (b *bench) close() error {
	return errors.Join(endEverything(30*time.Second), os.RemoveAll(b.ram), os.RemoveAll(b.dir))
}

// pick gives the size of a job.
func (b *bench) pick(full, quick int) int {
	if b.quick {
		return quick
	}
	return full
}

// minimalSource blocks in poll on a pipe that nothing is ever written to.
const minimalSource = `package main

import (
	"syscall"
	"unsafe"
)

func main() {
	var pipe [2]int
	if syscall.Pipe(pipe[:]) != nil {
		return
	}
	waiting := struct {
		fd              int32
		events, revents int16
	}{int32(pipe[0]), 1, 0}
	for {
		syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&waiting)), 1, 0, 0, 0, 0)
	}
}
`

// build makes the programs as they are shipped. One that cannot be built is
// reported, and the peers are measured without it.
func (b *bench) build(watchdog, reaper string) error {
	source := filepath.Join(b.dir, "minimal.go")
	err := os.WriteFile(source, []byte(minimalSource), 0o600)
	if err == nil {
		b.minimal, err = b.compile("minimal", b.module, source)
	}
	var err1, err2 error
	b.watchdog, err1 = b.program(watchdog, "watchdog")
	b.reaper, err2 = b.program(reaper, "reaper")
	return errors.Join(err, err1, err2)
}

// program gives the binary that was named, or builds ours.
func (b *bench) program(path, name string) (string, error) {
	if path == "" {
		return b.compile(name, filepath.Dir(b.module), "./cmd/"+name)
	}
	found, err := exec.LookPath(path)
	if err != nil {
		return "", err
	}
	return filepath.Abs(found)
}

func (b *bench) compile(name, module, target string) (string, error) {
	path := filepath.Join(b.dir, name)
	cmd := exec.Command("go", "build", "-C", module, "-trimpath", "-ldflags=-s -w -funcalign=16", "-o", path, target)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	text, err := b.output(cmd)
	if err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", target, err, text)
	}
	return path, nil
}

// output runs a command to its end.
func (b *bench) output(cmd *exec.Cmd) (string, error) {
	var text strings.Builder
	cmd.Stdout, cmd.Stderr = &text, &text
	if err := begin(cmd); err != nil {
		return "", err
	}
	err := cmd.Wait()
	return text.String(), err
}

// begin starts a command unless the bench is ending.
func begin(cmd *exec.Cmd) error {
	spawning.Lock()
	defer spawning.Unlock()
	return cmd.Start()
}

// machine says where this was measured, and how busy the machine was by then:
// the load that the bench makes is part of it.
func machine() string {
	load, _, _ := strings.Cut(kernelSays("loadavg"), " ")
	return fmt.Sprintf("%d cores, load %s, Linux %s, %s %s/%s", runtime.NumCPU(), load,
		kernelSays("sys/kernel/osrelease"), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

func kernelSays(name string) string {
	text, err := os.ReadFile("/proc/" + name)
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(text))
}
