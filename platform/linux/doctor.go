//go:build linux

package linux

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"leash/internal/doctor"
	"leash/internal/wire"
)

// Mechanisms tries what the programs use of this kernel. sentinel: this program can be one.
// Nothing of it changes anything, but that the processes and files that it makes come and go.
func Mechanisms(sentinel bool) []doctor.Mechanism {
	k := &Kernel{buf: make([]byte, 4096)}
	list := []doctor.Mechanism{k.tryView(), tryPIDFD(), tryInode(), tryEpoll(), k.tryCgroup(), k.tryControllers(), trySubreaper()}
	if sentinel {
		list = append(list, trySentinel())
	}
	return append(list, tryNotifySocket(), k.tryHidepid(), k.trySight())
}

// readPath reads a file of any path, without package os, whose poller needs epoll.
func (k *Kernel) readPath(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	return k.readFile(unix.AT_FDCWD, pathIn(os.Getpid(), "fd/"+itoa(fd)))
}

func works(name, detail string) doctor.Mechanism {
	return doctor.Mechanism{Name: name, State: doctor.Works, Detail: detail}
}

func inPart(name, detail, advice string) doctor.Mechanism {
	return doctor.Mechanism{Name: name, State: doctor.InPart, Detail: detail, Advice: advice}
}

// lacks is a mechanism that is needed and does not work.
func lacks(name, detail, advice string) doctor.Mechanism {
	return doctor.Mechanism{Name: name, State: doctor.No, Detail: detail, Advice: advice, Needed: true}
}

func (k *Kernel) tryView() doctor.Mechanism {
	const name = "/proc"
	err := k.checkView()
	switch {
	case errors.Is(err, errView):
		return lacks(name, "it is that of another PID namespace", "mount it anew (unshare --mount-proc, or mount -t proc proc /proc)")
	case errors.Is(err, errNoProc):
		return lacks(name, "it cannot be read", "mount it: mount -t proc proc /proc")
	case err != nil:
		return lacks(name, err.Error(), "raise the limit of descriptors (ulimit -n)")
	}
	if _, _, err := k.here(); err != nil {
		return lacks(name, "this boot cannot be told from another", "mount it without subset=pid")
	}
	return works(name, "it is that of this PID namespace")
}

func tryPIDFD() doctor.Mechanism {
	const name = "pidfd"
	const advice = "a kernel from Linux 5.3 on; in a container, let the seccomp profile allow pidfd_open and pidfd_send_signal"
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return lacks(name, "pidfd_open: "+err.Error(), advice)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, 0, nil, 0); err != nil {
		return lacks(name, "pidfd_send_signal: "+err.Error(), advice)
	}
	if err := unix.PidfdSendSignal(fd, 0, nil, unix.PIDFD_SIGNAL_PROCESS_GROUP); err == unix.EINVAL {
		return works(name, "no signal reaches a process that took over a PID; groups are signalled by their number while the leader is held (before Linux 6.9)")
	}
	return works(name, "no signal reaches a process that took over a PID")
}

func tryInode() doctor.Mechanism {
	const name = "pidfd inode"
	const older = "a process is told from a later one by PID and start time alone"
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return inPart(name, older, "see pidfd")
	}
	defer unix.Close(fd)
	var fs unix.Statfs_t
	if unix.Fstatfs(fd, &fs) == nil && fs.Type == unix.PID_FS_MAGIC {
		return works(name, "no two processes of a boot are taken for one another")
	}
	return inPart(name, older, "a kernel from Linux 6.9 on (pidfs)")
}

func tryEpoll() doctor.Mechanism {
	const name = "epoll"
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return inPart(name, err.Error()+": ends of processes are noticed by polling (--poll-interval)", "let the seccomp profile allow epoll_create1")
	}
	unix.Close(fd)
	return works(name, "ends of processes are noticed at once")
}

