package wire

import (
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func TestOrderRoundTrip(t *testing.T) {
	long := strings.Repeat("x", 1<<17)
	for _, o := range []Order{
		{Path: "/bin/true", Args: []string{"true"}},
		{Path: "a", Args: []string{"", "b c", long}, Env: []string{"A=1", "=", "B=\xff\n", long}, Cgroup: "/sys/fs/cgroup/x", Last: true},
		{Path: "a", Args: []string{"a"}, Listens: true},
		{Path: "a", Args: []string{"a"}, Stdio: true, Dir: "/tmp/a b", Mark: 1<<64 - 1},
	} {
		got, err := DecodeOrder(o.Encode())
		if err != nil || got.Path != o.Path || got.Cgroup != o.Cgroup || got.Last != o.Last || got.Listens != o.Listens || got.Stdio != o.Stdio || got.Dir != o.Dir || got.Mark != o.Mark ||
			!slices.Equal(got.Args, o.Args) || !slices.Equal(got.Env, o.Env) {
			t.Errorf("%.200v came back as %.200v, %v", o, got, err)
		}
	}
}

// Anything but an order as it is encoded is refused.
func TestDecodeOrderRefuses(t *testing.T) {
	good := (&Order{Path: "/bin/true", Args: []string{"true", "x"}, Env: []string{"A=1"}, Cgroup: "/c"}).Encode()
	for n := range good {
		if o, err := DecodeOrder(good[:n]); err == nil {
			t.Errorf("the first %d bytes are %+v", n, o)
		}
	}
	for name, b := range map[string][]byte{
		"more behind":       append(slices.Clone(good), 0),
		"no path":           (&Order{Args: []string{"x"}}).Encode(),
		"no arguments":      (&Order{Path: "x"}).Encode(),
		"unknown flags":     func() []byte { b := slices.Clone(good); b[1+len("/bin/true")+1+len("/c")+1+1] = 8; return b }(),
		"an endless length": {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
		"a huge count":      {1, 'x', 0, 0, 0xff, 0xff, 0xff, 0x7f},
	} {
		if o, err := DecodeOrder(b); err == nil {
			t.Errorf("%s: %+v", name, o)
		}
	}
}

func FuzzDecodeOrder(f *testing.F) {
	f.Add((&Order{Path: "/bin/true", Args: []string{"true"}, Env: []string{"A=1", ""}, Last: true}).Encode())
	f.Add([]byte{1, 'x', 0, 0, 0, 0, 1, 0, 0})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := DecodeOrder(b)
		if err != nil {
			return
		}
		if again, err := DecodeOrder(o.Encode()); err != nil || !reflect.DeepEqual(again, o) {
			t.Errorf("%x: %+v became %+v, %v", b, o, again, err)
		}
	})
}

func TestReadOrders(t *testing.T) {
	worker := Worker{PID: 7, Start: 1 << 60, RunID: "abc1234", WorkerID: "a worker\nof two lines"}
	stream := slices.Concat(Bytes(Go, nil), Bytes(Count, Number(-5)), Bytes(Guard, worker.Encode()), Bytes(List, Marked(7, 1<<63)), Bytes(Done, Mark(1<<63)))
	r := strings.NewReader(string(stream))
	if kind, body, err := Read(r); kind != Go || len(body) > 0 || err != nil {
		t.Errorf("%c, %q, %v", kind, body, err)
	}
	kind, body, err := Read(r)
	if n, bad := DecodeNumber(body); kind != Count || n != -5 || err != nil || bad != nil {
		t.Errorf("%c, %q, %v, %v", kind, body, err, bad)
	}
	kind, body, err = Read(r)
	if w, bad := DecodeWorker(body); kind != Guard || w != worker || err != nil || bad != nil {
		t.Errorf("%c, %+v, %v, %v", kind, w, err, bad)
	}
	kind, body, err = Read(r)
	if n, mark, bad := DecodeMarked(body); kind != List || n != 7 || mark != 1<<63 || err != nil || bad != nil {
		t.Errorf("%c, %d, %d, %v, %v", kind, n, mark, err, bad)
	}
	kind, body, err = Read(r)
	if mark, bad := DecodeMark(body); kind != Done || mark != 1<<63 || err != nil || bad != nil {
		t.Errorf("%c, %d, %v, %v", kind, mark, err, bad)
	}
	if _, _, err := Read(r); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

// The end of the file may come anywhere, and a length that no order has is no reason to
// allocate memory.
func TestReadRefuses(t *testing.T) {
	order := Bytes(Count, Number(1))
	for n := range order {
		if kind, body, err := Read(strings.NewReader(string(order[:n]))); err != io.EOF {
			t.Errorf("the first %d bytes are %c, %q, %v", n, kind, body, err)
		}
	}
	if _, _, err := Read(strings.NewReader("s\xff\xff\xff\xff")); err != ErrOrder {
		t.Errorf("4 GiB: %v", err)
	}
	if _, err := DecodeNumber([]byte{1, 2, 3}); err != ErrOrder {
		t.Errorf("three bytes: %v", err)
	}
	if _, err := DecodeMark([]byte{1, 2, 3}); err != ErrOrder {
		t.Errorf("three bytes: %v", err)
	}
	if _, _, err := DecodeMarked(Number(1)); err != ErrOrder {
		t.Errorf("four bytes: %v", err)
	}
	failing := errors.New("input/output error")
	if _, _, err := Read(iotest.ErrReader(failing)); err != failing {
		t.Errorf("%v", err)
	}
}

// What is no worker is refused.
func TestDecodeWorkerRefuses(t *testing.T) {
	good := (&Worker{PID: 100, Start: 1, RunID: "abc1234", WorkerID: "w1"}).Encode()
	for n := range good {
		if w, err := DecodeWorker(good[:n]); err != ErrOrder {
			t.Errorf("the first %d bytes are %+v, %v", n, w, err)
		}
	}
	for name, b := range map[string][]byte{
		"more behind": append(slices.Clone(good), 0),
		"PID 0":       (&Worker{}).Encode(),
		"PID 1<<31":   (&Worker{PID: 1 << 31}).Encode(),
	} {
		if w, err := DecodeWorker(b); err != ErrOrder {
			t.Errorf("%s: %+v, %v", name, w, err)
		}
	}
}

func TestAnswerRoundTrip(t *testing.T) {
	for _, a := range []Answer{{Started, 1 << 22, 0}, {Exited, 1 << 22, -1}, {None, 0, 0}} {
		if b := a.Encode(); len(b) != AnswerSize || DecodeAnswer(b) != a {
			t.Errorf("%+v became %+v", a, DecodeAnswer(b))
		}
	}
}

func FuzzDecodeWorker(f *testing.F) {
	f.Add((&Worker{PID: 100, Start: 1, RunID: "abc1234", WorkerID: "w1"}).Encode())
	f.Add((&Worker{PID: 1<<31 - 1, Start: 1<<64 - 1}).Encode())
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		w, err := DecodeWorker(b)
		if err != nil {
			return
		}
		if again, err := DecodeWorker(w.Encode()); w.PID < 1 || err != nil || again != w {
			t.Errorf("%x: %+v became %+v, %v", b, w, again, err)
		}
	})
}
