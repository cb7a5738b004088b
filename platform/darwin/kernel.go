package darwin

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"leash/internal/proc"
	"leash/internal/program"
	"leash/internal/stop"
)

// Kernel is the process table and the signals of this system.
type Kernel struct {
	sys    calls
	dir    string // the folder of our executable, every link resolved
	name   string // and its name
	boot   string
	notify func(*handle) // makes the end of a process reported
	forget func(*handle) // undoes that
}

var _ stop.Kernel = (*Kernel)(nil)

func newKernel(sys calls) (*Kernel, error) {
	k := &Kernel{sys: sys}
	if _, err := sys.Process(sys.Self()); err != nil {
		return nil, fmt.Errorf("the process table (kern.proc) cannot be read: %w", err)
	}
	if exe, err := os.Executable(); err == nil {
		k.dir, k.name = filepath.Split(resolved(exe))
	}
	return k, nil
}

func resolved(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return filepath.Clean(path)
}

// Open takes a handle on the process that has the PID now.
func (k *Kernel) Open(pid int) (stop.Handle, error) {
	h, err := k.open(pid)
	if err != nil {
		return nil, err
	}
	return h, nil
}

func (k *Kernel) open(pid int) (*handle, error) {
	e, err := k.process(pid)
	if err != nil {
		return nil, err
	}
	return &handle{k: k, pid: pid, start: e.Start}, nil
}

// process refuses what cannot be an identity: PID 0 is the kernel.
func (k *Kernel) process(pid int) (entry, error) {
	if pid < 1 {
		return entry{}, proc.ErrGone
	}
	e, err := k.sys.Process(pid)
	if err != nil && !errors.Is(err, proc.ErrGone) {
		err = fmt.Errorf("process %d: %w", pid, err)
	}
	if err == nil && (e.PID != pid || e.Start == 0 && pid != 1) { // launchd may be older than the clock
		err = fmt.Errorf("process %d: kern.proc tells of %d, begun at %d", pid, e.PID, e.Start)
	}
	return e, err
}

// Children lists the children of a process, from the whole table.
func (k *Kernel) Children(pid int, buf []int) ([]int, error) {
	all, err := k.sys.Processes()
	if err != nil {
		return buf, err
	}
	for i := range all {
		if e := &all[i]; e.PPID == pid && e.PID > 0 {
			buf = append(buf, e.PID)
		}
	}
	return buf, nil
}

// Tick is the present in the unit of proc.ID.Start. If the clock is set back,
// processes seem to be born before they are: for as long as it was set back, a
// comparison with an older tick may take a new process for one that was there. PIDs
// are reused too slowly for that to matter.
func (k *Kernel) Tick() uint64 { return k.sys.Clock() }

// session is 0 where it is unknown: of a zombie that led none.
func (k *Kernel) session(e entry) int {
	if e.Session&leadsSession != 0 {
		return e.PID
	}
	if e.Stat == statZombie {
		return 0
	}
	sid, err := k.sys.Session(e.PID)
	if err != nil {
		return 0
	}
	return sid
}

// ancestors are this process and those above it, which are never signalled.
func (k *Kernel) ancestors() []proc.Info {
	var all []proc.Info
	for pid := k.sys.Self(); pid > 0; {
		e, err := k.process(pid)
		if err != nil {
			break
		}
		all = append(all, e.info(k.session(e)))
		if e.PPID == pid {
			break
		}
		pid = e.PPID
	}
	return all
}

// procArgs reads until two reads agree: if a program is executed between the
// two halves of a read, it is cut off in front. The arguments of other users'
// processes are root's to read.
func (k *Kernel) procArgs(pid int) (procArgs, error) {
	before, err := k.sys.ProcArgs(pid)
	if err != nil {
		return procArgs{}, err
	}
	for range 3 {
		after, err := k.sys.ProcArgs(pid)
		if err != nil {
			return procArgs{}, err
		}
		same := string(before) == string(after)
		if before = after; same {
			break
		}
	}
	return parseProcArgs2(before)
}

// named reports whether a program is called as ours are, as far as kern.proc shows: for
// most processes nothing more has to be read.
func (k *Kernel) named(name string) bool {
	return leashNamed(name) || k.name != "" && name == k.name[:min(len(k.name), maxName)]
}

func leashNamed(name string) bool { return program.Named(name) }

// beside reports whether a program is ours or the one installed beside it. A
// relative path is from the folder that the shell was in, by its PWD.
func (k *Kernel) beside(p procArgs) bool {
	path := p.Path
	if !filepath.IsAbs(path) {
		where := variable(p.Env, "PWD")
		if !filepath.IsAbs(where) {
			return false
		}
		path = filepath.Join(where, path)
	}
	dir, name := filepath.Split(resolved(path))
	return k.dir != "" && dir == k.dir && (leashNamed(name) || name == k.name)
}

// here names this boot, as package owner wants it.
func (k *Kernel) here() (string, error) {
	if k.boot == "" {
		id, err := k.sys.Boot()
		if err == nil && id == "" {
			err = errors.New("it is empty")
		}
		if err != nil {
			return "", fmt.Errorf("kern.bootsessionuuid: %w", err)
		}
		k.boot = strings.ToLower(id)
	}
	return k.boot, nil
}

// highest is the highest PID that the system may give out (PID_MAX, bsd/sys/
// proc_internal.h).
const highest = 99999

// checkPID says what is wrong with a PID that a user gave, if anything.
func checkPID(pid int) error {
	switch {
	case pid < 1:
		return errors.New("a PID is a number above 0")
	case pid > highest:
		return fmt.Errorf("no process can have the PID %d here: the highest is %d", pid, highest)
	}
	return nil
}
