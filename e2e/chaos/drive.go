//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

type options struct {
	dir         string
	self        string // this program, if it is not the running one
	seed        uint64
	lives       int
	time        time.Duration
	jobs, again int
	skip        []string
	plant       string
	stop        <-chan os.Signal
}

// lifeBound is far beyond what a life may take.
const lifeBound = 3 * time.Minute

// possible says why no life can be played here, nil if one can.
func possible() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("it makes namespaces and mounts, and must be root")
	}
	cmd := exec.Command("/bin/true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("namespaces: %w", err)
	}
	return nil
}

// drive plays lives, several at once, and prints a table. It returns how many
// had something to complain about.
func (o options) drive(out io.Writer) (bad int, err error) {
	if err := possible(); err != nil {
		return 0, err
	}
	base, err := os.MkdirTemp("", "chaos-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(base)
	if o.self == "" {
		o.self = self
	}
	if err := o.install(base); err != nil {
		return 0, err
	}
	group := o.cgroup(base)
	if group != "" {
		defer os.Remove(group)
	}
	features := o.features(base)
	t := table{began: time.Now(), counts: map[string]int{}, kinds: map[string]int{}}
	next := make(chan uint64)
	go func() {
		defer close(next)
		for i := 0; o.lives == 0 || i < o.lives; i++ {
			if o.lives == 0 && time.Since(t.began) > o.time {
				return
			}
			for range max(o.again, 1) {
				select {
				case next <- o.seed + uint64(i):
				case <-o.stop:
					return
				}
			}
		}
	}()
	var wg sync.WaitGroup
	var mu sync.Mutex
	for range o.jobs {
		wg.Go(func() {
			runtime.LockOSThread() // PR_SET_PDEATHSIG is bound to it
			for seed := range next {
				r := o.life(base, group, features, seed)
				mu.Lock()
				t.add(out, r)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	t.print(out, o, features)
	return t.bad, nil
}

// install copies the programs to where an ordinary user may execute them.
func (o options) install(base string) error {
	os.Chmod(base, 0o755)
	for _, dir := range []string{"bin", "here"} {
		if err := os.Mkdir(filepath.Join(base, dir), 0o755); err != nil {
			return err
		}
	}
	for from, to := range map[string]string{filepath.Join(o.dir, "watchdog"): "watchdog", filepath.Join(o.dir, "reaper"): "reaper", o.self: "chaos"} {
		b, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(base, "bin", to), b, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// cgroup makes a folder for those of the lives, "" where that is not possible.
func (o options) cgroup(base string) string {
	at := cgroup2()
	if at == "" {
		return ""
	}
	group := filepath.Join(at, ownCgroup(), filepath.Base(base))
	if os.Mkdir(group, 0o755) != nil {
		return ""
	}
	return group
}

// features returns which flags these programs have, and what the kernel has.
func (o options) features(base string) map[string]bool {
	help, _ := exec.Command(filepath.Join(base, "bin", "watchdog"), "run", "--help").CombinedOutput()
	f := map[string]bool{}
	for _, name := range []string{"sentinel", "kill-mode"} {
		f[name] = strings.Contains(string(help), "--"+name)
	}
	// pid_max is the namespace's own since Linux 6.14; before, it is the machine's.
	var u unix.Utsname
	var major, minor int
	if unix.Uname(&u) == nil {
		fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor)
	}
	f["pid_max"] = major > 6 || major == 6 && minor >= 14
	return f
}

// life plays one in namespaces of its own.
func (o options) life(base, group string, features map[string]bool, seed uint64) (r result) {
	s := settings{Plan: newPlan(seed, o.skip), Features: features, Plant: o.plant}
	fail := func(kind, format string, args ...any) result {
		return result{Seed: seed, Complaints: []complaint{{kind, fmt.Sprintf(format, args...)}}}
	}
	if group != "" && s.Plan.Cgroup == "own" {
		dir, err := os.MkdirTemp(group, "life-")
		if err != nil {
			return fail("driver", "%v", err)
		}
		s.Cgroup = dir
		defer removeGroup(dir)
	}
	spec, err := json.Marshal(s)
	if err != nil {
		return fail("driver", "%v", err)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(filepath.Join(base, "bin", "chaos"), "life", string(spec))
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = 10 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		return fail("driver", "%v", err)
	}
	tooLong := time.AfterFunc(lifeBound, func() { cmd.Process.Kill() })
	err = cmd.Wait()
	if !tooLong.Stop() {
		return fail("hang", "the life took longer than %v", lifeBound)
	}
	if jsonErr := json.Unmarshal(stdout.Bytes(), &r); err != nil || jsonErr != nil {
		return fail("driver", "%v, %v: %.2000s", err, jsonErr, stderr.String())
	}
	return r
}

// removeGroup waits for the namespace's last processes to leave.
func removeGroup(dir string) {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		var below []string
		filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				below = append(below, path)
			}
			return nil
		})
		slices.Reverse(below) // the deepest first
		for _, sub := range below {
			os.Remove(sub)
		}
		if _, err := os.Stat(dir); err != nil {
			return
		}
	}
}

// table adds up what the lives tell.
type table struct {
	began      time.Time
	lives, bad int
	failed     []uint64
	counts     map[string]int
	kinds      map[string]int
	longest    int64
}

func (t *table) add(out io.Writer, r result) {
	t.lives++
	t.longest = max(t.longest, r.Millis)
	for what, n := range r.Counts {
		t.counts[what] += n
	}
	if len(r.Complaints) == 0 {
		return
	}
	t.bad++
	t.failed = append(t.failed, r.Seed)
	fmt.Fprintf(out, "life %d:\n", r.Seed)
	for _, c := range r.Complaints {
		t.kinds[c.Kind]++
		fmt.Fprintf(out, "  %s: %s\n", c.Kind, c.Text)
	}
	if os.Getenv("CHAOS_LOGS") != "" {
		plan, _ := json.Marshal(newPlan(r.Seed, nil))
		fmt.Fprintf(out, "  %s\n%s\n", plan, r.Logs)
	}
}

func (t *table) print(out io.Writer, o options, features map[string]bool) {
	took := time.Since(t.began)
	fmt.Fprintf(out, "\nchaos: seeds %d to %d, %d lives in %v (%.1f a second, the longest %d ms)\n",
		o.seed, o.seed+uint64(max(t.lives/max(o.again, 1), 1)-1), t.lives, took.Round(time.Second), float64(t.lives)/took.Seconds(), t.longest)
	fmt.Fprintf(out, "features %v, left out %v\n\n", features, o.skip)
	for _, what := range sorted(t.counts) {
		fmt.Fprintf(out, "  %8d  %s\n", t.counts[what], what)
	}
	fmt.Fprintln(out)
	for _, kind := range columns {
		fmt.Fprintf(out, "  %8d  %s\n", t.kinds[kind], kind)
	}
	for _, seed := range t.failed {
		fmt.Fprintf(out, "replay: make chaos CHAOS_SEED=%d\n", seed)
	}
	if t.bad == 0 {
		fmt.Fprintln(out, "nothing to complain about")
	}
}

func sorted(m map[string]int) (keys []string) {
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
