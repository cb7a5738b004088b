package linux

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const statusText = "Name:\tpython3\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t4711\nNgid:\t0\nPid:\t4711\nPPid:\t100\nTracerPid:\t0\n" +
	"Uid:\t1000\t1001\t1002\t1003\nGid:\t7\t8\t9\t10\nFDSize:\t64\nGroups:\t4 24 27 \nNStgid:\t4711\t3\nNSpid:\t4711\t3\n" +
	"VmPeak:\t  999999 kB\nVmSize:\t  888888 kB\nVmHWM:\t   30000 kB\nVmRSS:\t   20480 kB\nThreads:\t1\n"

func TestParseStatus(t *testing.T) {
	whole := status{UIDs: [3]uint32{1000, 1001, 1002}, Spaces: 2, RSS: 20 << 20}
	with := func(old, now string) string { return strings.Replace(statusText, old, now, 1) }
	change := func(f func(*status)) status { s := whole; f(&s); return s }
	for name, c := range map[string]struct {
		text string
		want status
	}{
		"whole":             {statusText, whole},
		"no line feed":      {strings.TrimSuffix(statusText, "\n"), whole},
		"a zombie":          {with("VmRSS:\t   20480 kB\n", ""), change(func(s *status) { s.RSS = 0 })},
		"before Linux 4.1":  {with("NSpid:\t4711\t3\n", ""), change(func(s *status) { s.Spaces = 0 })},
		"our own namespace": {with("NSpid:\t4711\t3\n", "NSpid:\t4711\n"), change(func(s *status) { s.Spaces = 1 })},
		"three deep":        {with("NSpid:\t4711\t3\n", "NSpid:\t4711\t3\t1\n"), change(func(s *status) { s.Spaces = 3 })},
		"a made-up line":    {with("python3", `x\nUid:\t0\t0\t0\t0`), whole}, // the kernel escapes it so
		"the highest user":  {with("\t1000\t", "\t4294967295\t"), change(func(s *status) { s.UIDs[0] = 1<<32 - 1 })},
		"only the users":    {"Uid:\t0\t0\t0\t0\n", status{}},
		"memory as 0":       {with("20480", "0"), change(func(s *status) { s.RSS = 0 })},
		"memory as text":    {with("20480", "many"), change(func(s *status) { s.RSS = 0 })},
	} {
		if got, err := ParseStatus([]byte(c.text)); err != nil || got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, c.want)
		}
	}
}

func TestParseStatusRefuses(t *testing.T) {
	for _, uid := range []string{"", "Uid:\n", "Uid:\t0\t0\t0\n", "Uid:\t0\t0\t0\t0\t0\n", "Uid:\t-1\t0\t0\t0\n", "Uid:\tx\t0\t0\t0\n",
		"Uid:\t4294967296\t0\t0\t0\n", "Uid:\t0\t0\t18446744073709551616\t0\n", "uid:\t0\t0\t0\t0\n", "Uid\t0\t0\t0\t0\n", " Uid:\t0\t0\t0\t0\n",
		"XUid:\t0\t0\t0\t0\n"} {
		text := strings.Replace(statusText, "Uid:\t1000\t1001\t1002\t1003\n", uid, 1)
		if got, err := ParseStatus([]byte(text)); err == nil {
			t.Errorf("%q was read: %+v", uid, got)
		}
	}
	for n := range strings.Index(statusText, "1003") {
		if got, err := ParseStatus([]byte(statusText[:n])); err == nil {
			t.Errorf("the first %d bytes were read: %+v", n, got)
		}
	}
}

// plainParseStatus is the same by package strings.
func plainParseStatus(text string) (s status, ok bool) {
	for _, line := range strings.SplitAfter(text, "\n") {
		name, value, _ := strings.Cut(line, ":")
		f := strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(" \t\n\v\f\r", r) })
		switch {
		case name == "Uid" && strings.Contains(line, ":"):
			ok = len(f) == 4
			for i := 0; i < 3 && ok; i++ {
				n, err := strconv.ParseUint(f[i], 10, 32)
				s.UIDs[i], ok = uint32(n), err == nil
			}
			if !ok {
				return s, false
			}
		case name == "VmRSS" && len(f) == 2:
			n, _ := strconv.ParseUint(f[0], 10, 64)
			s.RSS = n << 10
		case name == "NSpid" && strings.Contains(line, ":"):
			s.Spaces = len(f)
		}
	}
	return s, ok
}

func FuzzParseStatus(f *testing.F) {
	f.Add([]byte(statusText))
	f.Add([]byte("Uid:\t0\t0\t0\t0\nVmRSS: 1 kB\nNSpid:\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if slices.ContainsFunc(text, func(c byte) bool { return c >= 0x80 }) {
			ParseStatus(text) // fields are told apart by letters, and the other way does not know these
			return
		}
		got, err := ParseStatus(text)
		want, ok := plainParseStatus(string(text))
		longNumber := bytes.ContainsAny(text, "0123456789") && longest(text) > 18
		if ok != (err == nil) && !longNumber || ok && err == nil && !longNumber && got != want {
			t.Errorf("%q gives %+v, %v; want %+v, %t", text, got, err, want, ok)
		}
	})
}

