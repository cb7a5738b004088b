//go:build linux

package linux

import (
	"errors"
	"fmt"
	"os"
	folder "path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"leash/internal/limit"
)

// A cgroup gives controllers to its children only while it has no process of its own
// (control-group-v2.rst, "No Internal Process Constraint"). So a leaf with limits is made
// beside the cgroup of the watchdog, where the folder above is ours; else below it, if the
// watchdog and its sentinel are all that is in it: then they move into a leaf of their own.

// place is a folder where leaves with controllers can be made.
type place struct {
	dir string
	on  []string // the controllers that its children have
	// aside is the leaf that this process moved into; empty: it did not move. switched are
	// the controllers that it switched on for that.
	aside    string
	switched []string
	scope    string // the scope of systemd that we moved into for it; empty: none
}

// setting is one file of a leaf and what is written into it.
type setting struct {
	name       string // of the limit
	controller string
	file, text string
}

// cpuPeriod is the default of cpu.max, in microseconds.
const cpuPeriod = 100_000

// mostPids is the highest value of pids.max, PIDS_MAX in kernel/cgroup/pids.c.
const mostPids = 4_194_304

// settings are the files for these limits.
func settings(l limit.Limits) (all []setting) {
	add := func(name, controller, file string, set bool, text string) {
		if set {
			all = append(all, setting{name: name, controller: controller, file: file, text: text})
		}
	}
	text := func(n uint64) string { return strconv.FormatUint(n, 10) }
	add(limit.MemoryHigh, "memory", "memory.high", l.MemoryHigh > 0, text(l.MemoryHigh))
	add(limit.MemoryMax, "memory", "memory.max", l.MemoryMax > 0, text(l.MemoryMax))
	add(limit.TasksMax, "pids", "pids.max", l.TasksMax > 0, text(min(l.TasksMax, mostPids)))
	add(limit.CPUQuota, "cpu", "cpu.max", l.CPUQuota > 0, text(l.CPUQuota*(cpuPeriod/100))+" "+strconv.Itoa(cpuPeriod))
	return all
}

// controllersOf lists each controller that these settings need, once.
func controllersOf(all []setting) (names []string) {
	for _, s := range all {
		if !slices.Contains(names, s.controller) {
			names = append(names, s.controller)
		}
	}
	return names
}

// limitedCgroup makes a leaf that enforces limits. Under best effort it may enforce some, or
// be nil, and the others are in Applied.
func (c *containment) limitedCgroup(l limit.Limits) (*cgroup, limit.Applied, error) {
	all := settings(l)
	p, why := c.s.place(controllersOf(all), c.sentinelPID())
	var leaf *cgroup
	applied := limit.Applied{}
	if p != nil {
		leaf = c.s.leafIn(p.dir, false)
		if leaf == nil && why == "" {
			why = "no cgroup can be made in " + p.dir
		}
	}
	for _, s := range all {
		switch {
		case leaf == nil || !slices.Contains(p.on, s.controller):
			applied.Missing = append(applied.Missing, s.name)
		default:
			if err := leaf.limit(s); err != nil {
				applied.Missing = append(applied.Missing, s.name)
				why = fmt.Sprintf("%s/%s cannot be written: %v", leaf.path, s.file, err)
			}
		}
	}
	if len(applied.Missing) > 0 && !l.BestEffort {
		if leaf != nil {
			leaf.remove()
		}
		return nil, limit.Applied{}, refused(applied.Missing, why)
	}
	if len(applied.Missing) == len(all) {
		if leaf != nil {
			leaf.remove()
		}
		return c.s.newCgroup(), applied, nil
	}
	leaf.limited = true
	applied.By, applied.Moved = "cgroup "+leaf.path, p.aside != ""
	if p.scope != "" {
		applied.By = "systemd scope, " + applied.By
	}
	return leaf, applied, nil
}

