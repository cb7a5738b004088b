package darwin

import (
	"slices"
	"testing"

	"leash/internal/system"
)

func TestPrepare(t *testing.T) {
	w := newWorld(t)
	s := w.system("event")
	var _ system.Shares = s
	s.program = executable{"/x/watchdog", func() bool { return true }}
	for _, c := range []struct {
		wanted, same bool
		want         string
	}{{true, true, "sentinel"}, {false, true, "session"}, {true, false, "session"}} {
		s.program.same = func() bool { return c.same }
		if names := s.Prepare(c.wanted); names[0] != c.want || !slices.Contains(names, "environment") {
			t.Errorf("%+v: %q", c, names)
		}
	}
	if len(w.started) > 0 { // a sentinel is started with its worker
		t.Errorf("started: %v", w.started)
	}
	if !s.EndRest() {
		t.Error("something is left")
	}
}

// The folder and the standard streams are those of the command.
func TestStartInItsFolder(t *testing.T) {
	w := newWorld(t)
	s := w.system("event")
	w.children = append(w.children, w.born(100, self))
	c := s.Contain(system.Options{Shared: true})
	if _, err := c.Start(system.Command{Path: "/bin/x", Args: []string{"x"}, Dir: "/where", Stdio: []uintptr{7, 8, 9}, Keep: []int{3}}); err != nil {
		t.Fatal(err)
	}
	if got := w.started[0]; got.Dir != "/where" || !slices.Equal(got.Files, []uintptr{7, 8, 9}) || !got.Session {
		t.Errorf("%+v", got)
	}
}
