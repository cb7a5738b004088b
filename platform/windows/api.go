//go:build windows

package windows

import (
	"unsafe"

	win "golang.org/x/sys/windows"
)

// What golang.org/x/sys/windows does not have. Each is named as on its page.
var (
	kernel32 = win.NewLazySystemDLL("kernel32.dll")
	advapi32 = win.NewLazySystemDLL("advapi32.dll")

	attachConsole              = kernel32.NewProc("AttachConsole")
	freeConsole                = kernel32.NewProc("FreeConsole")
	getConsoleProcessList      = kernel32.NewProc("GetConsoleProcessList")
	isProcessInJob             = kernel32.NewProc("IsProcessInJob")
	peekNamedPipe              = kernel32.NewProc("PeekNamedPipe")
	setConsoleCtrlHandler      = kernel32.NewProc("SetConsoleCtrlHandler")
	queryUnbiasedInterruptTime = kernel32.NewProc("QueryUnbiasedInterruptTime")
	rtlGenRandom               = advapi32.NewProc("SystemFunction036") // "RtlGenRandom function"
)

// unbiased is the time that the machine was awake, in units of 100 ns.
func unbiased() (t uint64) {
	queryUnbiasedInterruptTime.Call(uintptr(unsafe.Pointer(&t)))
	return t
}

// now is the time of day by the clock that creation times are taken from. Of
// the two clocks it is the coarser: what is created later is never older.
func now() uint64 {
	var ft win.Filetime
	win.GetSystemTimeAsFileTime(&ft)
	return ticks(ft)
}

func ticks(ft win.Filetime) uint64 { return uint64(ft.HighDateTime)<<32 | uint64(ft.LowDateTime) }

// Random is the system's source of random bytes.
type Random struct{}

func (Random) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if ok, _, err := rtlGenRandom.Call(uintptr(unsafe.Pointer(&b[0])), uintptr(len(b))); byte(ok) == 0 {
		return 0, err
	}
	return len(b), nil
}
