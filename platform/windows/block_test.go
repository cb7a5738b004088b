package windows

import (
	"testing"
	"unicode/utf16"

	"leash/internal/runid"
)

func TestBlock(t *testing.T) {
	for _, c := range []struct {
		env  []string
		want string
	}{
		{nil, "\x00\x00"},
		{[]string{"b=2", "A=1", "c="}, "A=1\x00b=2\x00c=\x00\x00"},
		{[]string{"Path=old", "PATH=new"}, "PATH=new\x00\x00"},
		{[]string{"=C:=C:\\work", "X==y"}, "=C:=C:\\work\x00X==y\x00\x00"},
		{[]string{"no name", "", "=", "NUL=a\x00B=b"}, "\x00\x00"},
		{[]string{"Ä=ö😀"}, "Ä=ö😀\x00\x00"},
	} {
		if got := string(utf16.Decode(block(c.env))); got != c.want {
			t.Errorf("%q: %q", c.env, got)
		}
	}
}

func TestEnviron(t *testing.T) {
	env := []string{"=C:=C:\\", "LEASH_RUN_ID=abc1234", "LEASH_WORKER_ID=wörker 1"}
	run, worker := runid.FromEnviron(environ(block(env)))
	if run != "abc1234" || worker != "wörker 1" {
		t.Errorf("%q, %q", run, worker)
	}
	torn := utf16.Encode([]rune("LEASH_RUN_ID=abc1234\x00LEASH_WORKER_ID=half"))
	if got := string(environ(torn)); got != "LEASH_RUN_ID=abc1234\x00" {
		t.Errorf("torn: %q", got)
	}
	if got := environ(nil); len(got) > 0 {
		t.Errorf("%q", got)
	}
	if got := runid.FromArgs(cmdline([]string{"python", "--run-id", "abc1234"})); got != "abc1234" {
		t.Error(got)
	}
}
