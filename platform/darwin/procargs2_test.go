package darwin

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"leash/internal/runid"
)

// image lays strings out as XNU does (see parseProcArgs2).
type image struct {
	argc  int // what the head says; -1: as many as there are
	path  string
	args  []string
	env   []string
	apple []string
	// restricted: System Integrity Protection hides what is behind the arguments.
	restricted bool
}

func (m image) bytes() []byte {
	argc := m.argc
	if argc < 0 {
		argc = len(m.args)
	}
	b := binary.NativeEndian.AppendUint32(nil, uint32(int32(argc)))
	add := func(s string) { b = append(append(b, s...), 0) }
	pad := func() {
		for (len(b)-4)%align != 0 {
			b = append(b, 0)
		}
	}
	add(m.path)
	pad()
	for _, s := range m.args {
		add(s)
	}
	if m.restricted {
		return b
	}
	for _, s := range m.env {
		add(s)
	}
	pad()
	for _, s := range m.apple {
		add(s)
	}
	return b
}

var apple = []string{"ptr_munge=", "main_stack=", "executable_file=0x1a01000010,0x8a2c3", "dyld_file=0x1,0x2", "th_port="}

func TestParseProcArgs2(t *testing.T) {
	python := image{argc: -1, path: "/usr/local/bin/python3", apple: apple,
		args: []string{"python3", "-m", "worker", "--run-id", "abc1234"},
		env:  []string{"PATH=/bin", "LEASH_RUN_ID=abc1234", "LEASH_WORKER_ID=w 1"}}
	changed := func(change func(*image)) image {
		m := python
		change(&m)
		return m
	}
	for _, c := range []struct {
		name      string
		of        image
		args, env []string
		run, id   string // FromArgs, FromEnviron
	}{
		{"plain", python, python.args, python.env, "abc1234", "abc1234"},
		{"restricted", changed(func(m *image) { m.restricted = true }), python.args, nil, "abc1234", ""},
		{"no arguments at all", changed(func(m *image) { m.args = nil }), nil, python.env, "", "abc1234"},
		{"no environment", changed(func(m *image) { m.env = nil }), python.args, nil, "abc1234", ""},
		{"an empty name", changed(func(m *image) { m.args = []string{"", "--run-id=abc1234"} }),
			[]string{"", "--run-id=abc1234"}, python.env, "abc1234", "abc1234"},
		{"empty arguments", changed(func(m *image) { m.args = []string{"python3", "", "", "x"} }),
			[]string{"python3", "", "", "x"}, python.env, "", "abc1234"},
		{"an empty variable", changed(func(m *image) { m.env = []string{"A=1", "", "LEASH_RUN_ID=zzz9999"} }),
			python.args, []string{"A=1", "", "LEASH_RUN_ID=zzz9999"}, "abc1234", "zzz9999"},
		{"a label among the arguments", changed(func(m *image) { m.args = []string{"env", "LEASH_RUN_ID=aaaaaaa"}; m.env = nil }),
			[]string{"env", "LEASH_RUN_ID=aaaaaaa"}, nil, "", ""},
		{"an ID inside an argument", changed(func(m *image) { m.args = []string{"sh", "-c", "grep --run-id=abc1234 x"} }),
			[]string{"sh", "-c", "grep --run-id=abc1234 x"}, python.env, "", "abc1234"},
		// setproctitle writes over the arguments and fills them up with NULs.
		{"a title", changed(func(m *image) { m.args = []string{"worker: idle", "", "", "", ""} }),
			[]string{"worker: idle", "", "", "", ""}, python.env, "", "abc1234"},
		{"line feeds and no UTF-8", changed(func(m *image) { m.args = []string{"a\nb", "\xff\xfe"} }),
			[]string{"a\nb", "\xff\xfe"}, python.env, "", "abc1234"},
	} {
		t.Run(c.name, func(t *testing.T) {
			// Each length of the path has its own padding.
			for n := range 17 {
				m := c.of
				m.path = "/" + strings.Repeat("p", n)
				got, err := parseProcArgs2(m.bytes())
				if err != nil {
					t.Fatal(err)
				}
				if got.Path != m.path || !slices.Equal(stringsOf(got.Args), c.args) {
					t.Errorf("path %q, arguments %q; want %q, %q", got.Path, stringsOf(got.Args), m.path, c.args)
				}
				if got.Hidden != m.restricted {
					t.Errorf("hidden: %t", got.Hidden)
				}
				env := stringsOf(got.Env)
				if len(env) < len(c.env) || !slices.Equal(env[:len(c.env)], c.env) {
					t.Errorf("environment %q, want %q first", env, c.env)
				}
				run, _ := runid.FromEnviron(got.Env)
				if arg := runid.FromArgs(got.Args); arg != c.run || run != c.id {
					t.Errorf("run %q by arguments, %q by environment; want %q, %q", arg, run, c.run, c.id)
				}
			}
		})
	}
}

