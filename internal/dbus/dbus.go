// Package dbus speaks as much of the D-Bus protocol as it takes to ask a systemd manager for a
// transient unit, over the manager's private socket, where no bus stands between. It follows
// the D-Bus specification, version 0.43, and org.freedesktop.systemd1(5).
package dbus

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Property is one of a unit. Value is a string, a bool, a uint64 or a []uint32.
type Property struct {
	Name  string
	Value any
}

// Error is what the manager answered instead.
type Error struct{ Name, Text string }

func (e *Error) Error() string { return e.Name + ": " + e.Text }

// Unknown reports whether the manager does not know a property, because it is too old.
func (e *Error) Unknown() bool {
	return e.Name == "org.freedesktop.DBus.Error.PropertyReadOnly" || e.Name == "org.freedesktop.DBus.Error.UnknownProperty"
}

var errMessage = errors.New("not a D-Bus message")

const (
	maxMessage = 1 << 20
	maxLine    = 1 << 10
	serial     = 1

	methodCall   = 1
	methodReturn = 2
	callFailed   = 3
)

// Authenticate says who calls; the manager compares that with the credentials of the socket.
func Authenticate(conn io.ReadWriter, uid int) error {
	if _, err := io.WriteString(conn, "\x00AUTH EXTERNAL "+hex.EncodeToString([]byte(strconv.Itoa(uid)))+"\r\n"); err != nil {
		return err
	}
	line, err := readLine(conn)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(line, "OK ") {
		return fmt.Errorf("it refuses this user: %.100q", line)
	}
	_, err = io.WriteString(conn, "BEGIN\r\n")
	return err
}

// readLine reads byte by byte, so that nothing of what follows is lost.
func readLine(conn io.Reader) (string, error) {
	var line []byte
	for b := make([]byte, 1); len(line) < maxLine; {
		if _, err := io.ReadFull(conn, b); err != nil {
			return "", err
		}
		if line = append(line, b[0]); b[0] == '\n' {
			return strings.TrimRight(string(line), "\r\n"), nil
		}
	}
	return "", errMessage
}

// StartTransientUnit asks for a unit, and returns when the manager has accepted that.
func StartTransientUnit(conn io.ReadWriter, unit string, properties []Property) error {
	if _, err := conn.Write(call(unit, properties)); err != nil {
		return err
	}
	for {
		kind, name, text, err := receive(conn)
		switch {
		case err != nil:
			return err
		case kind == methodReturn:
			return nil
		case kind == callFailed:
			return &Error{name, text}
		}
	}
}

func call(unit string, properties []Property) []byte {
	var body writer
	body.text(unit)
	body.text("fail") // if there is such a unit already
	body.array(8, func() {
		for _, p := range properties {
			body.align(8)
			body.text(p.Name)
			body.variant(p.Value)
		}
	})
	body.array(8, func() {}) // no further units
	var m writer
	m.b = append(m.b, 'l', methodCall, 0, 1)
	m.number(uint32(len(body.b)))
	m.number(serial)
	m.array(8, func() {
		for _, f := range []struct {
			code             byte
			signature, value string
		}{
			{1, "o", "/org/freedesktop/systemd1"},
			{2, "s", "org.freedesktop.systemd1.Manager"},
			{3, "s", "StartTransientUnit"},
			{6, "s", "org.freedesktop.systemd1"},
			{8, "g", "ssa(sv)a(sa(sv))"},
		} {
			m.align(8)
			m.b = append(m.b, f.code)
			m.signature(f.signature)
			if f.signature == "g" {
				m.signature(f.value)
			} else {
				m.text(f.value)
			}
		}
	})
	m.align(8)
	return append(m.b, body.b...)
}

// writer marshals values; each is aligned to its size from the start of the message.
type writer struct{ b []byte }

func (w *writer) align(n int) {
	for len(w.b)%n != 0 {
		w.b = append(w.b, 0)
	}
}

func (w *writer) number(n uint32) {
	w.align(4)
	w.b = binary.LittleEndian.AppendUint32(w.b, n)
}

func (w *writer) text(s string) {
	w.number(uint32(len(s)))
	w.b = append(append(w.b, s...), 0)
}

func (w *writer) signature(s string) { w.b = append(append(append(w.b, byte(len(s))), s...), 0) }

// array writes the length of what f writes, not counting what aligns its first element.
func (w *writer) array(align int, f func()) {
	w.number(0)
	at := len(w.b)
	w.align(align)
	begin := len(w.b)
	f()
	binary.LittleEndian.PutUint32(w.b[at-4:], uint32(len(w.b)-begin))
}

func (w *writer) variant(value any) {
	switch v := value.(type) {
	case string:
		w.signature("s")
		w.text(v)
	case bool:
		w.signature("b")
		n := uint32(0)
		if v {
			n = 1
		}
		w.number(n)
	case uint64:
		w.signature("t")
		w.align(8)
		w.b = binary.LittleEndian.AppendUint64(w.b, v)
	case []uint32:
		w.signature("au")
		w.array(4, func() {
			for _, n := range v {
				w.number(n)
			}
		})
	}
}

// receive reads one message. name and text are those of an error.
func receive(conn io.Reader) (kind byte, name, text string, err error) {
	head := make([]byte, 16)
	if _, err := io.ReadFull(conn, head); err != nil {
		return 0, "", "", err
	}
	var order binary.ByteOrder = binary.LittleEndian
	if head[0] == 'B' {
		order = binary.BigEndian
	} else if head[0] != 'l' {
		return 0, "", "", errMessage
	}
	body, fields := order.Uint32(head[4:]), order.Uint32(head[12:])
	if body > maxMessage || fields > maxMessage {
		return 0, "", "", errMessage
	}
	padded := (fields + 7) &^ 7
	rest := make([]byte, padded+body)
	if _, err := io.ReadFull(conn, rest); err != nil {
		return 0, "", "", err
	}
	kind = head[1]
	if kind == callFailed {
		r := reader{b: rest[:fields], order: order}
		name = r.errorName()
		r = reader{b: rest[padded:], order: order}
		text = r.text()
	}
	return kind, name, text, nil
}

// reader unmarshals; beyond the end everything is zero.
type reader struct {
	b     []byte
	at    int
	order binary.ByteOrder
}

func (r *reader) align(n int) { r.at = (r.at + n - 1) / n * n }

func (r *reader) take(n int) []byte {
	if n < 0 || r.at > len(r.b) || n > len(r.b)-r.at {
		r.at = len(r.b)
		return nil
	}
	b := r.b[r.at : r.at+n]
	r.at += n
	return b
}

func (r *reader) byte() byte {
	if b := r.take(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

func (r *reader) text() string {
	r.align(4)
	b := r.take(4)
	if len(b) < 4 {
		return ""
	}
	s := string(r.take(int(min(r.order.Uint32(b), maxMessage))))
	r.take(1)
	return s
}

// errorName is header field 4; the fields before it are texts, signatures or numbers.
func (r *reader) errorName() string {
	for r.align(8); r.at < len(r.b); r.align(8) {
		code := r.byte()
		signature := string(r.take(int(r.byte())))
		r.take(1)
		switch signature {
		case "s", "o":
			if s := r.text(); code == 4 {
				return s
			}
		case "g":
			r.take(int(r.byte()))
			r.take(1)
		case "u":
			r.align(4)
			r.take(4)
		default:
			return ""
		}
	}
	return ""
}