const (
	delegate = "start it in a unit with Delegate=yes, or by systemd-run --user --scope"
	// unified marks a reason for which a unit is no remedy.
	unified = " (hybrid)"
)

func refused(names []string, why string) error {
	how := delegate
	if strings.HasSuffix(why, unified) {
		how = "boot with systemd.unified_cgroup_hierarchy=1"
	}
	return &limit.Refused{Names: names, Why: why, How: how}
}

// place finds the folder for leaves with these controllers: nil if there is none. If not all
// can be had why says so, and the place that has the most is returned.
func (s *System) place(want []string, sentinel int) (best *place, why string) {
	if s.limited != nil && s.limited.aside != "" { // we cannot move twice
		p := s.limited
		p.on = s.handOn(p.dir, want)
		return p, lacking(p.dir, want, p.on)
	}
	base := s.cgroupDir()
	_, point := s.cgroup2()
	if base == "" || point == "" {
		return nil, "no cgroup v2 is mounted here"
	}
	if not := without(want, controllers(point, "cgroup.controllers")); len(not) > 0 {
		return nil, "cgroup v2 does not have the controller " + strings.Join(not, ", ") + " here, which is cgroup v1's on this system" + unified
	}
	why = "the cgroup of the watchdog, " + base + ", is another user's"
	if dir := folder.Dir(base); base != point && !isLeafFolder(base) && s.ours(dir, point) && mayMake(dir) {
		p := &place{dir: dir, on: s.handOn(dir, want)}
		if why = lacking(dir, want, p.on); why == "" {
			return p, ""
		}
		best = p
	}
	if p := s.below(base, want, sentinel, &why); p != nil {
		if why == "" {
			return p, ""
		}
		if best == nil || len(p.on) > len(best.on) {
			best = p
		}
	}
	if s.inLeaf(base) { // a scope would be outside the limits of the watchdog above
		return best, why
	}
	scope, err := s.enterScope(sentinel)
	if err == nil {
		if p := s.below(scope, want, sentinel, &why); p != nil {
			p.scope = folder.Base(scope)
			return p, why
		}
	} else if err != errNoManager {
		why += ", and systemd gives no scope: " + err.Error()
	}
	return best, why
}

// below is the place below a cgroup; nil if it is not for us to write in. why says what it
// lacks.
func (s *System) below(base string, want []string, sentinel int, why *string) *place {
	if !mayMake(base) {
		return nil
	}
	p := &place{dir: base, on: s.handOn(base, want)}
	if *why = lacking(base, want, p.on); *why != "" && hasAll(controllers(base, "cgroup.controllers"), want) {
		if *why = s.moveAside(p, want, sentinel); *why == "" {
			s.limited = p
		}
	}
	return p
}

// inLeaf reports whether a cgroup is a leaf or below one.
func (s *System) inLeaf(dir string) bool {
	for ; dir != "/" && dir != "."; dir = folder.Dir(dir) {
		if isLeafFolder(dir) {
			return true
		}
	}
	return false
}

// lacking says which of the controllers a folder does not hand on; empty: none.
func lacking(dir string, want, on []string) string {
	not := without(want, on)
	if len(not) == 0 {
		return ""
	}
	return "the cgroup " + dir + " does not hand on the controller " + strings.Join(not, ", ")
}

// without are the words of a list that are not in the other.
func without(list, other []string) (rest []string) {
	for _, word := range list {
		if !slices.Contains(other, word) {
			rest = append(rest, word)
		}
	}
	return rest
}

func hasAll(list, want []string) bool { return len(without(want, list)) == 0 }

// isLeafFolder reports whether a cgroup is the leaf of another watchdog's worker: what is made
// beside it would be outside that worker's tree and its limits.
func isLeafFolder(dir string) bool {
	_, _, _, ok := leafOf(folder.Base(dir))
	return ok
}

