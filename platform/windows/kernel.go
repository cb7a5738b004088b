//go:build windows

package windows

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	win "golang.org/x/sys/windows"

	"leash/internal/proc"
	"leash/internal/stop"
)

// Kernel is the process table and the signals of this system.
type Kernel struct {
	exe  string // our own
	buf  []byte
	list []entry
	// forget is called when the end of a process is not waited for any more.
	forget func(*handle)
	// endHook is called when the handle of a hook was closed.
	endHook func(*handle)
	// companions are those of a process that no containment holds.
	companions
	// group reads the console process group of a process; 0 if it cannot.
	group func(*handle) int
	clock func() uint64
	users users
}

var _ stop.Kernel = (*Kernel)(nil)

// NewKernel prepares to read processes.
func NewKernel() (*Kernel, error) {
	k := &Kernel{group: groupOf, clock: now, buf: make([]byte, 64<<10)}
	// The name by which we were started may be a link to it, or a short one.
	if k.exe = imageOf(win.CurrentProcess()); k.exe == "" {
		k.exe, _ = os.Executable()
	}
	me, err := userSID()
	if err != nil {
		return nil, err
	}
	k.users.number(me) // the first: no other has it before us
	if _, err := k.table(); err != nil {
		return nil, fmt.Errorf("the process table cannot be read: %w", err)
	}
	return k, nil
}

// table lists every process. It is valid until the next call.
func (k *Kernel) table() ([]entry, error) {
	k.list = k.list[:0]
	err := k.each(func(r row) { k.list = append(k.list, r.entry()) })
	return k.list, err
}

// each calls f for every process. A Toolhelp snapshot has no creation times, and
// they can be read only of what we may open; this call gives them for all processes
// ("NtQuerySystemInformation function", SystemProcessInformation).
func (k *Kernel) each(f func(row)) error {
	for {
		var need uint32
		err := win.NtQuerySystemInformation(win.SystemProcessInformation, unsafe.Pointer(&k.buf[0]), uint32(len(k.buf)), &need)
		if err == nil {
			break
		}
		if !errors.Is(err, win.STATUS_INFO_LENGTH_MISMATCH) {
			return err
		}
		k.buf = make([]byte, max(2*len(k.buf), int(need)))
	}
	for b := k.buf; ; {
		if uintptr(len(b)) < unsafe.Sizeof(win.SYSTEM_PROCESS_INFORMATION{}) {
			return errTable
		}
		f(row(b))
		next := binary.LittleEndian.Uint32(b)
		if next == 0 {
			return nil
		}
		if int(next) > len(b) {
			return errTable
		}
		b = b[next:]
	}
}

// row is one SYSTEM_PROCESS_INFORMATION, which Wine does not align, and what
// follows it.
type row []byte

func (r row) word(offset uintptr) uint64 { return binary.LittleEndian.Uint64(r[offset:]) }

func (r row) entry() entry {
	var p win.SYSTEM_PROCESS_INFORMATION
	return entry{
		pid:   int(r.word(unsafe.Offsetof(p.UniqueProcessID))),
		ppid:  int(r.word(unsafe.Offsetof(p.InheritedFromUniqueProcessID))),
		start: r.word(unsafe.Offsetof(p.CreateTime)),
	}
}

// name is that of its program, without the folder. It lies in the same buffer.
func (r row) name() string {
	at := unsafe.Offsetof(win.SYSTEM_PROCESS_INFORMATION{}.ImageName)
	size := uint64(binary.LittleEndian.Uint16(r[at:]))
	from := r.word(at+unsafe.Offsetof(win.NTUnicodeString{}.Buffer)) - uint64(uintptr(unsafe.Pointer(&r[0])))
	if from > uint64(len(r)) || size > uint64(len(r))-from {
		return ""
	}
	return win.UTF16ToString(wide(r[from : from+size]))
}

var errTable = errors.New("it is not as documented")

// Children lists what was created by the process that has the number now.
func (k *Kernel) Children(pid int, out []int) ([]int, error) {
	return k.children(pid, out, func(entry) bool { return false })
}

// children passes over strangers: processes that are known to be of another parent,
// which had the number before.
func (k *Kernel) children(pid int, out []int, stranger func(entry) bool) ([]int, error) {
	table, err := k.table()
	if err != nil {
		return out, err
	}
	start, ok := startIn(table, pid)
	if !ok {
		return out, nil
	}
	latest := k.latest()
	for _, e := range table {
		if e.ppid == pid && e.pid != pid && follows(e.start, start, latest) && !stranger(e) {
			out = append(out, e.pid)
		}
	}
	return out, nil
}

func startIn(table []entry, pid int) (uint64, bool) {
	for _, e := range table {
		if e.pid == pid {
			return e.start, true
		}
	}
	return 0, false
}

// Tick is the present in the unit of creation times.
func (k *Kernel) Tick() uint64 { return k.clock() }

// latest is the latest time at which a process can have been created, unless the
// clock was set back since. Creation times may be of a finer clock than ours: the
// coarse one stands still for up to 16 ms ("GetSystemTimeAsFileTime function").
func (k *Kernel) latest() uint64 { return k.clock() + 100*ticksPerMilli }

const ticksPerMilli = 10_000

// ancestors are ourselves and those above us, which are never signalled.
func (k *Kernel) ancestors() (all []proc.Info) {
	table, err := k.table()
	if err != nil {
		return nil
	}
	for _, e := range above(table, os.Getpid(), k.latest()) {
		all = append(all, proc.Info{ID: proc.ID{PID: e.pid, Start: e.start}, PPID: e.ppid})
	}
	return all
}

const systemPID = 4

// isLeash reports whether a program is ours or the one installed beside it.
func (k *Kernel) isLeash(exe string) bool {
	if exe == "" || !sameFold(filepath.Dir(exe), filepath.Dir(k.exe)) {
		return false
	}
	name := filepath.Base(exe)
	return leashNamed(name) || sameFold(name, filepath.Base(k.exe))
}
