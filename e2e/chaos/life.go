//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// settings is what the driver tells PID 1 of a life.
type settings struct {
	Plan     plan
	Cgroup   string // folder of this life, "" for none
	Features map[string]bool
	Plant    string // a fault of the life itself, for tests of the judge
}

// life is the state of one life, as its PID 1 keeps it.
type life struct {
	settings
	mu       sync.Mutex
	statuses map[ident]int // of what was reaped here or by a parent
	own      map[int]bool  // running children that we started ourselves
	units    map[[2]int]*unitFacts
	parents  []ident
	aides    []ident
	watched  map[ident]string // bystanders and processes of the kept run; what they are
	signals  map[ident][]int
	problems []complaint
	counts   map[string]int
	from     *os.File // the events
	buffer   []byte
	read     int64
	late     time.Duration // how late this process itself was, in sum
}

// ms is n milliseconds.
func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }

// runLife is PID 1 of a namespace. It prints a result, and with its end all else ends.
func runLife(spec string) {
	l := &life{statuses: map[ident]int{}, own: map[int]bool{}, units: map[[2]int]*unitFacts{},
		watched: map[ident]string{}, signals: map[ident][]int{}, counts: map[string]int{}}
	if err := json.Unmarshal([]byte(spec), &l.settings); err != nil {
		panic(err)
	}
	began := time.Now()
	if err := l.setUp(); err != nil {
		l.complain("driver", "set up: %v", err)
	} else {
		go l.reapAll()
		go l.measureLateness()
		l.play()
	}
	res := result{Seed: l.Plan.Seed, Complaints: l.problems, Counts: l.counts, Millis: time.Since(began).Milliseconds()}
	if len(l.problems) > 0 {
		res.Logs = l.logs()
	}
	json.NewEncoder(os.Stdout).Encode(res)
	os.Exit(0)
}

func (l *life) complain(kind, format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.problems = append(l.problems, complaint{kind, fmt.Sprintf(format, args...)})
}

func (l *life) count(what string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[what] += n
}

const stateSize = 256 << 10

func (l *life) setUp() error {
	p := l.Plan
	unix.Setsid()
	unix.Umask(0o022)
	if l.Cgroup != "" {
		if err := os.WriteFile(filepath.Join(l.Cgroup, "cgroup.procs"), []byte("0"), 0); err != nil {
			return err
		}
		for _, name := range []string{"", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"} {
			os.Chown(filepath.Join(l.Cgroup, name), p.User, p.User)
		}
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", here, "tmpfs", 0, "mode=0755"); err != nil {
		return err
	}
	if at := cgroup2(); at != "" && l.Cgroup == "" {
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			return err
		}
	}
	if p.PIDMax > 0 && l.Features["pid_max"] {
		if err := os.WriteFile("/proc/sys/kernel/pid_max", []byte(strconv.Itoa(p.PIDMax)), 0); err != nil {
			return err
		}
	}
	dirs := []string{control, aside, ours, filepath.Join(here, "tmp"), filepath.Join(here, "state")}
	files := []string{eventFile, filepath.Join(control, "nested.log")}
	for r := range p.Runs {
		for u := range p.Runs[r].Units {
			dirs, files = append(dirs, unitDir(r, u)), append(files, unitLog(r, u))
			l.units[[2]int{r, u}] = &unitFacts{Run: &p.Runs[r], Unit: &p.Runs[r].Units[u], Name: fmt.Sprintf("unit %d-%d", r, u)}
			l.units[[2]int{r, u}].Covered = l.Features["sentinel"] && p.Runs[r].Units[u].Sentinel && !p.Runs[r].Units[u].Guard
		}
	}
	for _, dir := range dirs {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		if dir == filepath.Join(here, "state") {
			if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprint("mode=0700,size=", stateSize)); err != nil {
				return err
			}
		}
		os.Chown(dir, p.User, p.User)
	}
	for _, file := range files {
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			return err
		}
		os.Chown(file, p.User, p.User)
	}
	return nil
}

