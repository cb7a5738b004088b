//go:build windows

package windows

import (
	"errors"
	"io"
	"time"

	win "golang.org/x/sys/windows"
)

// ErrFull says that a record was dropped because its reader does not read.
var ErrFull = errors.New("the reader does not keep up")

// patience is how long one record may hold us up before its reader is taken to
// have stopped. Until it reads again, what comes is dropped at once.
const patience = 100 * time.Millisecond

// Sink returns a writer to a descriptor that never blocks for long. The mode of
// a pipe is shared with all that have it, so it is left alone and a
// goroutine does the writing.
func Sink(fd int) (io.Writer, error) {
	h := handleOf(fd)
	kind, err := win.GetFileType(h)
	if kind == win.FILE_TYPE_UNKNOWN {
		if err == nil {
			err = win.ERROR_INVALID_HANDLE
		}
		if fd <= 2 && errors.Is(err, win.ERROR_INVALID_HANDLE) {
			return io.Discard, nil // what has no window may have started us without any
		}
		return nil, err
	}
	if kind == win.FILE_TYPE_DISK {
		return file(h), nil
	}
	s := &sink{records: make(chan []byte), done: make(chan error, 1)}
	go s.run(file(h))
	return s, nil
}

type sink struct {
	records chan []byte
	done    chan error
	stuck   bool
}

func (s *sink) run(w io.Writer) {
	for b := range s.records {
		_, err := w.Write(b)
		s.done <- err
	}
}

func (s *sink) Write(b []byte) (int, error) {
	if s.stuck {
		select {
		case <-s.done:
			s.stuck = false
		default:
			return 0, ErrFull
		}
	}
	s.records <- append([]byte(nil), b...) // the caller uses it again
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case err := <-s.done:
		if err != nil {
			return 0, err
		}
		return len(b), nil
	case <-late.C:
		s.stuck = true
		return 0, ErrFull // it may yet arrive
	}
}

// file writes to a handle.
type file win.Handle

func (f file) Write(b []byte) (int, error) {
	for done := 0; ; {
		var n uint32
		if err := win.WriteFile(win.Handle(f), b[done:], &n, nil); err != nil {
			return done, err
		}
		if done += int(n); done >= len(b) || n == 0 {
			return done, nil
		}
	}
}
