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
	"VmPeak:\t  999999 kB\nVmSize:\t  888888 kB\nVmHWM:\t   30000 kB\nVmRSS:\t   20480 kB\nThreads:\t1\nSigCgt:\t8000000000014a07\nSigQ:\t0/7\n"

func TestParseStatus(t *testing.T) {
	whole := status{UIDs: [3]uint32{1000, 1001, 1002}, Spaces: 2, TGID: 4711, Caught: 0x8000000000014a07}
	with := func(old, now string) string { return strings.Replace(statusText, old, now, 1) }
	change := func(f func(*status)) status { s := whole; f(&s); return s }
	for name, c := range map[string]struct {
		text string
		want status
	}{
		"whole":             {statusText, whole},
		"no line feed":      {strings.TrimSuffix(statusText, "\n"), whole},
		"before Linux 4.1":  {with("NSpid:\t4711\t3\n", ""), change(func(s *status) { s.Spaces = 0 })},
		"our own namespace": {with("NSpid:\t4711\t3\n", "NSpid:\t4711\n"), change(func(s *status) { s.Spaces = 1 })},
		"three deep":        {with("NSpid:\t4711\t3\n", "NSpid:\t4711\t3\t1\n"), change(func(s *status) { s.Spaces = 3 })},
		"a made-up line":    {with("python3", `x\nUid:\t0\t0\t0\t0`), whole}, // the kernel escapes it so
		"the highest user":  {with("\t1000\t", "\t4294967295\t"), change(func(s *status) { s.UIDs[0] = 1<<32 - 1 })},
		"only the users":    {"Uid:\t0\t0\t0\t0\n", status{}},
		"a thread":          {with("Tgid:\t4711", "Tgid:\t4710"), change(func(s *status) { s.TGID = 4710 })},
		"no process":        {with("Tgid:\t4711", "Tgid:\t-1"), change(func(s *status) { s.TGID = 0 })},
		"too large a PID":   {with("Tgid:\t4711", "Tgid:\t2147483648"), change(func(s *status) { s.TGID = 0 })},
		"no signals":        {with("SigCgt:\t8000000000014a07", "SigCgt:\t-1"), change(func(s *status) { s.Caught = 0 })},
		"too many signals":  {with("SigCgt:\t", "SigCgt:\tf"), change(func(s *status) { s.Caught = 0 })},
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

func space(r rune) bool { return strings.ContainsRune(" \t\n\v\f\r", r) }

// plainParseStatus does the same with package strings.
func plainParseStatus(text string) (s status, ok bool) {
	for _, line := range strings.SplitAfter(text, "\n") {
		name, value, _ := strings.Cut(line, ":")
		f := strings.FieldsFunc(value, space)
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
		case name == "Tgid":
			if n, err := strconv.ParseUint(strings.TrimFunc(value, space), 10, 31); err == nil && !strings.ContainsAny(value, "+_") && len(strings.TrimFunc(value, space)) <= 19 {
				s.TGID = int(n)
			}
		case name == "SigCgt":
			if n, err := strconv.ParseUint(strings.TrimFunc(value, space), 16, 64); err == nil {
				s.Caught = n
			}
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
			ParseStatus(text) // plainParseStatus does not know these names
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