// start starts a process of ours, as the user of the life.
func (l *life) start(out *os.File, args ...string) (ident, error) {
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return ident{}, err
	}
	defer null.Close()
	if out == nil {
		out = null
	}
	attr := &syscall.ProcAttr{
		Dir: ours,
		Env: []string{"PATH=" + bin + ":/usr/sbin:/usr/bin:/sbin:/bin", "LEASH_STATE_DIR=" + l.stateDir(), "TMPDIR=" + filepath.Join(here, "tmp"),
			"HOME=" + filepath.Join(here, "tmp")},
		Files: []uintptr{null.Fd(), out.Fd(), out.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	}
	if l.Plan.User != 0 {
		attr.Sys.Credential = &syscall.Credential{Uid: uint32(l.Plan.User), Gid: uint32(l.Plan.User)}
	}
	if len(args) > 1 && args[1] == "host" {
		attr.Dir = aside
	}
	l.mu.Lock() // it is not reaped before it is known
	defer l.mu.Unlock()
	pid, err := syscall.ForkExec(args[0], args, attr)
	if err != nil {
		return ident{}, err
	}
	p, _ := stat(pid)
	l.own[pid] = true
	return p.ident, nil
}

func (l *life) stateDir() string { return filepath.Join(here, "state", "leash") }

// reapAll waits for everything that ends below PID 1.
func (l *life) reapAll() {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOWAIT, nil)
		if err != nil {
			time.Sleep(time.Millisecond)
			continue
		}
		l.mu.Lock()
		// si_pid is the first field of the union, behind three ints and a gap.
		pid := int(*(*int32)(ptr(&info, 16)))
		p, _ := stat(pid)
		var ws syscall.WaitStatus
		if got, err := syscall.Wait4(pid, &ws, syscall.WNOHANG, nil); err == nil && got == pid {
			l.statuses[p.ident] = status(ws)
			delete(l.own, pid)
		}
		l.mu.Unlock()
	}
}

func (l *life) measureLateness() {
	const tick = 10 * time.Millisecond
	for {
		began := time.Now()
		time.Sleep(tick)
		if late := time.Since(began) - tick - time.Millisecond; late > 0 {
			l.mu.Lock()
			l.late += late
			l.mu.Unlock()
		}
	}
}

// maxAllowance bounds it: something must be a hang.
const maxAllowance = 10 * time.Second

// allowance is what a deadline that began when l.late was since gets besides:
// processes of the life wait for the processor no less than this one.
func (l *life) allowance(since time.Duration) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Second + min(5*(l.late-since), maxAllowance)
}

// events reads what was said since the last call.
func (l *life) events() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.from == nil {
		l.from, _ = os.Open(eventFile)
		l.buffer = make([]byte, 1<<16)
	}
	n, _ := l.from.ReadAt(l.buffer, l.read)
	text := string(l.buffer[:n])
	text = text[:strings.LastIndexByte(text, '\n')+1]
	l.read += int64(len(text))
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		n := func(i int) int { v, _ := strconv.Atoi(f[i]); return v }
		id := func(i int) ident { return ident{n(i), uint64(n(i + 1))} }
		switch f[0] {
		case "w":
			u := l.units[[2]int{n(1), n(2)}]
			u.Watchdog, u.Since = id(3), time.Now()
		case "k":
			l.units[[2]int{n(1), n(2)}].Worker = id(3)
		case "c":
			u := l.units[[2]int{n(1), n(2)}]
			u.trigger(time.Now(), l.late, "its lifeline was closed")
		case "x":
			l.statuses[id(1)] = n(3)
		case "b":
			l.watched[id(1)] = "bystander"
		case "n":
			l.watched[id(1)] = "process of a living run"
		case "s":
			l.signals[id(1)] = append(l.signals[id(1)], n(3))
		case "!":
			l.problems = append(l.problems, complaint{"driver", strings.TrimSpace(line)})
		}
	}
}

// until waits for something, and tells whether it came in time.
func (l *life) until(patience time.Duration, done func() bool) bool {
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		l.events()
		if done() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}

// logs gathers what may explain a complaint.
func (l *life) logs() string {
	var b strings.Builder
	names, _ := filepath.Glob(filepath.Join(control, "*"))
	for _, name := range names {
		text, _ := os.ReadFile(name)
		if len(text) > 6000 {
			text = append(text[:3000:3000], append([]byte("\n...\n"), text[len(text)-3000:]...)...)
		}
		if len(text) > 0 {
			fmt.Fprintf(&b, "--- %s\n%s\n", filepath.Base(name), text)
		}
	}
	return b.String()
}