func (k *Kernel) tryCgroup() doctor.Mechanism {
	const name = "cgroup"
	const still = "the subreaper holds the tree of run"
	const advice = "systemd: Delegate=yes in the unit; a container: a writable cgroup namespace"
	no := func(why, advice string) doctor.Mechanism {
		return doctor.Mechanism{Name: name, State: doctor.No, Detail: why + "; " + still, Advice: advice}
	}
	dir := k.cgroupDir()
	if dir == "" {
		return no("no cgroup v2 is mounted, or this process's is not in it", "mount -t cgroup2 none /sys/fs/cgroup")
	}
	if c := k.newCgroup(); c != nil {
		c.remove()
		return works(name, "one can be made for each worker below "+dir)
	}
	path := dir + "/" + leafName(0, os.Getpid(), k.Tick())
	if err := os.Mkdir(path, 0o755); err != nil {
		return no("none can be made below "+dir+" ("+reasonOf(err)+")", advice)
	}
	os.Remove(path)
	return no("the kernel has no cgroup.kill", "a kernel from Linux 5.14 on")
}

// reasonOf is the error without the path that the text has already.
func reasonOf(err error) string {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// tryControllers looks for the controllers that limits need: a leaf is made beside our own
// cgroup where its parent may be written and hands them on.
func (k *Kernel) tryControllers() doctor.Mechanism {
	const name = "cgroup controllers"
	advice := "systemd: Delegate=yes with DelegateSubgroup= in the unit"
	own := k.cgroupDir()
	if own == "" {
		return doctor.Mechanism{Name: name, State: doctor.No, Detail: "there is no cgroup v2: the system enforces no limit", Advice: "mount -t cgroup2 none /sys/fs/cgroup"}
	}
	var missing, have []string
	b, err := k.readPath(filepath.Dir(own) + "/cgroup.subtree_control")
	for _, c := range []string{"cpu", "memory", "pids"} {
		if err == nil && slices.Contains(strings.Fields(string(b)), c) {
			have = append(have, c)
		} else {
			missing = append(missing, c)
		}
	}
	beside := unix.Access(filepath.Dir(own), unix.W_OK) == nil
	switch {
	case len(missing) == 0 && beside:
		return works(name, "cpu, memory and pids can be limited")
	case len(have) > 0 && beside:
		return inPart(name, "only "+strings.Join(have, ", ")+" can be limited", advice)
	case unix.Access("/run/systemd/private", unix.F_OK) == nil || unix.Access(os.Getenv("XDG_RUNTIME_DIR")+"/systemd/private", unix.F_OK) == nil:
		return inPart(name, "limits need a scope of systemd's", advice)
	}
	return doctor.Mechanism{Name: name, State: doctor.No, Detail: "no cgroup can be made beside " + own + ", or none gets controllers: the system may enforce no limit", Advice: advice}
}

func trySubreaper() doctor.Mechanism {
	const name = "subreaper"
	var was int32
	err := unix.Prctl(unix.PR_GET_CHILD_SUBREAPER, uintptr(unsafe.Pointer(&was)), 0, 0, 0)
	if err == nil {
		err = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	}
	if err != nil {
		return lacks(name, "PR_SET_CHILD_SUBREAPER: "+err.Error(), "let the seccomp profile allow prctl")
	}
	unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, uintptr(was), 0, 0, 0)
	return works(name, "nothing that a worker of run starts can escape")
}

// sentinelMust bounds in milliseconds how long a sentinel may take to answer.
const sentinelMust = 10_000