// What processes may have made of it, and what an execve(2) between the two
// halves of the read makes of it.
func TestParseProcArgs2Hostile(t *testing.T) {
	whole := image{argc: -1, path: "/bin/worker", args: []string{"worker", "x"}, env: []string{"A=1"}, apple: apple}.bytes()
	for n := range len(whole) {
		p, err := parseProcArgs2(whole[:n])
		if n < 4+len("/bin/worker")+1 {
			if err == nil {
				t.Errorf("%d bytes are taken for %+v", n, p)
			}
			continue
		}
		if err != nil || p.Path != "/bin/worker" {
			t.Errorf("%d bytes: %+v, %v", n, p, err)
		}
	}
	for name, b := range map[string][]byte{
		"nothing":            nil,
		"an argc alone":      {1, 0, 0, 0},
		"a negative argc":    image{argc: -2, path: "/x", args: []string{"a"}}.bytes(),
		"a path without end": append([]byte{1, 0, 0, 0}, "/bin/sh"...),
	} {
		if name == "a negative argc" {
			binary.NativeEndian.PutUint32(b, ^uint32(0))
		}
		if p, err := parseProcArgs2(b); err == nil {
			t.Errorf("%s is taken for %+v", name, p)
		}
	}
	many := image{argc: 1 << 30, path: "/x", args: []string{"a", "b"}}.bytes()
	if p, err := parseProcArgs2(many); err != nil || len(p.Env) != 0 {
		t.Errorf("more arguments than there are: %+v, %v", p, err)
	}
}

func TestVariable(t *testing.T) {
	env := []byte("PWDX=/no\x00PWD=/here\x00PWD=/there\x00")
	if got := variable(env, "PWD"); got != "/here" {
		t.Errorf("%q", got)
	}
	if got := variable(env, "HOME"); got != "" {
		t.Errorf("%q", got)
	}
}

func FuzzParseProcArgs2(f *testing.F) {
	f.Add(image{argc: -1, path: "/usr/local/bin/python3", args: []string{"python3", "w.py"}, env: []string{"LEASH_RUN_ID=abc1234"}, apple: apple}.bytes())
	f.Add(image{argc: -1, path: "/bin/sh", args: []string{"sh", "-c", "x"}, restricted: true}.bytes())
	f.Add(image{argc: -1, path: "./w", args: []string{"", ""}, env: []string{"", "A"}}.bytes())
	f.Add(image{argc: 70000, path: "/x", args: []string{"a"}}.bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		p, err := parseProcArgs2(b)
		if !bytes.Equal(b, before) {
			t.Fatal("it changes what it reads")
		}
		if err != nil {
			return
		}
		for _, block := range [][]byte{p.Args, p.Env} {
			if len(block) > 0 && block[len(block)-1] != 0 {
				t.Errorf("%q does not end in NUL", block)
			}
		}
		if argc := int(int32(binary.NativeEndian.Uint32(b))); bytes.Count(p.Args, []byte{0}) > argc+1 {
			t.Errorf("more than %d arguments: %q", argc, p.Args)
		}
		// Nothing is in both, nothing is invented but one NUL.
		if n := 4 + len(p.Path) + 1 + len(p.Args) + len(p.Env); n > len(b)+1 {
			t.Errorf("%d bytes of %d", n, len(b))
		}
		variable(p.Env, "PWD")
	})
}

// stringsOf takes a block apart; nil if it is empty.
func stringsOf(b []byte) (all []string) {
	for len(b) > 0 {
		s, rest, _ := bytes.Cut(b, []byte{0})
		all, b = append(all, string(s)), rest
	}
	return all
}
