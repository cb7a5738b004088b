package heartbeat

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]Message{
		"READY=1":                           {Ready: true},
		"READY=1\n":                         {Ready: true},
		"\n\nREADY=1\n\n":                   {Ready: true},
		"READY=1\x00":                       {Ready: true},
		"READY=1\nREADY=0":                  {Ready: true},
		"READY=1\nSTATUS=ok\nMAINPID=7":     {Ready: true, Status: "ok"},
		"STOPPING=1":                        {Stopping: true},
		"RELOADING=1\nMONOTONIC_USEC=99":    {Reloading: true},
		"WATCHDOG=1":                        {Beat: Alive},
		"WATCHDOG=trigger":                  {Beat: Trigger},
		"WATCHDOG=1\nWATCHDOG=trigger":      {Beat: Trigger},
		"WATCHDOG=trigger\nWATCHDOG=1":      {Beat: Trigger},
		"EXTEND_TIMEOUT_USEC=2500000":       {Extend: 2500 * time.Millisecond},
		"WATCHDOG_USEC=1000":                {Within: time.Millisecond, Rewatch: true},
		"WATCHDOG_USEC=0":                   {Rewatch: true},
		"WATCHDOG_USEC=00000000000000001e3": {},
		"WATCHDOG_USEC=0001000":             {Within: time.Millisecond, Rewatch: true},
		"BARRIER=1":                         {Barrier: true},
		"BARRIER=1\n":                       {Barrier: true},

		// A barrier must be the only line.
		"BARRIER=1\nREADY=1":   {Ready: true},
		"BARRIER=1\nBARRIER=1": {},
		"BARRIER=0":            {},
		"X_BARRIER=1":          {},

		// Invalid values and unknown keys are ignored.
		"READY=0": {}, "READY=": {}, "READY=11": {}, "READY= 1": {}, "ready=1": {}, "WATCHDOG=0": {}, "WATCHDOG=TRIGGER": {},
		"EXTEND_TIMEOUT_USEC=0": {}, "EXTEND_TIMEOUT_USEC=": {}, "EXTEND_TIMEOUT_USEC=-1": {}, "EXTEND_TIMEOUT_USEC=1.5": {},
		"EXTEND_TIMEOUT_USEC=1e6": {}, "WATCHDOG_USEC=": {}, "WATCHDOG_USEC=x": {}, "WATCHDOG_USEC=999": {}, "WATCHDOG_USEC=+5000": {},
		"FDSTORE=1\nFDNAME=x": {}, "a_b9=": {}, "9=9": {}, "ERRNO=2\nSTATUS==x=y": {Status: "=x=y"},

		// Of several values of a key the last counts.
		"EXTEND_TIMEOUT_USEC=5\nEXTEND_TIMEOUT_USEC=7": {Extend: 7 * time.Microsecond},
		"EXTEND_TIMEOUT_USEC=5\nEXTEND_TIMEOUT_USEC=x": {Extend: 5 * time.Microsecond},
		"WATCHDOG_USEC=5000\nWATCHDOG_USEC=0":          {Rewatch: true},
		"STATUS=a\nSTATUS=b":                           {Status: "b"},

		// A time of more than a day counts as a day.
		"EXTEND_TIMEOUT_USEC=86400000000":                      {Extend: Longest},
		"EXTEND_TIMEOUT_USEC=86399999999":                      {Extend: Longest - time.Microsecond},
		"EXTEND_TIMEOUT_USEC=86400000001":                      {Extend: Longest},
		"EXTEND_TIMEOUT_USEC=18446744073709551615":             {Extend: Longest},
		"WATCHDOG_USEC=18446744073709551615":                   {Within: Longest, Rewatch: true},
		"WATCHDOG_USEC=00018446744073709551615":                {Within: Longest, Rewatch: true},
		"EXTEND_TIMEOUT_USEC=" + strings.Repeat("0", 4000):     {},
		"EXTEND_TIMEOUT_USEC=" + strings.Repeat("0", 99) + "3": {Extend: 3 * time.Microsecond},

		// A number of more than 64 bits is ignored.
		"EXTEND_TIMEOUT_USEC=18446744073709551616":                            {},
		"EXTEND_TIMEOUT_USEC=18446744073709551620":                            {},
		"WATCHDOG_USEC=18446744073709551616":                                  {},
		"WATCHDOG_USEC=184467440737095516150":                                 {},
		"WATCHDOG_USEC=" + strings.Repeat("9", 4000):                          {},
		"WATCHDOG_USEC=99999999999999999999x":                                 {},
		"WATCHDOG_USEC=5000\nWATCHDOG_USEC=18446744073709551616":              {Within: 5 * time.Millisecond, Rewatch: true},
		"EXTEND_TIMEOUT_USEC=18446744073709556616\nEXTEND_TIMEOUT_USEC=7":     {Extend: 7 * time.Microsecond},
		"WATCHDOG=1\nEXTEND_TIMEOUT_USEC=" + strings.Repeat("1", 21):          {Beat: Alive},
		"READY=1\nWATCHDOG_USEC=36893488147419103232\nSTATUS=twice the bound": {Ready: true, Status: "twice the bound"},
	} {
		if got, ok := Parse([]byte(text)); !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%.60q: %+v, %t, want %+v", text, got, ok, want)
		}
	}
}