// longest is the length of the longest number.
func longest(text []byte) (most int) {
	n := 0
	for _, c := range text {
		if n++; c < '0' || c > '9' {
			n = 0
		}
		most = max(most, n)
	}
	return most
}

func TestStatName(t *testing.T) {
	for line, want := range map[string]string{
		statLine: "python3", "1 (a) b (c) Z 0": "a) b (c", "1 () S": "", "1 (((x))) S": "((x))", "1 (a\nb) S": "a\nb",
		"": "", "1 (a": "", "1 a) S": "", ")(": "", "(": "", ")": "", "1 (\xff) S": "\xff",
	} {
		if got := statName([]byte(line)); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

func FuzzStatName(f *testing.F) {
	f.Add("systemd")
	f.Add(") S 1 (x")
	f.Fuzz(func(t *testing.T, name string) {
		line := "4711 (" + name + ") S 1 2 3 0 -1 4194304"
		if got := statName([]byte(line)); got != name {
			t.Errorf("%q: %q", line, got)
		}
		statName([]byte(name))
	})
}

func TestSplitArgs(t *testing.T) {
	for text, want := range map[string][]string{
		"":                         {},
		"a\x00":                    {"a"},
		"a\x00b\x00":               {"a", "b"},
		"a\x00b":                   {"a", "b"}, // cut off, or a title without its end
		"\x00":                     {""},
		"a\x00\x00b\x00":           {"a", "", "b"},
		"gunicorn: worker [x]":     {"gunicorn: worker [x]"},
		"python3\x00-c\x00x = 1\n": {"python3", "-c", "x = 1\n"},
	} {
		if got := splitArgs([]byte(text)); !slices.Equal(got, want) || got == nil {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// FuzzSplitArgs: ended by NUL each, they make the text again.
func FuzzSplitArgs(f *testing.F) {
	f.Add([]byte("a\x00b\x00"))
	f.Add([]byte("\x00\x00a"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var b []byte
		for _, arg := range splitArgs(text) {
			b = append(append(b, arg...), 0)
		}
		if want := bytes.TrimSuffix(text, []byte{0}); !bytes.Equal(bytes.TrimSuffix(b, []byte{0}), want) || len(b) > len(text)+1 {
			t.Errorf("%q came back as %q", text, b)
		}
	})
}

func TestGuardedPID(t *testing.T) {
	for line, want := range map[string]int{
		"watchdog guard --worker-pid 4711":                    4711,
		"watchdog --worker-pid=4711 --grace 3s":               4711,
		"watchdog":                                            0,
		"":                                                    0,
		"watchdog --worker-pid":                               0,
		"watchdog --worker-pid=":                              0,
		"watchdog --worker-pid x":                             0,
		"watchdog --worker-pid -5":                            0,
		"watchdog --worker-pid5":                              0,
		"watchdog --worker-pids 5":                            0,
		"watchdog --worker-pidx=5":                            0,
		"watchdog x--worker-pid 5":                            0,
		"watchdog --parent-pid 5":                             0,
		"watchdog --worker-pid 2147483647":                    2147483647,
		"watchdog --worker-pid 2147483648":                    0,
		"watchdog --worker-pid 99999999999999999999":          0,
		"watchdog --worker-pid x --worker-pid 7":              7,
		"watchdog --worker-id --worker-pid --worker-pid 4711": 4711,
	} {
		text := []byte(strings.ReplaceAll(line, " ", "\x00"))
		if got := guardedPID(text); got != want {
			t.Errorf("%q: %d, want %d", line, got, want)
		}
		if got := guardedPID(append(text, 0)); got != want {
			t.Errorf("%q, ended by NUL: %d, want %d", line, got, want)
		}
	}
}

// FuzzGuardedPID: what it finds stands there, as a whole argument.
func FuzzGuardedPID(f *testing.F) {
	f.Add([]byte("watchdog\x00guard\x00--worker-pid\x004711\x00"))
	f.Add([]byte("watchdog\x00--worker-pid=4711"))
	f.Fuzz(func(t *testing.T, text []byte) {
		pid := guardedPID(text)
		if pid < 0 || pid >= 1<<31 {
			t.Fatalf("%q: %d", text, pid)
		}
		if pid == 0 {
			return
		}
		args := splitArgs(text)
		is := func(s string) bool {
			n, err := strconv.ParseUint(s, 10, 32)
			return err == nil && int(n) == pid
		}
		for i, a := range args {
			value, ok := strings.CutPrefix(a, "--worker-pid=")
			if ok && is(value) || a == "--worker-pid" && i+1 < len(args) && is(args[i+1]) {
				return
			}
		}
		t.Errorf("%q: %d", text, pid)
	})
}
