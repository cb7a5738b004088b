package snapshot

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"testing"
)

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
		if got := SplitArgs([]byte(text)); !slices.Equal(got, want) || got == nil {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// FuzzSplitArgs checks that the arguments, each with a NUL added, are the text again.
func FuzzSplitArgs(f *testing.F) {
	f.Add([]byte("a\x00b\x00"))
	f.Add([]byte("\x00\x00a"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var b []byte
		for _, arg := range SplitArgs(text) {
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
		"watchdog guard --worker-pid=12 --worker-pid=13":      12,
		"watchdog --worker-pid 4294967296":                    0,
		"watchdog --worker-pid-file 12":                       0,
	} {
		if got := GuardedPID(strings.Fields(line)); got != want {
			t.Errorf("%q: %d, want %d", line, got, want)
		}
	}
}

// FuzzGuardedPID checks that the PID found is a whole argument of the text.
func FuzzGuardedPID(f *testing.F) {
	f.Add([]byte("watchdog\x00guard\x00--worker-pid\x004711\x00"))
	f.Add([]byte("watchdog\x00--worker-pid=4711"))
	f.Fuzz(func(t *testing.T, text []byte) {
		args := SplitArgs(text)
		pid := GuardedPID(args)
		if pid < 0 || pid >= 1<<31 {
			t.Fatalf("%q: %d", text, pid)
		}
		if pid == 0 {
			return
		}
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
