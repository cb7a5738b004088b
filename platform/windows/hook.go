//go:build windows

package windows

import (
	"fmt"
	"os"
	"syscall"

	win "golang.org/x/sys/windows"

	"leash/watch"
)

// hook is the command that asks a hung worker for his last words.
type hook struct {
	handle *handle // nil: none runs
	job    *job    // it, and all that it starts
}

// Hook starts it in a job object of its own, which ends with us. line is its
// whole command line. It has no input, and what it prints goes to our standard
// error.
func (h *Host) Hook(path, line string, env []string) error {
	j, err := newJob(true)
	if err != nil {
		return err
	}
	hd, err := h.startHook(j, path, line, env)
	if err != nil {
		j.close(false)
		return fmt.Errorf("%s: %w", path, err)
	}
	h.hook = hook{hd, j}
	return nil
}

func (h *Host) startHook(j *job, path, line string, env []string) (*handle, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	in, err := inheritable(syscall.Handle(null.Fd()), syscall.Stderr, syscall.Stderr)
	defer in.close()
	if err != nil {
		return nil, err
	}
	pi, err := createIn(j, path, line, env, in) // suspended
	if err != nil {
		return nil, err
	}
	defer win.CloseHandle(pi.Thread)
	hd, err := h.Kernel.wrap(int(pi.ProcessId), pi.Process, win.PROCESS_ALL_ACCESS|win.SYNCHRONIZE)
	if err != nil {
		return nil, err // the job ends it
	}
	if hd.entry, err = h.waits.add(hd); err == nil {
		_, err = win.ResumeThread(pi.Thread)
	}
	if err != nil {
		h.letGo(hd)
		return nil, err
	}
	return hd, nil
}

// EndHook ends it, with all that it started. Its end is told as ever.
func (h *Host) EndHook() {
	if h.hook.job != nil {
		h.hook.job.end()
	}
}

// hookEnded: nobody of its job outlives it.
func (h *Host) hookEnded() {
	h.EndHook()
	exit := h.hook.handle.exit()
	h.forgetHook()
	var err error
	if status := exit.Status(); status != 0 {
		err = fmt.Errorf("the command ended with status %d", status)
	}
	h.events = append(h.events, watch.HookEnded{Err: err})
}

func (h *Host) forgetHook() {
	if h.hook.job != nil {
		h.hook.job.close(false)
		h.letGo(h.hook.handle)
		h.hook = hook{}
	}
}

// letGo of one that none of the worker's are counted with.
func (h *Host) letGo(hd *handle) {
	if hd.entry != nil {
		h.waits.remove(hd.entry)
		hd.entry = nil
	}
	hd.Close()
}