// ours reports whether a folder is for us to write in. An ordinary user owns what was
// delegated to it. Root may write everywhere; where systemd is, only in what it delegated,
// which it marks (systemd.resource-control(5), Delegate=; user.delegate since systemd 251).
func (s *System) ours(dir, point string) bool {
	if os.Geteuid() != 0 || unix.Access("/run/systemd/system", unix.F_OK) != nil {
		return true
	}
	for ; strings.HasPrefix(dir, point+"/"); dir = folder.Dir(dir) {
		for _, name := range []string{"trusted.delegate", "user.delegate"} {
			var b [8]byte
			if n, err := unix.Getxattr(dir, name, b[:]); err == nil && string(b[:n]) == "1" {
				return true
			}
		}
	}
	return false
}

// mayMake reports whether we may make leaves in a folder and start processes in them: the
// latter needs cgroup.procs of the common ancestor (cgroups(7), "Delegation containment").
func mayMake(dir string) bool {
	return unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK, unix.AT_EACCESS) == nil &&
		unix.Faccessat(unix.AT_FDCWD, dir+"/cgroup.procs", unix.W_OK, unix.AT_EACCESS) == nil
}

// handOn switches on controllers for the children of a folder, and returns those that are on.
// None is switched on in a cgroup with processes: the kernel would accept some there (pids and
// cpu, the threaded ones), after which no process could be moved into its children.
func (s *System) handOn(dir string, want []string) (on []string) {
	on = controllers(dir, "cgroup.subtree_control")
	if pids, err := procsIn(dir); (err != nil || len(pids) > 0) && unix.Access(dir+"/cgroup.type", unix.F_OK) == nil { // the root has no such file
		return on
	}
	for _, name := range want {
		if !slices.Contains(on, name) && writeFile(dir+"/cgroup.subtree_control", "+"+name) == nil {
			on = append(on, name)
		}
	}
	return on
}

