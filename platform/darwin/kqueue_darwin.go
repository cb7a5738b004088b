package darwin

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// kqueue is queue.
type kqueue struct{ fd int }

func newKqueue() (*kqueue, error) {
	fd, err := unix.Kqueue()
	if err != nil {
		return nil, os.NewSyscallError("kqueue", err)
	}
	unix.CloseOnExec(fd) // no child has it in any case (kqueue(2))
	return &kqueue{fd}, nil
}

// Kevent may be called by several goroutines.
func (q *kqueue) Kevent(changes, events []kevent, timeout time.Duration) (int, error) {
	var buf [1]unix.Kevent_t
	in := buf[:0]
	for _, c := range changes {
		in = append(in, unix.Kevent_t{Ident: c.Ident, Filter: c.Filter, Flags: c.Flags, Fflags: c.Fflags, Data: c.Data})
	}
	var out [16]unix.Kevent_t
	var limit *unix.Timespec
	if timeout >= 0 {
		ts := unix.NsecToTimespec(int64(timeout))
		limit = &ts
	}
	n, err := unix.Kevent(q.fd, in, out[:min(len(events), len(out))], limit)
	if err != nil {
		return 0, err
	}
	for i, e := range out[:n] {
		events[i] = kevent{Ident: e.Ident, Filter: e.Filter, Flags: e.Flags, Fflags: e.Fflags, Data: e.Data}
	}
	return n, nil
}

func (q *kqueue) Close() { unix.Close(q.fd) }

// The compiler finds the index out of range where ours differ from the system's.
var (
	_ = [1]struct{}{}[filterRead-unix.EVFILT_READ]
	_ = [1]struct{}{}[filterProc-unix.EVFILT_PROC]
	_ = [1]struct{}{}[filterUser-unix.EVFILT_USER]
	_ = [1]struct{}{}[evAdd-unix.EV_ADD]
	_ = [1]struct{}{}[evDelete-unix.EV_DELETE]
	_ = [1]struct{}{}[evClear-unix.EV_CLEAR]
	_ = [1]struct{}{}[evReceipt-unix.EV_RECEIPT]
	_ = [1]struct{}{}[evError-unix.EV_ERROR]
	_ = [1]struct{}{}[evEOF-unix.EV_EOF]
	_ = [1]struct{}{}[noteExit-unix.NOTE_EXIT]
	_ = [1]struct{}{}[noteExitStatus-unix.NOTE_EXITSTATUS]
	_ = [1]struct{}{}[noteTrigger-unix.NOTE_TRIGGER]
	_ = [1]struct{}{}[noteLowWater-unix.NOTE_LOWAT]
)
