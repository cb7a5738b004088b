// Package rpc is JSON-RPC 2.0 with one object a line: requests are read from one stream,
// answers and notifications are written to another.
package rpc

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Error codes of JSON-RPC 2.0, and of this protocol.
const (
	ParseError     = -32700
	InvalidRequest = -32600
	MethodNotFound = -32601
	InvalidParams  = -32602

	NoSuchWorker  = -32001
	WorkerIDTaken = -32002
	CannotExecute = -32003
	ProcessGone   = -32004
	Refused       = -32005
)

// MaxLine is the longest line that is read, in bytes without its line feed.
const MaxLine = 1 << 20

// Error is the error of an answer. Status, if not 0, is its data.
type Error struct {
	Code    int
	Message string
	Status  int
}

func (e *Error) Error() string { return e.Message }

// Errorf makes an Error.
func Errorf(code int, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Request is one request. ID is its id as it was written, nil if it is a notification.
type Request struct {
	ID     []byte
	Method string
	Params Value // an object
}

var null = []byte("null")

// Decode reads a request. If it returns an error, the ID of the request is what the answer has
// to have: null where it cannot be known.
func Decode(line []byte) (Request, *Error) {
	r := Request{ID: null}
	v, err := Parse(line)
	if err != nil {
		return r, Errorf(ParseError, "the line cannot be read: %v", err)
	}
	if v.Kind == List {
		return r, Errorf(InvalidRequest, "a list of requests is not accepted: send each in a line of its own")
	}
	if v.Kind != Object {
		return r, Errorf(InvalidRequest, "a request is an object, and this is %v", v.Kind)
	}
	id := v.Get("id")
	if id == nil {
		r.ID = nil
	} else if id.Kind != Null && id.Kind != Number && id.Kind != String {
		return r, Errorf(InvalidRequest, "id: it is %v, and must be a string, a number or null", id.Kind)
	} else {
		r.ID = id.append(nil)
	}
	version, method := v.Get("jsonrpc"), v.Get("method")
	invalid := func(format string, args ...any) (Request, *Error) {
		if r.ID == nil { // it cannot be told whether an answer is expected
			r.ID = null
		}
		return r, Errorf(InvalidRequest, format, args...)
	}
	if version == nil || version.Kind != String || version.Text != "2.0" {
		return invalid(`jsonrpc: it must be "2.0"`)
	}
	if method == nil || method.Kind != String {
		return invalid("method: it is missing, or no string")
	}
	for _, m := range v.Members {
		switch m.Name {
		case "jsonrpc", "id", "method", "params":
		default:
			return invalid("%q is no member of a request", m.Name)
		}
	}
	r.Method, r.Params.Kind = method.Text, Object
	switch params := v.Get("params"); {
	case params == nil:
	case params.Kind == List:
		return r, Errorf(InvalidParams, "params: parameters are given by name, in an object")
	case params.Kind != Object:
		return r, Errorf(InvalidParams, "params: it is %v, and must be an object", params.Kind)
	default:
		r.Params = *params
	}
	return r, nil
}

func (v *Value) append(b []byte) []byte {
	switch v.Kind {
	case Number:
		return append(b, v.Text...)
	case String:
		return AppendString(b, []byte(v.Text))
	}
	return append(b, null...)
}

// ErrTooLong is a line above MaxLine, which was skipped.
var ErrTooLong = errors.New("the line is longer than 1 MiB")

// Lines reads lines.
type Lines struct{ r *bufio.Reader }

// NewLines returns a reader of lines.
func NewLines(r io.Reader) *Lines { return &Lines{bufio.NewReaderSize(r, 16<<10)} }

// Next returns the next line without its line feed, valid until the next call; ErrTooLong for
// one that is too long. What comes before the end-of-file without a line feed is no line.
func (l *Lines) Next() ([]byte, error) {
	line, err := l.r.ReadSlice('\n')
	if err == nil {
		return line[:len(line)-1], nil
	}
	long, keep := bytes.Clone(line), true
	for err == bufio.ErrBufferFull {
		line, err = l.r.ReadSlice('\n')
		if keep = keep && len(long)+len(line) <= MaxLine+1; keep {
			long = append(long, line...)
		} else {
			long = nil
		}
	}
	switch {
	case err != nil:
		return nil, err
	case !keep:
		return nil, ErrTooLong
	}
	return long[:len(long)-1], nil
}
