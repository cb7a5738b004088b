package dbus

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
)

// conn is the other end: what it answers, and what it was told.
type conn struct {
	io.Reader
	told bytes.Buffer
}

func (c *conn) Write(b []byte) (int, error) { return c.told.Write(b) }

func TestAuthenticate(t *testing.T) {
	c := &conn{Reader: strings.NewReader("OK 1234\r\nl")}
	if err := Authenticate(c, 1000); err != nil {
		t.Fatal(err)
	}
	if got := c.told.String(); got != "\x00AUTH EXTERNAL "+hex.EncodeToString([]byte("1000"))+"\r\nBEGIN\r\n" {
		t.Errorf("%q", got)
	}
	if rest, _ := io.ReadAll(c); string(rest) != "l" {
		t.Errorf("of what follows %q is left", rest)
	}
	for _, answer := range []string{"", "OK", "REJECTED EXTERNAL\r\n", "OKAY\r\n", strings.Repeat("x", 5000)} {
		if err := Authenticate(&conn{Reader: strings.NewReader(answer)}, 0); err == nil {
			t.Errorf("%.20q is accepted", answer)
		}
	}
}

// The bytes are those that a sound implementation reads: they were compared with the
// specification by hand.
func TestCall(t *testing.T) {
	b := call("a.scope", []Property{{"PIDs", []uint32{258}}, {"MemoryMax", uint64(1 << 33)}, {"Wait", true}, {"Description", "x"}})
	if !bytes.HasPrefix(b, []byte("l\x01\x00\x01")) {
		t.Fatalf("%x", b[:4])
	}
	body := b[len(b)-int(binary.LittleEndian.Uint32(b[4:])):]
	want := "\x07\x00\x00\x00a.scope\x00" + "\x04\x00\x00\x00fail\x00" + "\x00\x00\x00" + // 24
		"\x62\x00\x00\x00" + "\x00\x00\x00\x00" + // 32: length, aligned
		"\x04\x00\x00\x00PIDs\x00" + "\x02au\x00" + "\x00\x00\x00" + "\x04\x00\x00\x00\x02\x01\x00\x00" +
		"\x09\x00\x00\x00MemoryMax\x00" + "\x01t\x00" + "\x00\x00\x00\x00\x00\x00\x00" + "\x00\x00\x00\x00\x02\x00\x00\x00" +
		"\x04\x00\x00\x00Wait\x00" + "\x01b\x00" + "\x01\x00\x00\x00" +
		"\x0b\x00\x00\x00Description\x00" + "\x01s\x00" + "\x00" + "\x01\x00\x00\x00x\x00"
	if len(body) < len(want) {
		t.Fatalf("%q\nis shorter than\n%q", body, want)
	}
	if got := string(body[:len(want)]); got != want {
		t.Errorf("%q\nwant\n%q", got, want)
	}
	if rest := body[len(want):]; len(rest) < 4 || strings.Trim(string(rest), "\x00") != "" || len(body)%8 != 0 {
		t.Errorf("%q, %d", rest, len(body))
	}
}

// answer is a message of the manager.
func answer(kind byte, name, text string) []byte {
	var body, m writer
	if text != "" {
		body.text(text)
	}
	m.b = append(m.b, 'l', kind, 0, 1)
	m.number(uint32(len(body.b)))
	m.number(7)
	m.array(8, func() {
		m.b = append(m.b, 5)
		m.signature("u")
		m.number(serial)
		if name != "" {
			m.align(8)
			m.b = append(m.b, 4)
			m.signature("s")
			m.text(name)
		}
		m.align(8)
		m.b = append(m.b, 8)
		m.signature("g")
		m.signature("s")
	})
	m.align(8)
	return append(m.b, body.b...)
}

func TestStartTransientUnit(t *testing.T) {
	signal := answer(4, "", "a signal")
	if err := StartTransientUnit(&conn{Reader: bytes.NewReader(append(signal, answer(2, "", "/job/1")...))}, "a.scope", nil); err != nil {
		t.Error(err)
	}
	err := StartTransientUnit(&conn{Reader: bytes.NewReader(append(signal, answer(3, "org.x.Error", "no, because")...))}, "a.scope", nil)
	var e *Error
	if !errors.As(err, &e) || e.Name != "org.x.Error" || e.Text != "no, because" || e.Unknown() {
		t.Errorf("%v", err)
	}
	for name, b := range map[string][]byte{"nothing": nil, "half": answer(2, "", "x")[:20], "another order": append([]byte("x"), answer(2, "", "")[1:]...),
		"too much": []byte("l\x02\x00\x01\xff\xff\xff\x7f\x00\x00\x00\x01\x00\x00\x00\x00")} {
		if err := StartTransientUnit(&conn{Reader: bytes.NewReader(b)}, "a.scope", nil); err == nil {
			t.Errorf("%s is taken for an answer", name)
		}
	}
}

// FuzzReceive: whatever comes, there is an answer or an error, and no more is read than comes.
func FuzzReceive(f *testing.F) {
	f.Add(answer(2, "", "/job/1"))
	f.Add(answer(3, "org.x.Error", "no"))
	f.Add([]byte("B\x03\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x08\x04\x01s\x00\x00\x00\x00\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		kind, name, text, err := receive(bytes.NewReader(b))
		if err == nil && (kind != b[1] || len(name)+len(text) > len(b)) {
			t.Errorf("%x: %d %q %q", b, kind, name, text)
		}
	})
}
