package rpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// plainValue is a Value as encoding/json has it.
func plainValue(v Value) any {
	switch v.Kind {
	case Bool:
		return v.True
	case Number:
		return json.Number(v.Text)
	case String:
		return v.Text
	case List:
		all := []any{}
		for _, e := range v.List {
			all = append(all, plainValue(e))
		}
		return all
	case Object:
		all := map[string]any{}
		for _, m := range v.Members {
			all[m.Name] = plainValue(m.Value)
		}
		return all
	}
	return nil
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{`{}`, `[]`, `null`, `true`, `-0.5e+7`, `01`, `"a\u00e4\n\ud83d\ude00"`, `"\ud800"`, `{"a":{"b":[1,"x",null,false]}}`,
		`{"a":1,"a":2}`, "\xff", `{"a":1,}`, `[1,]`, ` { "a" : 1 } `, `"` + "\x01" + `"`, `tru`, `{"a"}`, strings.Repeat("[", 40), `1 2`, `"\x"`,
		`{"jsonrpc":"2.0","id":1,"method":"list","params":{}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := Parse(b)
		if err == nil {
			d := json.NewDecoder(bytes.NewReader(b))
			d.UseNumber()
			var want any
			if err := d.Decode(&want); err != nil {
				t.Fatalf("%q: encoding/json refuses it: %v", b, err)
			}
			if got := plainValue(v); !reflect.DeepEqual(got, want) {
				t.Fatalf("%q: %v, encoding/json has %v", b, got, want)
			}
		} else if utf8.Valid(b) && json.Valid(b) && !strings.Contains(err.Error(), "twice") && !strings.Contains(err.Error(), "surrogate") &&
			!strings.Contains(err.Error(), "deeply") {
			t.Fatalf("%q is refused: %v", b, err)
		}
		r, failed := Decode(b)
		if failed == nil && (r.Method == "" && !bytes.Contains(b, []byte(`""`)) || r.Params.Kind != Object) {
			t.Fatalf("%q: %+v", b, r)
		}
		if r.ID != nil && !json.Valid(r.ID) {
			t.Fatalf("%q: id %q", b, r.ID)
		}
	})
}

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "plain", "\x00\x1f\x7f\"\\\n\r\t", "ä\xff€\u2028😀", "\xe2\x82"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		out := AppendString(nil, b)
		if bytes.IndexByte(out, '\n') >= 0 || !utf8.Valid(out) {
			t.Fatalf("%q", out)
		}
		var s string
		if err := json.Unmarshal(out, &s); err != nil || s != strings.Join(strings.Split(string([]rune(string(b))), ""), "") {
			t.Fatalf("%q became %q (%v)", b, s, err)
		}
	})
}

func TestLines(t *testing.T) {
	longest := strings.Repeat("x", MaxLine)
	l := NewLines(strings.NewReader("one\n\n" + longest + "\n" + longest + "x\nafter\nhalf"))
	for i, want := range []string{"one", "", longest} {
		if b, err := l.Next(); err != nil || string(b) != want {
			t.Fatalf("line %d: %d bytes, %v", i, len(b), err)
		}
	}
	if _, err := l.Next(); !errors.Is(err, ErrTooLong) {
		t.Fatalf("too long: %v", err)
	}
	if b, err := l.Next(); err != nil || string(b) != "after" {
		t.Fatalf("%q, %v", b, err)
	}
	if b, err := l.Next(); err != io.EOF {
		t.Fatalf("half a line: %q, %v", b, err)
	}
}

func TestAnswers(t *testing.T) {
	for _, line := range [][]byte{Answer([]byte("7"), []byte(`{"a":1}`)), Failure([]byte(`"x"`), &Error{Code: -1, Message: "a \"b\"\n", Status: 126}),
		Failure(null, Errorf(ParseError, "x")), Notification("event", []byte("{}"))} {
		if !json.Valid(line) || bytes.Count(line, []byte("\n")) != 1 || line[len(line)-1] != '\n' {
			t.Errorf("%q", line)
		}
	}
}