func trySentinel() doctor.Mechanism {
	const name = "sentinel"
	conn, pid, err := StartSentinel(nil)
	if err != nil {
		return lacks(name, err.Error(), "let this user start more processes (ulimit -u)")
	}
	defer func() {
		unix.Close(conn) // its end-of-file ends it
		unix.Kill(pid, unix.SIGKILL)
		unix.Wait4(pid, nil, 0, nil) // it is our child, and was not waited for
	}()
	if _, err := unix.Write(conn, wire.Bytes(wire.Count, wire.Number(1))); err != nil {
		return lacks(name, "it does not run: "+err.Error(), "install the programs in a folder whose programs may be executed")
	}
	var told [wire.AnswerSize]byte
	p := []unix.PollFd{{Fd: int32(conn), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(p, sentinelMust)
		if err == unix.EINTR {
			continue
		}
		if n, _ := unix.Read(conn, told[:min(n, 1)*len(told)]); n == len(told) && wire.DecodeAnswer(told[:]).Kind == wire.None {
			return works(name, "also if the watchdog is killed nothing of its worker is left")
		}
		return lacks(name, "it was started and does not answer", "see /proc, pidfd and subreaper")
	}
}

func tryNotifySocket() doctor.Mechanism {
	const name = "notify socket"
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(fd)
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("@leash-doctor-%d", os.Getpid())})
	}
	if err != nil {
		return lacks(name, err.Error(), "let the seccomp profile allow Unix sockets")
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSPIDFD, 1) != nil {
		return works(name, "heartbeats are heard; their senders are known by their PIDs (before Linux 6.5)")
	}
	return works(name, "heartbeats are heard, and their senders known for certain")
}

func (k *Kernel) tryHidepid() doctor.Mechanism {
	const name = "hidepid"
	b, err := k.readPath("/proc/self/mountinfo")
	if err != nil {
		return inPart(name, "/proc/self/mountinfo: "+err.Error(), "")
	}
	switch how := hidden(b); {
	case how == "":
		return works(name, "/proc shows the processes of all users")
	case trySeeOthers():
		return works(name, "hidepid="+how+", and this user may see all the same")
	default:
		return inPart(name, "/proc is mounted with hidepid="+how+": parents of other users cannot be watched, holders of ports not be seen",
			"run as root, or in the group of its option gid=")
	}
}

// hidden reads the option hidepid of /proc from mountinfo (proc(5)); empty if there is none.
func hidden(mountinfo []byte) (how string) {
	for line := range bytes.Lines(mountinfo) {
		left, right, ok := bytes.Cut(line, []byte(" - "))
		f := bytes.Fields(left)
		if !ok || len(f) < 5 || string(f[4]) != "/proc" || !bytes.HasPrefix(right, []byte("proc ")) {
			continue
		}
		how = "" // the last mount lies on top
		fields := bytes.Fields(right)
		for option := range bytes.SplitSeq(fields[len(fields)-1], []byte(",")) {
			if value, ok := bytes.CutPrefix(option, []byte("hidepid=")); ok && string(value) != "off" && string(value) != "0" {
				how = string(value)
			}
		}
	}
	return how
}

// trySeeOthers reports whether PID 1 can be seen, which is another user's or root's.
func trySeeOthers() bool {
	return unix.Access("/proc/1/stat", unix.R_OK) == nil
}

// trySight tries to open what the reaper reads of each process. It does not scan as the reaper
// does: that would add 100 kB to the watchdog.
func (k *Kernel) trySight() doctor.Mechanism {
	const name = "reaper's view"
	user := uint32(os.Geteuid())
	scanned, unread := 0, 0
	err := k.eachNumber(pathOf("/proc"), func(pid int) {
		dir := pathIn(pid, "")
		if user != 0 && ownerOf(unix.AT_FDCWD, dir) != user {
			return
		}
		scanned++
		environ := pathIn(pid, "environ")
		fd, err := openRetry(unix.AT_FDCWD, &environ, 0)
		switch {
		case err == nil:
			unix.Close(fd)
		case err == unix.EACCES || err == unix.EPERM:
			unread++
		}
	})
	switch {
	case err != nil:
		return lacks(name, "/proc: "+err.Error(), "see /proc and the limits of this user (ulimit -a)")
	case unread > 0 && user == 0:
		return inPart(name, fmt.Sprintf("of %d processes %d could not be read", scanned, unread), "give the reaper CAP_SYS_PTRACE and CAP_DAC_OVERRIDE")
	case unread > 0:
		return inPart(name, fmt.Sprintf("of %d processes of this user %d could not be read (they are not dumpable)", scanned, unread), "run reaper as root")
	case user == 0:
		return works(name, fmt.Sprintf("all %d processes can be read", scanned))
	}
	return works(name, fmt.Sprintf("all %d processes of this user can be read; root sees those of others", scanned))
}
