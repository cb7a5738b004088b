//go:build windows

package windows

import (
	"errors"
	"fmt"
	"time"
	"unsafe"

	win "golang.org/x/sys/windows"
)

// lifeline is a pipe; its owner is told when it closes.
type lifeline struct{ owner any }

// lifelinePoll is the interval between two scans of a lifeline. There is no handle to
// wait for the end of a pipe without reading from it, and what is in it may be the
// worker's.
const lifelinePoll = 50 * time.Millisecond

// WatchFD makes Wait report the end of a pipe. 0 is standard input; any number above 2 is the
// value of an inherited handle.
func (s *System) WatchFD(fd int, owner any) (open bool, err error) {
	f := handleOf(fd)
	switch kind, _ := win.GetFileType(f); kind {
	case win.FILE_TYPE_PIPE:
	case win.FILE_TYPE_DISK:
		return false, nil // it has an end, and does not wait for it
	default:
		var mode uint32
		if win.GetConsoleMode(f, &mode) == nil {
			return false, errors.New("a console has no end: give it a pipe")
		}
		return false, nil // NUL
	}
	if open, err = pipeLives(f); err != nil || !open {
		return open, err
	}
	go func() {
		for {
			time.Sleep(lifelinePoll)
			if open, err := pipeLives(f); err == nil && !open {
				s.happened <- happening{lifeline: &lifeline{owner}}
				return
			}
		}
	}()
	return true, nil
}

// FDEnded reports whether the end of such a pipe has come.
func (s *System) FDEnded(fd int) bool {
	open, err := pipeLives(handleOf(fd))
	return err == nil && !open
}

// HungUp reports whether the writers of a pipe have gone, whatever is still in it.
func HungUp(fd int) bool {
	f := handleOf(fd)
	if kind, _ := win.GetFileType(f); kind != win.FILE_TYPE_PIPE {
		return false
	}
	open, err := pipeLives(f)
	return err == nil && !open
}

// pipeLives reports whether a process holds the other end ("PeekNamedPipe
// function"). What has been written and not been read yet would hide its end,
// so the state is read too ("FILE_PIPE_LOCAL_INFORMATION structure").
func pipeLives(f win.Handle) (bool, error) {
	ok, _, err := peekNamedPipe.Call(uintptr(f), 0, 0, 0, 0, 0)
	switch {
	case ok != 0:
		return !closing(f), nil
	case errors.Is(err, win.ERROR_BROKEN_PIPE), errors.Is(err, win.ERROR_PIPE_NOT_CONNECTED), errors.Is(err, win.ERROR_NO_DATA):
		return false, nil
	}
	return true, fmt.Errorf("it is no pipe that can be read (%w)", err)
}

// pipeInformation is FILE_PIPE_LOCAL_INFORMATION.
type pipeInformation struct {
	kind, configuration, maxInstances, instances, inQuota, readable, outQuota, writable uint32
	state, end                                                                          uint32
}

const (
	filePipeLocalInformation = 24
	pipeClosing              = 4 // FILE_PIPE_CLOSING_STATE
)

func closing(f win.Handle) bool {
	var info pipeInformation
	var status win.IO_STATUS_BLOCK
	err := win.NtQueryInformationFile(f, &status, (*byte)(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info)), filePipeLocalInformation)
	return err == nil && info.state == pipeClosing
}
