// Package wire is the protocol between a watchdog and its sentinel, the process that ends the
// worker's tree if the watchdog is killed.
//
// An order of the watchdog is a kind, the length of the body in bytes, and the body. An answer
// is a kind and two numbers.
package wire

import (
	"encoding/binary"
	"errors"
	"io"
	"math"
)

// Orders.
const (
	Start = 's' // start a worker: Order
	Go    = 'g' // the watchdog has a handle on the worker: it may be reaped
	Count = 'c' // are there children left? A number that the answer repeats

	// Of several workers below one sentinel, which their marks tell apart:
	List = 'l' // which children have this mark? A number, and the mark
	Done = 'd' // nothing is left of the worker with this mark
	Rest = 'r' // no worker is left: kill all children, now and later

	// Of a sentinel beside the worker:
	Guard = 'w' // guard a worker that the watchdog has started: Worker
	Over  = 'o' // nothing of the worker's tree is left, or it is left on purpose
)

// Answers.
const (
	Started  = 'p' // the worker's PID
	Failed   = 'f' // the error number of fork(2) or execve(2)
	Exited   = 'x' // a worker's PID and wait status
	Some     = 'm' // children are left; after List: maybe others than those told
	None     = 'n' // no child is left; after List: no other
	Child    = 'i' // the PID of a child with the mark
	Guarding = 'y' // the worker of Guard is guarded; its PID
	Refused  = 'r' // an order cannot be carried out
)

// ErrOrder says that bytes are no order.
var ErrOrder = errors.New("not an order to a sentinel")

// maxBody is more than execve(2) accepts: 3/4 of the largest _STK_LIM, 6 MiB (fs/exec.c,
// bprm_stack_limits).
const maxBody = 16 << 20

// Bytes encodes an order.
func Bytes(kind byte, body []byte) []byte {
	b := binary.NativeEndian.AppendUint32([]byte{kind}, uint32(len(body)))
	return append(b, body...)
}

// Read reads one order. The end of the file, also within an order, is io.EOF.
func Read(r io.Reader) (kind byte, body []byte, err error) {
	var head [HeadSize]byte
	if _, err = io.ReadFull(r, head[:]); err != nil {
		return 0, nil, ended(err)
	}
	return ReadBody(head, r)
}

// HeadSize is the length of kind and length.
const HeadSize = 5

// ReadBody reads what follows the head of an order.
func ReadBody(head [HeadSize]byte, r io.Reader) (kind byte, body []byte, err error) {
	n := binary.NativeEndian.Uint32(head[1:])
	if n > maxBody {
		return 0, nil, ErrOrder
	}
	body = make([]byte, n)
	_, err = io.ReadFull(r, body)
	return head[0], body, ended(err)
}

func ended(err error) error {
	if err == io.ErrUnexpectedEOF {
		return io.EOF
	}
	return err
}

// AnswerSize is the length of an answer in bytes.
const AnswerSize = 9

// Answer is what a sentinel sends.
type Answer struct {
	Kind byte
	N    int32
	More int32 // the wait status of Exited
}

// Encode encodes an answer.
func (a Answer) Encode() []byte {
	b := binary.NativeEndian.AppendUint32([]byte{a.Kind}, uint32(a.N))
	return binary.NativeEndian.AppendUint32(b, uint32(a.More))
}

// DecodeAnswer decodes AnswerSize bytes.
func DecodeAnswer(b []byte) Answer {
	return Answer{b[0], int32(binary.NativeEndian.Uint32(b[1:])), int32(binary.NativeEndian.Uint32(b[5:]))}
}

// Number is the body of Count.
func Number(n int32) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(n)) }

// DecodeNumber decodes the body of Count.
func DecodeNumber(b []byte) (int32, error) {
	if len(b) != 4 {
		return 0, ErrOrder
	}
	return int32(binary.NativeEndian.Uint32(b)), nil
}

// Mark is the body of Done.
func Mark(mark uint64) []byte { return binary.NativeEndian.AppendUint64(nil, mark) }

// DecodeMark decodes the body of Done.
func DecodeMark(b []byte) (mark uint64, err error) {
	if len(b) != 8 {
		return 0, ErrOrder
	}
	return binary.NativeEndian.Uint64(b), nil
}

// Marked is the body of List.
func Marked(n int32, mark uint64) []byte { return append(Number(n), Mark(mark)...) }