// An invalid line does not affect the others.
func TestLinesCountSingly(t *testing.T) {
	beat := Message{Beat: Alive}
	for text, want := range map[string]Message{
		"X-Y=1\nWATCHDOG=1":        beat,
		"=x\nWATCHDOG=1":           beat,
		"=\nWATCHDOG=1":            beat,
		"BAZ\nWATCHDOG=1":          beat,
		"WATCHDOG=1\nBAZ":          beat,
		"WATCHDOG=1\nBAZ\x00":      beat,
		"\xff\nWATCHDOG=1\n\x01=1": beat,
		" READY=1\nWATCHDOG=1":     beat,
		"READY=1\nand so on, and on\nWATCHDOG=1\nKÉY=1\nSTATUS=well": {Ready: true, Beat: Alive, Status: "well"},
		"EXTEND_TIMEOUT_USEC=soon\nWATCHDOG_USEC=-1\nWATCHDOG=1":     beat,
		"WATCHDOG_USEC=1\nno line\nSTOPPING=1":                       {Stopping: true},
		"UNKNOWN=1\nno line":                                         {},
		strings.Repeat("x\n", MaxSize/2-5) + "WATCHDOG=1":            beat,
		// A carriage return ends a line too, as it does for systemd.
		"READY=1\r\nWATCHDOG=1\r\n": {Ready: true, Beat: Alive},
		"READY=1\rWATCHDOG=1":       {Ready: true, Beat: Alive},
		"READY=1\r\nX.Y=1":          {Ready: true},
		"STATUS=a\rb":               {Status: "a"},
		"BARRIER=1\r\n":             {Barrier: true},
		// A barrier must be the only line, whatever the other line is.
		"BARRIER=1\nBAZ": {},
		"=\nBARRIER=1":   {},
	} {
		if got, ok := Parse([]byte(text)); !ok || got != want {
			t.Errorf("%.60q: %+v, %t, want %+v", text, got, ok, want)
		}
	}
}

func TestNoMessage(t *testing.T) {
	for _, text := range []string{
		"", "\x00", "\n", "\n\n\n", "\r\n", "\x00\x00", "READY", "=1", "=", " READY=1", "READY =1", "one\ntwo", "=1\n=2\nX-Y=3",
		"REA\x00DY=1", "READY=1\x00\x00", "READY=1\x00\n", "READY=1\nX\x00Y\nWATCHDOG=1", "\x00READY=1",
		"\xffREADY=1", "KEY-X=1", "KÉY=1", "\tA=1",
		"STATUS=" + strings.Repeat("x", MaxSize),
	} {
		if got, ok := Parse([]byte(text)); ok || got != (Message{}) {
			t.Errorf("%.60q was taken for %+v", text, got)
		}
	}
}

func TestLongest(t *testing.T) {
	fits := "STATUS=" + strings.Repeat("x", MaxSize-len("STATUS="))
	for _, text := range []string{fits, fits + "\x00"} { // systemd does not count the NUL either
		if m, ok := Parse([]byte(text)); !ok || m.Status != strings.Repeat("x", maxStatus) {
			t.Errorf("%d bytes: %t, a status of %d bytes", len(text), ok, len(m.Status))
		}
	}
	if _, ok := Parse([]byte(fits + "x")); ok {
		t.Errorf("%d bytes were taken", MaxSize+1)
	}
}

func TestStatus(t *testing.T) {
	for value, want := range map[string]string{
		"":                         "",
		"  working on it\t":        "working on it",
		"50 %":                     "50 %",
		"größer \u2192 日本":         "größer \u2192 日本",
		"a\vb\x1b[31mc\x7fd":       "a b [31mc d",
		"a\u0085b\u009bc":          "a b c",
		"a\u2028b\u2029c":          "a b c",
		"a\xffb\xc3(c\xed\xa0\x80": "a b (c",
		"a\ufffdb":                 "a\ufffdb",
		// A character that the bound cuts in two is left out.
		strings.Repeat("x", maxStatus-1) + "ü": strings.Repeat("x", maxStatus-1),
		strings.Repeat("x", maxStatus) + "y":   strings.Repeat("x", maxStatus),
	} {
		m, ok := Parse([]byte("STATUS=" + value))
		if !ok || m.Status != want {
			t.Errorf("%.40q: %.40q (%d bytes), %t, want %.40q", value, m.Status, len(m.Status), ok, want)
		}
	}
}