// controllers reads a list of them.
func controllers(dir, file string) []string {
	fd, err := unix.Open(dir+"/"+file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	var b [1024]byte
	n, err := readRetry(fd, b[:])
	if err != nil {
		return nil
	}
	return strings.Fields(string(b[:n]))
}

func writeFile(name, text string) error {
	fd, err := unix.Open(name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for {
		if _, err = unix.Write(fd, []byte(text)); err != unix.EINTR {
			return err
		}
	}
}

// write writes a file of the cgroup.
func (c *cgroup) write(file, text string) error {
	fd, err := unix.Openat(c.fd, file, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for {
		if _, err = unix.Write(fd, []byte(text)); err != unix.EINTR {
			return err
		}
	}
}

// startMemory is how much memory a program may have while it is started. With less, execve(2)
// fails with ENOMEM, and cannot even tell: the kernel kills nothing in the middle of a vfork(2)
// (mm/oom_kill.c, oom_badness).
const startMemory = 16 << 20

// limit writes a setting. One that is too little to start a program gets its value by settle.
func (c *cgroup) limit(s setting) error {
	if n, err := strconv.ParseUint(s.text, 10, 64); err == nil && s.controller == "memory" && n < startMemory {
		c.later = append(c.later, s)
		s.text = strconv.Itoa(startMemory)
	}
	return c.write(s.file, s.text)
}

// settle sets what would have kept the worker from being started. The kernel kills it at once
// if it has more.
func (c *cgroup) settle() {
	for _, s := range c.later {
		c.write(s.file, s.text) // it was accepted with another value, so it only fails if the leaf is gone
	}
	c.later = nil
}

// asidePrefix begins the name of the leaf that a watchdog moves into. leafOf takes it for no
// leaf of a worker.
const asidePrefix = leafPrefix + "watchdog-"

// moveAside moves this process and its sentinel from a cgroup into a leaf below it, if no
// other process is in it, and switches on controllers. Otherwise nothing changes, and it
// returns why.
func (s *System) moveAside(p *place, want []string, sentinel int) (why string) {
	ours := []int{os.Getpid()}
	if sentinel != 0 {
		ours = append(ours, sentinel)
	}
	pids, err := procsIn(p.dir)
	if err != nil {
		return "the processes of the watchdog's cgroup cannot be listed: " + err.Error()
	}
	for _, pid := range pids {
		if !slices.Contains(ours, pid) {
			return fmt.Sprintf("another process than the watchdog (%d) is in its cgroup, %s, so that it hands on no controllers", pid, p.dir)
		}
	}
	aside := p.dir + "/" + asidePrefix + strconv.Itoa(os.Getpid())
	if err := unix.Mkdir(aside, 0o755); err != nil && err != unix.EEXIST {
		return aside + " cannot be made: " + err.Error()
	}
	p.aside = aside
	for _, pid := range ours {
		if err := writeFile(aside+"/cgroup.procs", strconv.Itoa(pid)); err != nil && !errors.Is(err, unix.ESRCH) {
			s.moveBack(p)
			return fmt.Sprintf("process %d cannot move into %s: %v", pid, aside, err)
		}
	}
	before := controllers(p.dir, "cgroup.subtree_control")
	p.on = s.handOn(p.dir, want)
	for _, name := range p.on {
		if !slices.Contains(before, name) {
			p.switched = append(p.switched, name)
		}
	}
	if why = lacking(p.dir, want, p.on); why != "" {
		s.moveBack(p)
	}
	return why
}

// moveBack undoes moveAside, unless another cgroup is there by now.
func (s *System) moveBack(p *place) {
	if p.aside == "" {
		return
	}
	others := false
	eachFolder(p.dir, func(name string) bool {
		others = others || p.dir+"/"+name != p.aside
		return !others
	})
	if others {
		return
	}
	for _, name := range p.switched {
		writeFile(p.dir+"/cgroup.subtree_control", "-"+name)
	}
	pids, _ := procsIn(p.aside)
	for _, pid := range pids {
		writeFile(p.dir+"/cgroup.procs", strconv.Itoa(pid))
	}
	unix.Rmdir(p.aside)
	p.aside, p.switched = "", nil
	p.on = controllers(p.dir, "cgroup.subtree_control")
}

// Applied says which limits of the worker are enforced.
func (c *containment) Applied() limit.Applied { return c.applied }

// leafFor makes the leaf of the next worker; nil if none can be made and none is needed.
func (c *containment) leafFor(l limit.Limits) (*cgroup, error) {
	c.applied = limit.Applied{}
	if l.Scored {
		if err := mayScore(l.Score); err != nil {
			return nil, err
		}
	}
	if len(settings(l)) == 0 {
		return c.s.newCgroup(), nil
	}
	leaf, applied, err := c.limitedCgroup(l)
	c.applied = applied
	return leaf, err
}

const scoreFile = "/proc/self/oom_score_adj"

// mayScore reports whether a child of ours may give itself this oom_score_adj. One that is
// lower than ours is tried on this process, because how low it may be is not shown
// (proc_pid_oom_score_adj(5)); it is never raised by that.
func mayScore(score int) error {
	b := make([]byte, 16)
	fd, err := unix.Open(scoreFile, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(fd)
		n, e := readRetry(fd, b)
		b, err = b[:max(n, 0)], e
	}
	own, bad := strconv.Atoi(strings.TrimSpace(string(b)))
	if err = errors.Join(err, bad); err != nil {
		return &limit.NotAllowed{Name: limit.OOMScoreAdjust, Why: scoreFile + " cannot be read: " + err.Error()}
	}
	if score >= own {
		return nil
	}
	if err := writeFile(scoreFile, strconv.Itoa(score)); err != nil {
		return &limit.NotAllowed{Name: limit.OOMScoreAdjust,
			Why: fmt.Sprintf("this user may not go down to %d (%v): give a value of %d or more, or start the watchdog with CAP_SYS_RESOURCE", score, err, own)}
	}
	return writeFile(scoreFile, strconv.Itoa(own))
}