// DecodeMarked decodes the body of List.
func DecodeMarked(b []byte) (n int32, mark uint64, err error) {
	if len(b) != 12 {
		return 0, 0, ErrOrder
	}
	return int32(binary.NativeEndian.Uint32(b)), binary.NativeEndian.Uint64(b[4:]), nil
}

// Order is what a sentinel needs to know to start a worker.
type Order struct {
	Path      string
	Args, Env []string
	// Cgroup is the folder of the leaf that holds the worker, empty if there is none.
	Cgroup string
	// Last: no other worker follows, so the descriptors meant for it can be closed.
	Last bool
	// Listens: LISTEN_PID is to be the worker's PID.
	Listens bool
	// Stdio: standard input, output and error come with the order.
	Stdio bool
	// Dir is the working folder, empty for the sentinel's own.
	Dir string
	// Mark tells the trees of several workers below one sentinel apart; 0: there is one.
	Mark uint64

	// Files are the descriptors that came with it, beside its bytes.
	Files []uintptr
}

// Encode encodes the body of Start.
func (o *Order) Encode() []byte {
	b := appendText(nil, o.Path)
	b = appendText(b, o.Cgroup)
	b = appendText(b, o.Dir)
	b = binary.AppendUvarint(b, o.Mark)
	b = append(b, flagByte(o.Last, o.Listens, o.Stdio))
	for _, list := range [][]string{o.Args, o.Env} {
		b = binary.AppendUvarint(b, uint64(len(list)))
		for _, s := range list {
			b = appendText(b, s)
		}
	}
	return b
}

// DecodeOrder decodes the body of Start.
func DecodeOrder(b []byte) (o Order, err error) {
	r := reader{rest: b}
	o.Path, o.Cgroup, o.Dir = r.text(), r.text(), r.text()
	o.Mark = r.number(math.MaxUint64)
	flags := r.byte()
	o.Last, o.Listens, o.Stdio = flags&1 != 0, flags&2 != 0, flags&4 != 0
	o.Args, o.Env = r.list(), r.list()
	if !r.ended() || flags > 7 || o.Path == "" || len(o.Args) == 0 {
		return Order{}, ErrOrder
	}
	return o, nil
}

// Worker is a worker that the watchdog has started.
type Worker struct {
	PID   int
	Start uint64
	// RunID and WorkerID are its labels, empty if it has none.
	RunID, WorkerID string
}

// Encode encodes the body of Guard.
func (w *Worker) Encode() []byte {
	b := binary.AppendUvarint(nil, uint64(w.PID))
	b = binary.AppendUvarint(b, w.Start)
	return appendText(appendText(b, w.RunID), w.WorkerID)
}

// DecodeWorker decodes the body of Guard.
func DecodeWorker(b []byte) (w Worker, err error) {
	r := reader{rest: b}
	pid := r.number(math.MaxInt32)
	w = Worker{PID: int(pid), Start: r.number(math.MaxUint64), RunID: r.text(), WorkerID: r.text()}
	if !r.ended() || pid < 1 {
		return Worker{}, ErrOrder
	}
	return w, nil
}

func flagByte(flags ...bool) (b byte) {
	for i, f := range flags {
		if f {
			b |= 1 << i
		}
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// reader reads a body. After an error all that it reads is empty.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) ended() bool { return !r.bad && len(r.rest) == 0 }

func (r *reader) byte() (b byte) {
	if len(r.rest) == 0 {
		r.bad = true
		return 0
	}
	b, r.rest = r.rest[0], r.rest[1:]
	return b
}

func (r *reader) number(highest uint64) uint64 {
	n, used := binary.Uvarint(r.rest)
	if used <= 0 || n > highest {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[used:]
	return n
}

// length reads a length or a count, each unit of which takes at least one byte.
func (r *reader) length() int {
	n := r.number(maxBody)
	if n > uint64(len(r.rest)) {
		r.bad, r.rest = true, nil
		return 0
	}
	return int(n)
}

func (r *reader) text() string {
	n := r.length()
	s := string(r.rest[:n])
	r.rest = r.rest[n:]
	return s
}

func (r *reader) list() []string {
	n := r.length()
	list := make([]string, 0, n)
	for range n {
		list = append(list, r.text())
	}
	return list
}
