package windows

import (
	"strings"
	"testing"

	"leash/internal/proc"
)

func TestParseSignal(t *testing.T) {
	for text, want := range map[string]proc.Signal{
		"TERM": proc.TERM, "SIGTERM": proc.TERM, "term": proc.TERM, "15": proc.TERM,
		"INT": proc.INT, "break": BREAK, "21": BREAK, "9": proc.KILL,
	} {
		if got, ok := ParseSignal(text); !ok || got != want {
			t.Errorf("%s: %v, %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "0", "HUP", "USR1", "SIG", "-1", "1", "TERM "} {
		if got, ok := ParseSignal(text); ok {
			t.Errorf("%q: %v", text, got)
		}
	}
	for _, c := range []struct {
		sig  proc.Signal
		deaf bool
		want uint32
	}{{proc.TERM, false, ctrlC}, {proc.INT, false, ctrlC}, {BREAK, false, ctrlBreak}, {proc.TERM, true, ctrlBreak}} {
		if got := eventOf(c.sig, c.deaf); got != c.want {
			t.Errorf("%v, %v: %d", c.sig, c.deaf, got)
		}
	}
}

func TestExit(t *testing.T) {
	for _, c := range []struct {
		code   uint32
		forced bool
		want   int
	}{{0, false, 0}, {3, true, 3}, {137, true, 137}, {137, false, 137}, {0xC000013A, false, 0xC000013A}} {
		e := exitOf(c.code, c.forced)
		if !e.Known || e.Status() != c.want || (e.Signal == proc.KILL) != (c.forced && c.code == 137) {
			t.Errorf("%+v: %+v", c, e)
		}
	}
	if strings.ToLower(BREAK.Name) != "sigbreak" {
		t.Error(BREAK)
	}
}
