//go:build windows

package windows

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
	"unsafe"

	win "golang.org/x/sys/windows"

	"leash/internal/proc"
	"leash/watch"
)

// Listen has console events come in by Wait. Package os/signal makes SIGINT of
// CTRL_C and CTRL_BREAK, and SIGTERM of close, log-off and shutdown, for which
// the system waits some seconds ("HandlerRoutine callback function"). All of
// them end the worker, whether we started it or not.
func (h *Host) Listen(bool) error {
	c := make(chan os.Signal, 8)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	go func() {
		for s := range c {
			h.happened <- happening{signal: s}
		}
	}()
	return nil
}

func (h *Host) signalled(s os.Signal) {
	sig := proc.TERM
	if s == os.Interrupt {
		// Without a console there is nobody who could send it, but ourselves to
		// the console of the worker.
		if !hasConsole() {
			return
		}
		sig = proc.INT
	}
	h.events = append(h.events, watch.Signalled{Signal: sig, Role: watch.Ends})
}

// lifelinePoll is the interval between two looks at a lifeline. There is no
// handle to wait for the end of a pipe without reading from it, and what is in
// it may be the worker's.
const lifelinePoll = 50 * time.Millisecond

// AddLifeline watches a pipe whose end is the parent's death. 0 is standard
// input; any other number is the value of an inherited handle.
func (h *Host) AddLifeline(fd int) (alive bool, err error) {
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
	if alive, err = pipeLives(f); err != nil || !alive {
		return alive, err
	}
	go func() {
		for {
			time.Sleep(lifelinePoll)
			if alive, err := pipeLives(f); err == nil && !alive {
				h.happened <- happening{lifeline: true}
				return
			}
		}
	}()
	return true, nil
}

// pipeLives reports whether somebody holds the other end ("PeekNamedPipe
// function"). What has been written and not been read yet would hide its end,
// so the state is asked for too ("FILE_PIPE_LOCAL_INFORMATION structure").
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
