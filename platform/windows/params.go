//go:build windows

package windows

import (
	"encoding/binary"
	"errors"
	"unsafe"

	win "golang.org/x/sys/windows"

	"leash/internal/runid"
)

// errUnreadable says that the memory of a process may not be read, or is not as
// expected.
var errUnreadable = errors.New("its arguments and environment cannot be read")

// basicInformation is PROCESS_BASIC_INFORMATION ("NtQueryInformationProcess
// function"). What are pointers there are numbers here: they hold for another
// process, and the garbage collector must not follow them.
type basicInformation struct {
	_      uintptr // exit status
	peb    uintptr
	_, _   uintptr // affinity, priority
	_      uintptr // the process itself
	parent uintptr
}

func basic(h win.Handle) (b basicInformation, err error) {
	err = win.NtQueryInformationProcess(h, win.ProcessBasicInformation, unsafe.Pointer(&b), uint32(unsafe.Sizeof(b)), nil)
	return b, err
}

func parentOf(h win.Handle) int {
	b, err := basic(h)
	if err != nil {
		return 0
	}
	return int(b.parent)
}

// parameters are what a process was started with. They lie in its own memory
// ("PEB structure", "RTL_USER_PROCESS_PARAMETERS structure"), where it may
// change them: they are trusted no more than an environment is elsewhere.
type parameters struct {
	raw [unsafe.Offsetof(win.RTL_USER_PROCESS_PARAMETERS{}.ProcessGroupId) + 4]byte
}

func (h *handle) parameters() (p parameters, err error) {
	if !h.may(win.PROCESS_VM_READ) {
		return p, errUnreadable
	}
	b, err := basic(h.h)
	if err != nil {
		return p, err
	}
	var at [8]byte
	if err := h.read(b.peb+unsafe.Offsetof(win.PEB{}.ProcessParameters), at[:]); err != nil {
		return p, err
	}
	err = h.read(uintptr(binary.LittleEndian.Uint64(at[:])), p.raw[:])
	return p, err
}

func (h *handle) read(from uintptr, to []byte) error {
	if from == 0 || len(to) == 0 {
		return errUnreadable
	}
	var n uintptr
	if err := win.ReadProcessMemory(h.h, from, &to[0], uintptr(len(to)), &n); err != nil {
		return err
	}
	if n != uintptr(len(to)) {
		return errUnreadable
	}
	return nil
}

func (p *parameters) number(offset uintptr) uintptr {
	return uintptr(binary.LittleEndian.Uint64(p.raw[offset:]))
}

// groupOf is the console process group. Windows has it; in Wine 8 it is 0.
func groupOf(h *handle) int {
	p, err := h.parameters()
	if err != nil {
		return 0
	}
	return int(binary.LittleEndian.Uint32(p.raw[unsafe.Offsetof(win.RTL_USER_PROCESS_PARAMETERS{}.ProcessGroupId):]))
}

// deafToCtrlC reports whether it ignores CTRL_C: it was created as the
// leader of a process group, or called SetConsoleCtrlHandler(NULL, TRUE), or its
// parent did. Both set this bit, which no page names.
func (h *handle) deafToCtrlC() bool {
	p, err := h.parameters()
	return err == nil && p.raw[unsafe.Offsetof(win.RTL_USER_PROCESS_PARAMETERS{}.ConsoleFlags)]&1 != 0
}

// maxBlock bounds what is read of a hostile process.
const maxBlock = 1 << 20

// environ is its environment, each entry ended by NUL.
func (h *handle) environ() ([]byte, error) {
	p, err := h.parameters()
	if err != nil {
		return nil, err
	}
	b, err := h.environment(&p)
	return environ(b), err
}

func (h *handle) environment(p *parameters) ([]uint16, error) {
	size := p.number(unsafe.Offsetof(win.RTL_USER_PROCESS_PARAMETERS{}.EnvironmentSize))
	return h.text(p.number(unsafe.Offsetof(win.RTL_USER_PROCESS_PARAMETERS{}.Environment)), size)
}

// commandLine is one text; see split.
func (h *handle) commandLine(p *parameters) ([]uint16, error) {
	at := unsafe.Offsetof(win.RTL_USER_PROCESS_PARAMETERS{}.CommandLine)
	size := uintptr(binary.LittleEndian.Uint16(p.raw[at:]))
	if size == 0 {
		return nil, nil
	}
	return h.text(p.number(at+unsafe.Offsetof(win.NTUnicodeString{}.Buffer)), size)
}

// split takes a command line apart as the C runtime does; nil if it cannot.
func split(line []uint16) []string {
	if len(line) == 0 || line[0] == 0 {
		return nil
	}
	args, err := win.DecomposeCommandLine(win.UTF16ToString(line))
	if err != nil {
		return nil
	}
	return args
}

// text reads UTF-16.
func (h *handle) text(from, size uintptr) ([]uint16, error) {
	raw := make([]byte, min(size, maxBlock)&^1)
	if err := h.read(from, raw); err != nil {
		return nil, err
	}
	return wide(raw), nil
}

// runInArgs is the run ID among its arguments, if there.
func (h *handle) runInArgs() string {
	p, err := h.parameters()
	if err != nil {
		return ""
	}
	b, err := h.commandLine(&p)
	if err != nil {
		return ""
	}
	return runid.FromArgs(cmdline(split(b)))
}
