package rpc

import (
	"bytes"
	"io"
	"strconv"
	"unicode/utf8"
)

// Source is the end of a pipe to which a worker writes.
type Source interface {
	// Wait blocks until something can be read, and returns false once the source was
	// closed or has failed.
	Wait() bool
	// Available is how many bytes can be read at once.
	Available() int
	// Read never blocks: without data it returns 0 and no error, at the end io.EOF.
	Read([]byte) (int, error)
	Close()
}

// MaxOutput is the longest line of output in one notification, in bytes.
const MaxOutput = 64 << 10

// Stream is one worker's standard output or error, as notifications.
type Stream struct {
	src   Source
	head  []byte // of each notification, up to the text of the line
	rest  []byte // of a line that is not complete
	taken chan struct{}
	ended bool // only the writer reads and sets it
}

// Attach begins to write what comes from a source as notifications "output".
func (o *Out) Attach(src Source, workerID string, pid int, name string) *Stream {
	head := append([]byte(`{"jsonrpc":"2.0","method":"output","params":{"worker_id":`), AppendString(nil, []byte(workerID))...)
	head = strconv.AppendInt(append(head, `,"pid":`...), int64(pid), 10)
	head = append(append(head, `,"stream":"`...), name...)
	head = append(head, `","line":"`...)
	s := &Stream{src: src, head: head, taken: make(chan struct{}, 1)}
	go func() {
		for src.Wait() {
			o.mu.Lock()
			o.ready = append(o.ready, s)
			o.changed.Broadcast()
			o.mu.Unlock()
			if _, more := <-s.taken; !more {
				return
			}
		}
	}()
	return s
}

// read takes one part of a stream that has something.
func (o *Out) read(s *Stream) {
	if s.ended {
		return
	}
	o.part(s, mostAtOnce)
	if !s.ended {
		s.taken <- struct{}{}
	}
}

// drain takes what is in a stream, no more than was there when it began: others may go on
// writing.
func (o *Out) drain(s *Stream, last bool) {
	for left := s.src.Available(); left > 0 && !s.ended; {
		n := o.part(s, left)
		if n == 0 {
			break
		}
		left -= n
		if len(o.line) >= mostAtOnce {
			o.flush()
		}
	}
	if s.ended {
		return
	}
	if o.rest(s); last {
		o.end(s)
	}
}

// part reads once, at most that much.
func (o *Out) part(s *Stream, most int) int {
	if o.buf == nil {
		o.buf = make([]byte, mostAtOnce)
	}
	n, err := s.src.Read(o.buf[:min(most, len(o.buf))])
	if n > 0 && !o.dead {
		o.split(s, o.buf[:n])
	}
	if err != nil && err != io.ErrNoProgress {
		o.rest(s)
		o.end(s)
	}
	return n
}

func (o *Out) end(s *Stream) {
	s.ended = true
	s.src.Close()
	close(s.taken)
}

// split writes the complete lines of b, and keeps the rest.
func (o *Out) split(s *Stream, b []byte) {
	for {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			break
		}
		if len(s.rest) > 0 {
			s.rest = append(s.rest, b[:i]...)
			o.whole(s, s.rest)
			s.rest = s.rest[:0]
		} else {
			o.whole(s, b[:i])
		}
		b = b[i+1:]
	}
	if s.rest = append(s.rest, b...); len(s.rest) == 0 {
		s.rest = nil // most of the time there is none
	}
	if len(s.rest) > MaxOutput {
		left := o.pieces(s, s.rest)
		s.rest = append(s.rest[:0], left...)
	}
}

// whole writes one line, in pieces if it is long.
func (o *Out) whole(s *Stream, line []byte) { o.output(s, o.pieces(s, line), false) }

func (o *Out) pieces(s *Stream, line []byte) (left []byte) {
	for len(line) > MaxOutput {
		n := cut(line, MaxOutput)
		o.output(s, line[:n], true)
		line = line[n:]
	}
	return line
}

// cut is the last place up to most at which no character is split.
func cut(b []byte, most int) int {
	for n := most; n > most-utf8.UTFMax; n-- {
		if utf8.RuneStart(b[n]) {
			if r, size := utf8.DecodeRune(b[n:]); n < most && r == utf8.RuneError && size == 1 {
				break // it is no character, and can be cut anywhere
			}
			return n
		}
	}
	return most
}

// rest writes a last line that has no line feed.
func (o *Out) rest(s *Stream) {
	if len(s.rest) > 0 {
		o.whole(s, s.rest)
		s.rest = nil
	}
}

func (o *Out) output(s *Stream, text []byte, partial bool) {
	if o.dead {
		return
	}
	o.line = append(o.line, s.head...)
	o.line = appendEscaped(o.line, text)
	if partial {
		o.line = append(o.line, `","partial":true}}`+"\n"...)
	} else {
		o.line = append(o.line, `"}}`+"\n"...)
	}
}
