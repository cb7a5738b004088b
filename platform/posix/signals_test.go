//go:build linux

package posix

import (
	"testing"

	"leash/internal/proc"
)

func TestParseSignal(t *testing.T) {
	for text, want := range map[string]proc.Signal{
		"TERM": proc.TERM, "SIGTERM": proc.TERM, "term": proc.TERM, "SigTerm": proc.TERM, "15": proc.TERM,
		"KILL": proc.KILL, "9": proc.KILL, "INT": proc.INT, "quit": proc.QUIT,
		"USR1": {Num: 10, Name: "SIGUSR1"}, "1": {Num: 1, Name: "SIGHUP"},
		"40": {Num: 40, Name: "SIG40"}, "64": {Num: 64, Name: "SIG64"},
	} {
		if got, ok := ParseSignal(text); !ok || got != want {
			t.Errorf("%q gives %+v, %t", text, got, ok)
		}
	}
	for _, text := range []string{"", "SIG", "0", "-1", "65", "TERMINATE", "TERM ", "1.5", "SIGSIGTERM", "99999999999999999999"} {
		if got, ok := ParseSignal(text); ok {
			t.Errorf("%q is taken for %+v", text, got)
		}
	}
	for n := 1; n <= 31; n++ {
		sig := SignalOf(n)
		if again, ok := ParseSignal(sig.Name); !ok || again != sig {
			t.Errorf("%d is %+v, and back %+v", n, sig, again)
		}
	}
}
