package heartbeat

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// For any input the result is within bounds.
func FuzzParse(f *testing.F) {
	f.Add([]byte("READY=1\nSTATUS=well\nWATCHDOG=1\nWATCHDOG_USEC=5000000\nEXTEND_TIMEOUT_USEC=7"))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		m, ok := Parse(b)
		if !bytes.Equal(b, before) {
			t.Errorf("%q was changed to %q", before, b)
		}
		checkMessage(t, b, m, ok)
		checkSum(t, b, m, ok)
		// A line feed or one NUL at the end makes no difference.
		if !bytes.HasSuffix(b, []byte{0}) && len(b) < MaxSize {
			for _, end := range []string{"\n", "\x00"} {
				if again, still := Parse(append(bytes.Clone(b), end...)); again != m || still != ok {
					t.Errorf("%q with %q: %+v, %t, without: %+v, %t", b, end, again, still, m, ok)
				}
			}
		}
	})
}

// checkSum checks that a message means what its lines mean singly, except for a barrier,
// which must be the only line.
func checkSum(t *testing.T, b []byte, m Message, ok bool) {
	text := bytes.TrimSuffix(b, []byte{0})
	if len(text) > MaxSize || bytes.IndexByte(text, 0) >= 0 {
		return
	}
	var sum Message
	some := false
	lines := bytes.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' })
	for _, line := range lines {
		one, said := Parse(line)
		some = some || said
		sum.Ready = sum.Ready || one.Ready
		sum.Stopping = sum.Stopping || one.Stopping
		sum.Reloading = sum.Reloading || one.Reloading
		sum.Beat = max(sum.Beat, one.Beat)
		sum.Barrier = one.Barrier && len(lines) == 1
		checkNumber(t, line, one)
		if one.Extend > 0 {
			sum.Extend = one.Extend
		}
		if one.Rewatch {
			sum.Rewatch, sum.Within = true, one.Within
		}
		if bytes.HasPrefix(line, []byte("STATUS=")) {
			sum.Status = one.Status
		}
	}
	if m != sum || ok != some {
		t.Errorf("%q: %+v, %t; its lines singly: %+v, %t", b, m, ok, sum, some)
	}
}

// checkNumber checks that a value that strconv does not parse as 64 bits is ignored.
func checkNumber(t *testing.T, line []byte, one Message) {
	for _, key := range []string{"EXTEND_TIMEOUT_USEC=", "WATCHDOG_USEC="} {
		value, is := bytes.CutPrefix(line, []byte(key))
		if _, err := strconv.ParseUint(string(value), 10, 64); is && err != nil && one != (Message{}) {
			t.Errorf("%q: %+v, and %v", line, one, err)
		}
	}
}

func checkMessage(t *testing.T, b []byte, m Message, ok bool) {
	if !ok {
		if m != (Message{}) {
			t.Errorf("%q is no message, and yet %+v", b, m)
		}
		return
	}
	if len(b) > MaxSize+1 || bytes.IndexByte(bytes.TrimSuffix(b, []byte{0}), 0) >= 0 {
		t.Errorf("%q was taken", b)
	}
	if m.Extend < 0 || m.Extend > Longest || m.Within < 0 || m.Within > Longest ||
		m.Within != 0 && (m.Within < time.Millisecond || !m.Rewatch) {
		t.Errorf("%q: %v, %v", b, m.Extend, m.Within)
	}
	if !utf8.ValidString(m.Status) || len(m.Status) > maxStatus || strings.ContainsFunc(m.Status, breaksLines) ||
		m.Status != strings.TrimSpace(m.Status) {
		t.Errorf("%q: status %q", b, m.Status)
	}
	if m.Barrier && m != (Message{Barrier: true}) {
		t.Errorf("%q: a barrier among other things: %+v", b, m)
	}
	for _, c := range []struct {
		said bool
		key  string
	}{
		{m.Ready, "READY=1"}, {m.Stopping, "STOPPING=1"}, {m.Reloading, "RELOADING=1"}, {m.Barrier, "BARRIER=1"},
		{m.Beat == Alive, "WATCHDOG=1"}, {m.Beat == Trigger, "WATCHDOG=trigger"},
		{m.Extend > 0, "EXTEND_TIMEOUT_USEC="}, {m.Rewatch, "WATCHDOG_USEC="}, {m.Status != "", "STATUS="},
	} {
		if c.said && !bytes.Contains(b, []byte(c.key)) {
			t.Errorf("%q: no %s in it, and yet %+v", b, c.key, m)
		}
	}
}

func breaksLines(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }
