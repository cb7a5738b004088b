package testkit

import (
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// killStatus is the exit status of what these tests kill, as on Linux.
const killStatus = 137

// Lookup returns the process that has the PID now, and whether there is one.
func Lookup(pid int) (id Ident, ok bool) {
	h, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, uint32(pid))
	if err != nil {
		return Ident{}, false
	}
	defer windows.CloseHandle(h)
	start, err := created(h)
	return Ident{pid, start}, err == nil
}

// Alive reports whether the process lives.
func (id Ident) Alive() bool {
	h, err := id.open()
	if err != nil {
		return false
	}
	defer windows.CloseHandle(h)
	return !ended(h, 0)
}

// Kill ends the process at once. A process that has ended already is no error.
func (id Ident) Kill() error {
	h, err := id.open()
	if errors.Is(err, errGone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer windows.CloseHandle(h)
	if err := windows.TerminateProcess(h, killStatus); err != nil && !ended(h, 0) {
		return err
	}
	return nil
}

// program is the file that the process runs.
func (id Ident) program() string {
	h, err := id.open()
	if err != nil {
		return ""
	}
	defer windows.CloseHandle(h)
	text := make([]uint16, windows.MAX_LONG_PATH)
	n := uint32(len(text))
	if windows.QueryFullProcessImageName(h, 0, &text[0], &n) != nil {
		return ""
	}
	return windows.UTF16ToString(text[:n])
}

var errGone = errors.New("the process is gone")

// open takes a handle first and checks the creation time after, so that the
// handle cannot belong to a later process.
func (id Ident) open() (windows.Handle, error) {
	const access = windows.SYNCHRONIZE | windows.PROCESS_TERMINATE | windows.PROCESS_QUERY_LIMITED_INFORMATION
	h, err := windows.OpenProcess(access, false, uint32(id.PID))
	if errors.Is(err, windows.ERROR_INVALID_PARAMETER) {
		return 0, errGone // no process has this PID
	}
	if err != nil {
		return 0, err
	}
	if start, err := created(h); err != nil || start != id.Start {
		windows.CloseHandle(h)
		return 0, errGone
	}
	return h, nil
}

func created(h windows.Handle) (uint64, error) {
	var start, end, kernel, user windows.Filetime
	err := windows.GetProcessTimes(h, &start, &end, &kernel, &user)
	return uint64(start.HighDateTime)<<32 | uint64(start.LowDateTime), err
}

// ended waits for the end of the process behind a handle.
func ended(h windows.Handle, patience time.Duration) bool {
	event, err := windows.WaitForSingleObject(h, uint32(max(patience.Milliseconds(), 0)))
	return err == nil && event == windows.WAIT_OBJECT_0
}

// descendants reads the table of all processes, which has the PID of each one's parent. If
// that parent has ended its PID may have been reused: a process that was created later than
// the child is not its parent.
func descendants(of Ident) (found []Ident, err error) {
	table, err := windows.CreateToolhelp32Snapshot(windows.TH32CS_SNAPPROCESS, 0)
	if err != nil {
		return nil, fmt.Errorf("table of processes: %w", err)
	}
	defer windows.CloseHandle(table)
	children := make(map[int][]int)
	row := windows.ProcessEntry32{Size: uint32(unsafe.Sizeof(windows.ProcessEntry32{}))}
	for err = windows.Process32First(table, &row); err == nil; err = windows.Process32Next(table, &row) {
		parent := int(row.ParentProcessID)
		children[parent] = append(children[parent], int(row.ProcessID))
	}
	if !errors.Is(err, windows.ERROR_NO_MORE_FILES) {
		return nil, fmt.Errorf("table of processes: %w", err)
	}
	seen := map[int]bool{of.PID: true}
	for next := []Ident{of}; len(next) > 0; next = next[1:] {
		for _, pid := range children[next[0].PID] {
			id, ok := Lookup(pid)
			if !ok || seen[pid] || id.Start < next[0].Start {
				continue
			}
			seen[pid] = true
			next = append(next, id) // those below an ended one count too
			if id.Alive() {
				found = append(found, id)
			}
		}
	}
	return found, nil
}

// awaitGone waits for all the processes to end and returns those that did
// not.
func awaitGone(ids []Ident, patience time.Duration) (left []Ident) {
	late := time.Now().Add(patience)
	for _, id := range ids {
		h, err := id.open()
		if errors.Is(err, errGone) {
			continue
		}
		if err != nil { // access denied, for example
			panic(fmt.Sprintf("testkit: open process %d: %v", id.PID, err))
		}
		if !ended(h, time.Until(late)) {
			left = append(left, id)
		}
		windows.CloseHandle(h)
	}
	return left
}
